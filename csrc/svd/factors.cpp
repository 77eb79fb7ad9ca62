// Both sides of the factors from the vectors of one.
#include <algorithm>
#include <cmath>
#include <functional>

#include "blas.hpp"
#include "buffer.hpp"
#include "simd/kernels.hpp"
#include "svd/methods.hpp"

namespace surgeon {
namespace {

// Dot products of two unit vectors that need no correction.
constexpr double kOrthogonal = 4e-6;

std::size_t to_size(Index value) { return static_cast<std::size_t>(value); }

// The norms of the columns of a (rows x columns), which are divided by them; or of its rows.
std::vector<double> normalize(Index rows, Index columns, bool by_column, float* a) {
  std::vector<double> norms(to_size(by_column ? columns : rows), 0.0);
  if (by_column) {
    for (Index i = 0; i < rows; ++i) {
      for (Index j = 0; j < columns; ++j) {
        norms[to_size(j)] += static_cast<double>(a[i * columns + j]) * static_cast<double>(a[i * columns + j]);
      }
    }
  } else {
    for (Index i = 0; i < rows; ++i) norms[to_size(i)] = simd::active().sum_of_squares(a + i * columns, columns);
  }
  for (double& norm : norms) norm = std::sqrt(norm);
  Buffer<float> scale(static_cast<Index>(norms.size()));
  for (std::size_t i = 0; i < norms.size(); ++i) scale[static_cast<Index>(i)] = static_cast<float>(1.0 / norms[i]);
  for (Index i = 0; i < rows; ++i) {
    float* row = a + i * columns;
    if (by_column) {
      for (Index j = 0; j < columns; ++j) row[j] *= scale[j];
    } else {
      for (Index j = 0; j < columns; ++j) row[j] *= scale[i];
    }
  }
  return norms;
}

// Makes nearly orthonormal columns (or rows) of a (rows x columns) more so, each by what the ones before it have of it
// (by the Cholesky factor of a' a). False: they are too far from it.
bool orthonormalize(Index rows, Index columns, bool by_column, float* a) {
  const Index count = by_column ? columns : rows;
  const Index length = by_column ? rows : columns;
  Buffer<float> products(count * count);
  blas::gram(!by_column, count, length, a, products.data());
  double most = 0.0, sum = 0.0;
  for (Index i = 0; i < count; ++i) {
    for (Index j = 0; j <= i; ++j) {
      const double error = static_cast<double>(products[i * count + j]) - (i == j ? 1.0 : 0.0);
      most = std::max(most, std::fabs(error));
      sum += (i == j ? 1.0 : 2.0) * error * error;
    }
  }
  if (!(sum <= kCorrectable * kCorrectable)) return false;
  if (most <= kOrthogonal) return true;
  if (!blas::cholesky(count, products.data())) return false;
  blas::divide(by_column, rows, columns, products.data(), a);
  return true;
}

}  // namespace

bool factors_from(const MatrixView& a, std::vector<float> vectors, bool right, double error, double squares,
                  const FactorsView& factors) {
  const Index k = factors.rank;
  const Index length = right ? a.columns : a.rows;
  if (!orthonormalize(k, length, false, vectors.data())) return false;
  using blas::Transpose;
  std::vector<double> norms;
  if (right) {
    std::copy(vectors.begin(), vectors.end(), factors.vt);
    blas::multiply(Transpose::no, Transpose::yes, a.rows, k, a.columns, a.data, a.columns, factors.vt, a.columns,
                   factors.u, k);
    norms = normalize(a.rows, k, true, factors.u);
    if (!orthonormalize(a.rows, k, true, factors.u)) return false;
  } else {
    for (Index j = 0; j < length; ++j) {
      for (Index i = 0; i < k; ++i) factors.u[j * k + i] = vectors[to_size(i * length + j)];
    }
    blas::multiply(Transpose::no, Transpose::no, k, a.columns, length, vectors.data(), length, a.data, a.columns,
                   factors.vt, a.columns);
    norms = normalize(k, a.columns, false, factors.vt);
    if (!orthonormalize(k, a.columns, false, factors.vt)) return false;
  }
  // What the vectors miss of the best approximation's squared norm is below twice the error of k eigenvalues. It must
  // be little beside what that one leaves.
  double rest = squares;
  for (const double norm : norms) rest -= norm * norm;
  if (!(2 * static_cast<double>(k) * error * norms.front() * norms.front() <= 0.01 * rest)) return false;
  // Among values that are equal to rounding the order may be off by it.
  std::sort(norms.begin(), norms.end(), std::greater<double>());
  std::transform(norms.begin(), norms.end(), factors.s, to_float);
  return true;
}

}  // namespace surgeon
