// Gram matrices at twice the speed: by 16-bit integers, where the processor multiplies those twice as fast as floats.
#pragma once

#include "blas.hpp"

namespace surgeon {

// By how much the singular values of the rounded matrix may differ, as a share of the largest one; and all of it, as a
// share of its norm. An element is off by a random number of the mean zero, by at most 1 / 46330 and mostly by 1 /
// 113000 of the norm of the 32 elements it stands among. A matrix of such errors has a norm of 5e-5 for the longest row
// of the other and 5e-5 for its longest column, but a row as long as the largest singular value is a direction of its
// own, and so is such a column. Measured: up to 5.7e-5 with one value repeated and zero the others; of layers 1e-6 to
// 4e-6.
constexpr double kRoundedError = 6e-5;

// Whether a matrix of n vectors of k elements is worth it, on this processor.
bool suits_rounding(Index n, Index k);

// As blas::gram, of a matrix whose largest element is neither below 1e-12 nor above 1e12.
void rounded_gram(bool outer, Index n, Index k, const float* a, float* c);

}  // namespace surgeon
