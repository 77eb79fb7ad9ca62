// Singular values and vectors of many float32 matrices at once.
#pragma once

#include <functional>
#include <stdexcept>
#include <vector>

#include "blas.hpp"

namespace surgeon {

// A row-major matrix that somebody else owns.
struct MatrixView {
  const float* data;
  Index rows;
  Index columns;
};

// Where the factors of one matrix go: u (rows x rank), s (rank), vt (rank x columns), all row-major.
struct FactorsView {
  Index rank;  // at most the smaller side
  float* u;
  float* s;
  float* vt;
};

// A matrix that has no singular values which float32 can hold; the message names its index.
class MatrixError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Asked now and then on the caller's thread, between two matrices; true ends the call early.
using Interrupted = std::function<bool()>;

// values[i] receives the descending singular values of matrices[i], as many as its smaller side. One thread a matrix.
// may_round: elements may be rounded to 16-bit integers where that is faster; what is promised holds in any case, but
// most errors are ten times those of float32. False: it was interrupted, and the results are not complete.
bool singular_values(const std::vector<MatrixView>& matrices, const std::vector<float*>& values, bool may_round,
                     int threads, const Interrupted& interrupted);

// factors[i] receives the leading singular triplets of matrices[i]. One thread a matrix. False: it was interrupted.
bool truncated_svd(const std::vector<MatrixView>& matrices, const std::vector<FactorsView>& factors, int threads,
                   const Interrupted& interrupted);

}  // namespace surgeon
