// The eigenvalues of the Gram matrix of the smaller side are the squares of the singular values. Squaring halves the
// digits, so everything up to the final rounding is float64: 16 digits halved are still more than the 7 of float32, the
// squares of float32 numbers neither overflow nor vanish in it, and a singular value is right to about 1e-8 of the
// largest one.
#include "svd.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <numeric>
#include <string>

#include "parallel.hpp"

namespace surgeon {
namespace {

// Below this share of the largest singular value the vectors of the other side, A v / |A v|, inherit too much rounding
// from the large ones to be orthogonal, and are orthogonalised explicitly.
constexpr double kOrthogonalShare = 1e-5;

// Float64 copies of slices of a matrix are kept this small (1 MiB) so that they stay in the cache.
constexpr Index kSliceElements = Index{1} << 17;

std::size_t to_size(Index value) { return static_cast<std::size_t>(value); }

bool is_finite(const MatrixView& a) {
  // The exponent bits of infinity and NaN are all ones. Without branches, this is done for many elements at once.
  constexpr std::uint32_t exponent = 0x7f800000U;
  std::uint32_t found = 0;
  for (Index i = 0; i < a.rows * a.columns; ++i) {
    std::uint32_t bits;
    std::memcpy(&bits, a.data + i, sizeof bits);
    found |= static_cast<std::uint32_t>((bits & exponent) == exponent);
  }
  return found == 0;
}

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
struct Tridiagonal {
  explicit Tridiagonal(Slices& slices)
      : size(slices.small()),
        gram(to_size(size * size)),
        diagonal(to_size(size)),
        beside(to_size(size)),
        scale(to_size(size)) {
    slices.for_each([&](const double* slice, Index, Index width) {
      blas::add_gram(!slices.tall(), size, width, slice, gram.data());
    });
    blas::tridiagonalize(size, gram.data(), diagonal.data(), beside.data(), scale.data());
  }

  Index size;
  std::vector<double> gram;
  std::vector<double> diagonal;
  std::vector<double> beside;
  std::vector<double> scale;
};

float to_float(double value) {
  if (value > static_cast<double>(std::numeric_limits<float>::max())) {
    throw MatrixError("has a singular value beyond the range of float32: scale it down");
  }
  return static_cast<float>(value);
}

[[noreturn]] void refuse_no_convergence() { throw MatrixError("has eigenvalues that the iteration did not reach"); }

void check_finite(const MatrixView& a) {
  if (!is_finite(a)) throw MatrixError("holds NaN or infinity: singular values need finite elements");
}

void values_of(const MatrixView& a, float* values) {
  check_finite(a);
  if (a.rows == 0 || a.columns == 0) return;
  Slices slices(a);
  Tridiagonal t(slices);
  if (!blas::tridiagonal_values(t.size, t.diagonal.data(), t.beside.data())) refuse_no_convergence();
  // An eigenvalue that should be zero may come out just below it.
  std::transform(t.diagonal.rbegin(), t.diagonal.rend(), values,
                 [](double square) { return to_float(std::sqrt(std::max(0.0, square))); });
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
    const Tridiagonal t(slices);
    if (!blas::tridiagonal_vectors(p, t.diagonal.data(), t.beside.data(), rank, result.small.data())) {
      refuse_no_convergence();
    }
    blas::turn_back(p, t.gram.data(), t.scale.data(), rank, result.small.data());
  }
  for (Index i = 0; i < rank / 2; ++i) {  // Largest first.
    std::swap_ranges(result.small.begin() + i * p, result.small.begin() + (i + 1) * p,
                     result.small.begin() + (rank - 1 - i) * p);
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

void factors_of(const MatrixView& a, const FactorsView& factors) {
  check_finite(a);
  if (factors.rank == 0) return;
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

// Runs task(i) for every matrix, the costly ones first, and puts the index of the matrix before what it complains of.
template <typename Task>
void for_each_matrix(const std::vector<MatrixView>& matrices, int threads, const Task& task) {
  std::vector<std::size_t> order(matrices.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  const auto cost = [&](std::size_t i) {
    const double rows = static_cast<double>(matrices[i].rows);
    const double columns = static_cast<double>(matrices[i].columns);
    return rows * columns * std::min(rows, columns);
  };
  std::stable_sort(order.begin(), order.end(), [&](std::size_t i, std::size_t j) { return cost(i) > cost(j); });
  std::vector<std::string> complaints(matrices.size());
  parallel_for(matrices.size(), threads, [&](std::size_t turn) {
    const std::size_t i = order[turn];
    try {
      task(i);
    } catch (const MatrixError& error) {
      complaints[i] = error.what();
    }
  });
  for (std::size_t i = 0; i < complaints.size(); ++i) {
    if (complaints[i].empty()) continue;
    throw MatrixError("Matrix " + std::to_string(i) + " (" + std::to_string(matrices[i].rows) + " x " +
                      std::to_string(matrices[i].columns) + ") " + complaints[i] + ".");
  }
}

}  // namespace

void singular_values(const std::vector<MatrixView>& matrices, const std::vector<float*>& values, int threads) {
  for_each_matrix(matrices, threads, [&](std::size_t i) { values_of(matrices[i], values[i]); });
}

void truncated_svd(const std::vector<MatrixView>& matrices, const std::vector<FactorsView>& factors, int threads) {
  for_each_matrix(matrices, threads, [&](std::size_t i) { factors_of(matrices[i], factors[i]); });
}

}  // namespace surgeon
