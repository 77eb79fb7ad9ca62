// Gram matrices at twice the speed: by 16-bit integers, where the processor multiplies those twice as fast as floats.
#pragma once

#include "blas.hpp"

namespace surgeon {

// Bounds of the matrix of all roundings. They are independent and of the mean zero, each with a deviation of at most
// half the integers' step in its block: `norm` is the longest row of deviations and the longest column together, which
// the norm of such a matrix hardly ever exceeds (Bandeira and van Handel, "Sharp nonasymptotic bounds on the norm of
// random matrices with independent entries", 2016), and no singular value is moved by more than that norm. `all` is the
// Frobenius norm.
struct Roundings {
  double norm = 0.0;
  double all = 0.0;
};

// Whether a matrix of n vectors of k elements is worth it, on this processor.
bool suits_rounding(Index n, Index k);

// As blas::gram, of a matrix whose largest element is neither below 1e-12 nor above 1e12, after its elements were
// rounded.
Roundings rounded_gram(bool outer, Index n, Index k, const float* a, float* c);

}  // namespace surgeon
