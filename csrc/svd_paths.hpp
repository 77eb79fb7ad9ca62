// The two ways to the singular values of one matrix, which must not be zero or hold what is not finite.
#pragma once

#include "svd.hpp"

namespace surgeon {

// In float32, with `most` the largest magnitude. False, and anything in the result: this matrix needs float64 for what
// is promised of every one.
bool single_values(const MatrixView& a, float most, bool may_round, float* values);
bool single_factors(const MatrixView& a, float most, const FactorsView& factors);

// A few leading ones, in float32. False: too many are wanted, they lie too close, or it would take too long.
bool krylov_factors(const MatrixView& a, const FactorsView& factors);

// Both sides from the vectors of one (rank rows), the right one or the left one. The eigenvalues are wrong by at most
// `error` of the largest; `squares` is the squared norm of the matrix. False: they are not as good as promised.
bool factors_from(const MatrixView& a, std::vector<float> vectors, bool right, double error, double squares,
                  const FactorsView& factors);

// In float64.
void exact_values(const MatrixView& a, float* values);
void exact_factors(const MatrixView& a, const FactorsView& factors);

// Rounds a singular value. MatrixError: float32 has no such number.
float to_float(double value);

}  // namespace surgeon
