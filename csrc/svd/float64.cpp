// The path that takes any matrix. The eigenvalues of the Gram matrix of the smaller side are the squares of the
// singular values. Squaring halves the digits, so everything up to the final rounding is float64: 16 digits halved are
// still more than the 7 of float32, the squares of float32 numbers neither overflow nor vanish in it, and a singular
// value is right to about 1e-7 of the largest one.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "svd/methods.hpp"
#include "svd/tridiagonal.hpp"

namespace surgeon {
namespace {

// Below this share of the largest singular value the vectors of the other side, A v / |A v|, inherit too much rounding
// from the large ones to be orthogonal, and are orthogonalised explicitly.
constexpr double kOrthogonalShare = 1e-4;

// Roots of eigenvalues are bisected to this share of the largest.
constexpr double kTolerance = 2e-7;

// Float64 copies of slices of a matrix are kept this small (1 MiB) so that they stay in the cache.
constexpr Index kSliceElements = Index{1} << 17;

std::size_t to_size(Index value) { return static_cast<std::size_t>(value); }

// The smaller side of a matrix, and float64 slices across the larger one.
class Slices {
 public:
  explicit Slices(const MatrixView& a)
      : a_(a),
        tall_(a.rows >= a.columns),
        small_(std::min(a.rows, a.columns)),
        large_(std::max(a.rows, a.columns)),
        width_(std::min(large_, std::max<Index>(64, kSliceElements / small_))),
        slice_(to_size(width_ * small_)) {}

  bool tall() const { return tall_; }
  Index small() const { return small_; }
  Index large() const { return large_; }

  // Calls use(slice, start, width) for one slice after the other: width rows of a tall matrix (width x small), width
  // columns of a wide one (small x width).
  template <typename Use>
  void for_each(const Use& use) {
    for (Index start = 0; start < large_; start += width_) {
      const Index width = std::min(width_, large_ - start);
      if (tall_) {
        const float* first = a_.data + start * small_;
        std::copy(first, first + width * small_, slice_.begin());
      } else {
        for (Index row = 0; row < small_; ++row) {
          const float* first = a_.data + row * large_ + start;
          std::copy(first, first + width, slice_.begin() + row * width);
        }
      }
      use(slice_.data(), start, width);
    }
  }

 private:
  MatrixView a_;
  bool tall_;
  Index small_;
  Index large_;
  Index width_;
  std::vector<double> slice_;
};

// The Gram matrix of the smaller side, reduced to tridiagonal form.
Reduced<double> reduce(Slices& slices) {
  const Index p = slices.small();
  std::vector<double> gram(to_size(p * p));
  slices.for_each(
      [&](const double* slice, Index, Index width) { blas::add_gram(!slices.tall(), p, width, slice, gram.data()); });
  return Reduced<double>(p, gram.data());
}

double norm(const double* x, Index n) { return std::sqrt(std::inner_product(x, x + n, x, 0.0)); }

// The factors before they are rounded: rank rows of vectors on each side, and the norms.
struct Triplets {
  Index rank;
  std::vector<double> small;   // rank x smaller side
  std::vector<double> large;   // rank x larger side
  std::vector<double> values;  // rank, descending up to rounding
};

Triplets triplets_of(Slices& slices, Index rank) {
  const Index p = slices.small();
  const Index q = slices.large();
  Triplets result{rank, std::vector<double>(to_size(rank * p)), std::vector<double>(to_size(rank * q)),
                  std::vector<double>(to_size(rank))};
  {
    const Reduced<double> reduced = reduce(slices);
    if (!reduced.tridiagonal().vectors(0, rank, result.small.data())) {
      throw MatrixError("has eigenvalues that the iteration did not reach");
    }
    reduced.turn_back(rank, result.small.data());
  }
  const blas::Transpose transpose = slices.tall() ? blas::Transpose::yes : blas::Transpose::no;
  slices.for_each([&](const double* slice, Index start, Index width) {
    blas::multiply(blas::Transpose::no, transpose, rank, width, p, result.small.data(), p, slice,
                   slices.tall() ? p : width, result.large.data() + start, q);
  });
  for (Index i = 0; i < rank; ++i) {
    double* row = result.large.data() + i * q;
    const double length = norm(row, q);
    result.values[to_size(i)] = length;
    if (length > 0.0) std::transform(row, row + q, row, [length](double x) { return x / length; });
  }
  const auto [least, most] = std::minmax_element(result.values.begin(), result.values.end());
  if (*least <= kOrthogonalShare * *most) blas::orthonormalize_rows(rank, q, result.large.data());
  return result;
}

// Writes chosen rows of a (rank x n), in the given order, as rows of out (rank x n) or as columns of out (n x rank).
void write(const std::vector<double>& a, const std::vector<Index>& order, Index n, bool as_columns, float* out) {
  const Index rank = static_cast<Index>(order.size());
  const Index row_step = as_columns ? 1 : n;
  const Index column_step = as_columns ? rank : 1;
  constexpr Index block = 32;  // A block of columns at a time: neither side is walked far out of the cache.
  for (Index start = 0; start < n; start += block) {
    const Index end = std::min(n, start + block);
    for (Index i = 0; i < rank; ++i) {
      const double* row = a.data() + order[to_size(i)] * n;
      for (Index j = start; j < end; ++j) out[i * row_step + j * column_step] = static_cast<float>(row[j]);
    }
  }
}

}  // namespace

void float64_values(const MatrixView& a, float* values) {
  Slices slices(a);
  const std::vector<double> roots = reduce(slices).tridiagonal().roots(0, slices.small(), kTolerance);
  std::transform(roots.begin(), roots.end(), values, to_float);
}

void float64_factors(const MatrixView& a, const FactorsView& factors) {
  Slices slices(a);
  const Triplets t = triplets_of(slices, factors.rank);
  // The norms of A v are more accurate than the eigenvalues that gave the order: among tiny ones the two may differ.
  std::vector<Index> order(to_size(t.rank));
  std::iota(order.begin(), order.end(), Index{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](Index i, Index j) { return t.values[to_size(i)] > t.values[to_size(j)]; });
  std::transform(order.begin(), order.end(), factors.s, [&](Index i) { return to_float(t.values[to_size(i)]); });
  write(slices.tall() ? t.large : t.small, order, a.rows, true, factors.u);
  write(slices.tall() ? t.small : t.large, order, a.columns, false, factors.vt);
}

}  // namespace surgeon
