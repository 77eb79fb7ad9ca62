// The fast path: a float32 Gram matrix of the smaller side, reduced in float32 or, where that is not enough, in
// float64.
//
// Its errors are a share of the largest eigenvalue, so they weigh most in the smallest singular values: an error d of
// the eigenvalue s^2 is one of d / (2 s) in s. Every bound below says how small a singular value may be, as a share of
// the largest, before the promise of 1e-4 (or of orthogonality) could break. What is smaller is left to float64.
#include <algorithm>
#include <cmath>
#include <cstdint>

#include "simd/kernels.hpp"
#include "svd/gram_int16.hpp"
#include "svd/methods.hpp"
#include "svd/tridiagonal.hpp"

namespace surgeon {
namespace {

constexpr double kRounding = 6e-8;  // of float32

// What is promised of singular values, as a share of the largest.
constexpr double kPromise = 1e-4;

// What the float32 reduction changes the eigenvalues by, as a share of the largest one. Measured: up to 6e-7.
constexpr double kReductionError = 1e-6;

// What the float32 Gram matrix differs from the exact one by, as a share of its longest row: rounding is at random, and
// a random matrix has the norm of twice its rows. Measured: up to 7 roundings.
constexpr double kGramError = 16 * kRounding;

// Roots of eigenvalues are bisected to this share of the largest.
constexpr double kTolerance = 1e-6;

std::size_t to_size(Index value) { return static_cast<std::size_t>(value); }

struct Gram {
  Index size;
  Buffer<float> lower;
  double trace = 0.0;
  double longest_row = 0.0;
  Roundings roundings;  // of the matrix, if to integers

  Gram(const MatrixView& a, bool rounded) : size(std::min(a.rows, a.columns)), lower(size * size) {
    const Index length = std::max(a.rows, a.columns);
    if (rounded) {
      roundings = rounded_gram(a.rows <= a.columns, size, length, a.data, lower.data());
    } else {
      blas::gram(a.rows <= a.columns, size, length, a.data, lower.data());
    }
    std::vector<double> squares(to_size(size), 0.0);
    for (Index i = 0; i < size; ++i) {
      const float* row = lower.data() + i * size;
      double sum = 0.0;
      for (Index j = 0; j < i; ++j) {
        const double square = static_cast<double>(row[j]) * static_cast<double>(row[j]);
        squares[to_size(j)] += square;
        sum += square;
      }
      const double element = static_cast<double>(row[i]);
      trace += element;
      squares[to_size(i)] += sum + element * element;
    }
    longest_row = std::sqrt(*std::max_element(squares.begin(), squares.end()));
  }
};

// The error of the eigenvalues as a share of the largest.
template <typename T>
double error_of(const Gram& gram, double largest) {
  const double reduction = sizeof(T) == sizeof(float) ? kReductionError : 0.0;
  return reduction + kGramError * gram.longest_row / largest;
}

std::vector<float> narrowed(const Buffer<double>& rows, Index size) {
  std::vector<float> result(to_size(size));
  std::transform(rows.data(), rows.data() + size, result.begin(), [](double x) { return static_cast<float>(x); });
  return result;
}

// Vectors (count x size) of the matrix that was reduced, for eigenvalues from `first` on. Empty: none were found.
std::vector<float> vectors_of(const Reduced<float>& reduced, Index size, Index first, Index count) {
  Buffer<double> rows(count * size);
  if (!reduced.tridiagonal().vectors(first, count, rows.data())) return {};
  std::vector<float> vectors = narrowed(rows, count * size);
  reduced.turn_back(count, vectors.data());
  return vectors;
}
std::vector<float> vectors_of(const Reduced<double>& reduced, Index size, Index first, Index count) {
  Buffer<double> rows(count * size);
  if (!reduced.tridiagonal().vectors(first, count, rows.data())) return {};
  reduced.turn_back(count, rows.data());
  return narrowed(rows, count * size);
}

// Replaces the last `wanted` values by those of the matrix on the space of the last `count` vectors (Rayleigh and
// Ritz). Their squares are off by the square of the eigenvalues' error, over the distance from the vectors left out.
template <typename T>
bool refine(const MatrixView& a, const Reduced<T>& reduced, Index wanted, Index count, float* values) {
  const Index p = std::min(a.rows, a.columns);
  const Index q = std::max(a.rows, a.columns);
  const std::vector<float> vectors = vectors_of(reduced, p, p - count, count);
  if (vectors.empty()) return false;
  Buffer<float> images(count * q);
  using blas::Transpose;
  if (a.rows > a.columns) {
    blas::multiply(Transpose::no, Transpose::yes, count, q, p, vectors.data(), p, a.data, p, images.data(), q);
  } else {
    blas::multiply(Transpose::no, Transpose::no, count, q, p, vectors.data(), p, a.data, q, images.data(), q);
  }
  std::vector<float> found(to_size(count));
  float64_values({images.data(), count, q}, found.data());
  for (Index i = 0; i < wanted; ++i) {
    values[p - wanted + i] = std::min(found[to_size(count - wanted + i)], values[p - wanted - 1]);
  }
  return true;
}

// What one way led to. Values too small for it are so with a Gram matrix that was not rounded, too; a matrix that was
// rounded too much is to be tried as it is.
enum class Outcome { found, too_small, too_rounded };

// Roundings that leave less of the promise than this share of it to everything else are too much.
constexpr double kLeft = 0.1;

template <typename T>
Outcome values_by(const Gram& gram, const MatrixView& a, float* values) {
  const Index p = gram.size;
  const Reduced<T> reduced(p, gram.lower.data());
  const Tridiagonal& t = reduced.tridiagonal();
  const double top = t.roots(0, 1, 1e-3).front();
  const double error = error_of<T>(gram, top * top);
  const auto below = [&](double share) { return t.below(share * top * top * t.scale); };
  const double promise = kPromise - gram.roundings.norm / top;
  if (promise < kLeft * kPromise) return Outcome::too_rounded;
  // Refined values are right if error^2 / distance is below the square of what is promised.
  const double share = std::pow(error / (2 * promise), 2);
  const double distance = std::pow(error / promise, 2);
  const Index wrong = below(share);
  const Index near = wrong > 0 ? below(share + distance) : 0;
  if (near > p / 8) {
    const bool so_without = below(1.25 * std::pow(error / kPromise, 2)) > p / 8;
    return so_without ? Outcome::too_small : Outcome::too_rounded;
  }
  const std::vector<double> roots = t.roots(0, p, kTolerance);
  std::transform(roots.begin(), roots.end(), values, to_float);
  return wrong == 0 || refine(a, reduced, wrong, near, values) ? Outcome::found : Outcome::too_small;
}

template <typename T>
Outcome factors_by(const Gram& gram, const MatrixView& a, const FactorsView& factors) {
  const Index p = gram.size;
  const Index k = factors.rank;
  const bool tall = a.rows > a.columns;
  double error;
  std::vector<float> vectors;
  {
    const Reduced<T> reduced(p, gram.lower.data());
    const Tridiagonal& t = reduced.tridiagonal();
    const double top = t.roots(0, 1, 1e-3).front();
    if (gram.roundings.all > 0.0) {
      if (gram.roundings.norm > (1.0 - kLeft) * kPromise * top) return Outcome::too_rounded;
      // The best approximation of the rounded matrix leaves at most twice the roundings more of this one than its own
      // best does: that may be half of 1 %.
      double rest = gram.trace;
      for (const double root : t.roots(0, k, kTolerance)) rest -= root * root;
      if (std::pow(2 * gram.roundings.all / 0.005, 2) > rest) return Outcome::too_rounded;
    }
    error = error_of<T>(gram, top * top);
    // Dot products of the other side's vectors are about error * top^2 / (s_i s_j).
    if (p - t.below(error / kCorrectable * top * top * t.scale) < k) return Outcome::too_small;
    vectors = vectors_of(reduced, p, 0, k);
  }
  if (vectors.empty()) return Outcome::too_small;
  return factors_from(a, vectors, tall, error, gram.trace, factors) ? Outcome::found : Outcome::too_rounded;
}

// Tries the way with a reduction in float32 and then with one in float64; with a rounded matrix first, where that pays.
template <typename Way>
bool by_gram(const MatrixView& a, bool may_round, const Way& way) {
  const auto tried = [&](bool rounded) {
    const Gram gram(a, rounded);
    const Outcome outcome = way(gram, float());
    return outcome == Outcome::found || (rounded && outcome == Outcome::too_rounded) ? outcome : way(gram, double());
  };
  Outcome outcome = Outcome::too_rounded;
  if (may_round && suits_rounding(std::min(a.rows, a.columns), std::max(a.rows, a.columns))) outcome = tried(true);
  if (outcome == Outcome::too_rounded) outcome = tried(false);
  return outcome == Outcome::found;
}

}  // namespace

// Whether neither squares leave the range of float32, nor sums of them lose too much.
bool suits_float32(const MatrixView& a, float most) {
  const Index p = std::min(a.rows, a.columns);
  const Index q = std::max(a.rows, a.columns);
  return most > 1e-12F && most < 1e12F && q <= 16384 && p > 1;
}

bool float32_values(const MatrixView& a, bool may_round, float* values) {
  // A small matrix that is nearly square is sooner done in float64 than refined.
  const Index p = std::min(a.rows, a.columns);
  if (p < 128 && a.rows * a.columns < 2 * p * p) return false;
  return by_gram(a, may_round, [&](const Gram& gram, auto type) { return values_by<decltype(type)>(gram, a, values); });
}

bool float32_factors(const MatrixView& a, const FactorsView& factors) {
  // The other side's vectors of a rounded matrix have to be made orthogonal: with many, that takes longer than it
  // saves.
  const bool few = 3 * factors.rank <= std::min(a.rows, a.columns);
  return by_gram(a, few, [&](const Gram& gram, auto type) { return factors_by<decltype(type)>(gram, a, factors); });
}

}  // namespace surgeon
