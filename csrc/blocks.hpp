// Edits of one axis of a row-major array, seen as blocks (outer, n, inner) with that axis in the middle.
#pragma once

#include <cstdint>

#include "blas.hpp"

namespace surgeon {

// out (outer, m, inner): out[:, j, :] = scale[j] * source[:, index[j], :], and zeros where index[j] is -1. The caller
// has checked that every index is -1 ... n - 1.
void gather_blocks(const float* source, Index outer, Index n, Index inner, const std::int64_t* index,
                   const float* scale, Index m, float* out, int threads);

// out (outer, m, inner): out[o, j, i] = sum over k of matrix[j, k] * source[o, k, i], matrix (m, n). The result does
// not depend on the number of threads.
void map_blocks(const float* source, Index outer, Index n, Index inner, const float* matrix, Index m, float* out,
                int threads);

}  // namespace surgeon
