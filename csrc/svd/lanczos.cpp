// A few leading triplets of a large matrix, from products with it alone: the Lanczos method on A'A, with two vectors at
// a time and full reorthogonalisation (Golub and Underwood, "The block Lanczos method for computing eigenvalues",
// 1977).
//
// The Lanczos method with one vector finds one vector for each distinct eigenvalue, however often that is repeated.
// With two at a time a repeated one is found twice. So where all values that were found lie apart from each other,
// farther than what their residuals leave open, none of them is repeated and none was missed; the two starting vectors
// are random, and one of them would have to lie nearly across the direction that was missed. Where that is not so, or
// where convergence is slow, the answer is "no", and the Gram matrix is reduced instead.
#include <algorithm>
#include <cmath>
#include <random>

#include "simd/kernels.hpp"
#include "svd/methods.hpp"
#include "svd/tridiagonal.hpp"

namespace surgeon {
namespace {

constexpr Index kBlock = simd::kProducts;

// Residuals that are small enough, as a share of the largest singular value times the one in question: half of it
// bounds the error of the value.
constexpr double kConverged = 2e-5;

// Neighbouring eigenvalues lie apart if their distance is so many times their residuals.
constexpr double kApart = 10.0;

// What float32 leaves of products, as a share of the largest eigenvalue.
constexpr double kRounding = 1e-6;

std::size_t to_size(Index value) { return static_cast<std::size_t>(value); }

// An orthonormal basis of the space that products with A'A span, and that matrix on it.
class Krylov {
 public:
  Krylov(const MatrixView& a, Index most)
      : a_(a),
        stride_(simd::padded(a.columns)),
        most_(most),
        basis_((most + kBlock) * stride_),
        dots_(kBlock * std::max(a.rows, most + kBlock)),
        projected_(to_size(most * most)) {
    std::fill(basis_.data(), basis_.data() + (most + kBlock) * stride_, 0.0F);
    std::mt19937 generator(5489);
    Buffer<float> start(kBlock * stride_);
    for (Index i = 0; i < kBlock * stride_; ++i) start[i] = static_cast<float>(generator()) * 0x1p-31F - 1.0F;
    multiply(start.data());
    orthonormalize();
    orthonormalize();  // Beside a value that dominates, the first round leaves little of the second vector but
                       // rounding.
  }

  Index size() const { return size_; }

  // Takes in the block that lies ready, and makes the next one. False: there is no room or no next one.
  bool grow() {
    if (size_ + kBlock > most_ || ended()) return false;
    const float* block = next(0);
    size_ += kBlock;
    multiply(block);
    take_out();
    for (Index v = 0; v < kBlock; ++v) {
      double* row = projected_.data() + (size_ - kBlock + v) * most_;
      for (Index i = 0; i < size_; ++i) row[i] = static_cast<double>(dots_[i * kBlock + v]);
      largest_ = std::max(largest_, row[size_ - kBlock + v]);
    }
    orthonormalize();
    const Triangle first = beyond_;
    take_out();  // What rounding left of the basis.
    orthonormalize();
    beyond_ = {beyond_.first * first.first, beyond_.first * first.beside + beyond_.beside * first.last,
               beyond_.last * first.last};
    return true;
  }

  // Whether the next block is nothing but rounding.
  bool ended() const { return !(std::min(beyond_.first, beyond_.last) > kRounding * largest_); }

  // The matrix on the basis (size x size), its lower triangle.
  std::vector<double> projected() const {
    std::vector<double> result(to_size(size_ * size_));
    for (Index i = 0; i < size_; ++i) std::copy_n(projected_.data() + i * most_, i + 1, result.data() + i * size_);
    return result;
  }

  // The norm of what the product with a unit vector (given in the basis) has beyond the basis.
  double residual(const double* vector) const {
    const double* last = vector + size_ - kBlock;
    return std::hypot(beyond_.first * last[0] + beyond_.beside * last[1], beyond_.last * last[1]);
  }

  // Vectors (count x columns) that are given in the basis (count x size).
  std::vector<float> vectors(Index count, const float* rows) const {
    std::vector<float> result(to_size(count * a_.columns));
    using blas::Transpose;
    blas::multiply(Transpose::no, Transpose::no, count, a_.columns, size_, rows, size_, basis_.data(), stride_,
                   result.data(), a_.columns);
    return result;
  }

 private:
  struct Triangle {  // [first beside; 0 last]
    double first = 1.0, beside = 0.0, last = 1.0;
  };

  float* next(Index v) { return basis_.data() + (size_ + v) * stride_; }

  void multiply(const float* block) {
    simd::active().gram_times(a_.rows, a_.columns, a_.data, a_.columns, 1.0F, block, next(0), stride_, dots_.data());
  }

  // Subtracts what the next block has in the basis; the dots are how much.
  void take_out() {
    simd::active().gram_times(size_, a_.columns, basis_.data(), stride_, -1.0F, next(0), next(0), stride_,
                              dots_.data());
  }

  double normalize(Index v) {
    const double norm = std::sqrt(simd::active().sum_of_squares(next(v), a_.columns));
    if (!(norm > 0.0)) return 0.0;
    const float factor = static_cast<float>(1.0 / norm);
    for (Index i = 0; i < a_.columns; ++i) next(v)[i] *= factor;
    return norm;
  }

  // Turns the next block into orthonormal vectors times a triangle.
  void orthonormalize() {
    float *first = next(0), *second = next(1);
    beyond_.first = normalize(0);
    beyond_.beside = 0.0;
    for (Index i = 0; i < a_.columns; ++i) {
      beyond_.beside += static_cast<double>(first[i]) * static_cast<double>(second[i]);
    }
    const float shared = static_cast<float>(beyond_.beside);
    for (Index i = 0; i < a_.columns; ++i) second[i] -= shared * first[i];
    beyond_.last = normalize(1);
  }

  MatrixView a_;
  Index stride_;
  Index most_;
  Index size_ = 0;
  Buffer<float> basis_;  // a row a vector: those taken in, and the next block
  Buffer<float> dots_;
  std::vector<double> projected_;  // lower triangle
  Triangle beyond_;                // couples the basis with the next block
  double largest_ = 0.0;           // element of the diagonal
};

// The leading eigenvectors of A'A on the space, given in its basis (count x size), one more than are wanted.
struct Ritz {
  std::vector<double> values;  // count, descending
  std::vector<double> residuals;
  std::vector<float> rows;
};

bool solve(const Krylov& space, Index count, Ritz& ritz) {
  const Index size = space.size();
  const Reduced<double> reduced(size, space.projected().data());
  Buffer<double> rows(count * size);
  if (!reduced.tridiagonal().vectors(0, count, rows.data())) return false;
  reduced.turn_back(count, rows.data());
  ritz.values = reduced.tridiagonal().roots(0, count, 1e-9);
  ritz.residuals.resize(to_size(count));
  ritz.rows.resize(to_size(count * size));
  for (double& value : ritz.values) value *= value;
  for (Index i = 0; i < count; ++i) ritz.residuals[to_size(i)] = space.residual(rows.data() + i * size);
  std::transform(rows.data(), rows.data() + count * size, ritz.rows.begin(),
                 [](double x) { return static_cast<float>(x); });
  return true;
}

// The largest factor by which a residual is too large, for its value to be right and for neighbours to lie apart. Zero:
// no iteration will tell some of them apart.
double excess(const Ritz& ritz, Index k) {
  const double top = ritz.values.front();
  const double rounding = kRounding * top;
  double most = 0.0;
  for (Index i = 0; i < k; ++i) {
    const double value = ritz.values[to_size(i)];
    double residual = ritz.residuals[to_size(i)];
    most = std::max(most, residual / (kConverged * std::sqrt(top * value)));
    if (i + 1 == k) break;
    residual = std::max(residual, ritz.residuals[to_size(i + 1)]);
    const double apart = value - ritz.values[to_size(i + 1)];
    if (residual <= rounding && apart <= kApart * rounding) return 0.0;
    most = std::max(most, kApart * residual / apart);
  }
  return most;
}

// By how much eigenvalues may be too small, as a share of the largest.
double error_of(const Ritz& ritz, Index k) {
  double most = 0.0;
  for (Index i = 0; i < k; ++i) {
    const double residual = ritz.residuals[to_size(i)];
    const double distance = ritz.values[to_size(i)] - ritz.values[to_size(k)];
    most = std::max(most, residual * std::min(1.0, residual / std::max(distance, 1e-300)));
  }
  return most / ritz.values.front() + kRounding;
}

}  // namespace

bool lanczos_factors(const MatrixView& a, const FactorsView& factors) {
  const Index k = factors.rank;
  const Index p = std::min(a.rows, a.columns);
  // By measurement: more are sooner found by reducing the Gram matrix, and after so many products half of that would
  // have been done. Products with a long matrix cost more beside it.
  const double side = static_cast<double>(p);
  const double shape = side / static_cast<double>(std::max(a.rows, a.columns));
  const Index most = static_cast<Index>(side * (1.0 + 0.75 * shape * shape) / 7.0);
  if (static_cast<double>(k) > side * std::min(shape / 32.0, side / 32768.0) || 2 * k + 4 * kBlock > most) return false;
  Krylov space(a, most);
  Ritz ritz;
  double before = 0.0;
  Index checked = 0;
  Index next = 2 * k + kBlock;
  while (space.grow()) {
    if (space.size() < next && !(space.ended() && space.size() > k)) continue;
    if (!solve(space, k + 1, ritz)) return false;
    const double now = excess(ritz, k);
    if (now == 0.0) return false;
    if (now <= 1.0) {
      return factors_from(a, space.vectors(k, ritz.rows.data()), true, error_of(ritz, k),
                          simd::active().sum_of_squares(a.data, a.rows * a.columns), factors);
    }
    // Residuals shrink by about the same factor with every product, or by more.
    const Index size = space.size();
    Index more = size / 4;
    if (checked > 0) {
      const double shrinking = std::log(std::max(1.0, before / now)) / static_cast<double>(size - checked);
      const double rest = std::log(now) / std::max(shrinking, 1e-9);
      if (3 * size > 2 * most && static_cast<double>(size) + rest > 3.0 * static_cast<double>(most)) return false;
      if (rest < static_cast<double>(more)) more = static_cast<Index>(rest);
    }
    checked = size;
    before = now;
    next = size + std::max(more, 2 * kBlock);
  }
  return false;
}

}  // namespace surgeon
