// The methods for the singular values of one matrix, which must not be zero or hold what is not finite. svd.cpp
// chooses.
#pragma once

#include "svd/svd.hpp"

namespace surgeon {

// Whether float32 may be tried, with `most` the largest magnitude: neither squares leave its range, nor do sums of them
// lose too much.
bool suits_float32(const MatrixView& a, float most);

// In float32, of a matrix that suits it. False, and anything in the result: this matrix needs float64 for what is
// promised of every one.
bool float32_values(const MatrixView& a, bool may_round, float* values);
bool float32_factors(const MatrixView& a, const FactorsView& factors);  // fewer than there are

// A few leading ones, in float32. False: too many are wanted, they lie too close, or it would take too long.
bool lanczos_factors(const MatrixView& a, const FactorsView& factors);

// The Frobenius norm of the dot products of vectors, less the unit matrix, that `factors_from` may correct.
constexpr double kCorrectable = 2e-3;

// Both sides from the vectors of one (rank rows), the right one or the left one. The eigenvalues are wrong by at most
// `error` of the largest; `squares` is the squared norm of the matrix. False: they are not as good as promised.
bool factors_from(const MatrixView& a, std::vector<float> vectors, bool right, double error, double squares,
                  const FactorsView& factors);

// In float64.
void float64_values(const MatrixView& a, float* values);
void float64_factors(const MatrixView& a, const FactorsView& factors);

// Rounds a singular value. MatrixError: float32 has no such number.
float to_float(double value);

}  // namespace surgeon
