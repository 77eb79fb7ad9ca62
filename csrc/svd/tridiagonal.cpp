#include "svd/tridiagonal.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "simd/kernels.hpp"

namespace surgeon {
namespace {

// Two vectors are orthogonal if their dot product is below this; others are made by LAPACK.
constexpr double kOrthogonal = 1e-9;

std::size_t to_size(Index value) { return static_cast<std::size_t>(value); }

Index whole_shifts(Index count) { return (count + simd::kShifts - 1) / simd::kShifts * simd::kShifts; }

// The largest sum of a row's magnitudes: no eigenvalue is beyond it.
double bound(const std::vector<double>& diagonal, const std::vector<double>& beside) {
  double most = 0.0;
  for (std::size_t i = 0; i < diagonal.size(); ++i) {
    const double left = i > 0 ? std::fabs(beside[i - 1]) : 0.0;
    const double right = i + 1 < diagonal.size() ? std::fabs(beside[i]) : 0.0;
    most = std::max(most, std::fabs(diagonal[i]) + left + right);
  }
  return most;
}

// Whether the rows are orthonormal.
bool are_orthonormal(Index count, Index n, const double* rows) {
  Buffer<double> products(count * count);
  blas::gram(true, count, n, rows, products.data());
  for (Index i = 0; i < count; ++i) {
    for (Index j = 0; j <= i; ++j) {
      const double error = std::fabs(products[i * count + j] - (i == j ? 1.0 : 0.0));
      if (!(error <= kOrthogonal)) return false;
    }
  }
  return true;
}

void reverse_rows(Index count, Index n, double* rows) {
  for (Index i = 0; i < count / 2; ++i) {
    std::swap_ranges(rows + i * n, rows + (i + 1) * n, rows + (count - 1 - i) * n);
  }
}

}  // namespace

Tridiagonal::Tridiagonal(Index n, double factor, const std::vector<double>& d, const std::vector<double>& e)
    : size(n), diagonal(d), beside(e) {
  const double most = bound(d, e);
  const double shrink = most > 0.0 ? 1.0 / most : 1.0;
  scale = factor * shrink;
  for (double& value : diagonal) value *= shrink;
  for (double& value : beside) value *= shrink;
  squares.resize(beside.size());
  std::transform(beside.begin(), beside.end(), squares.begin(), [](double x) { return std::max(x * x, 1e-40); });
}

std::vector<double> Tridiagonal::roots(Index first, Index count, double tolerance) const {
  // Bisection of the roots rather than of the eigenvalues: so all of them need as many steps, and bits go where they
  // matter. It starts from a grid, which replaces the first steps.
  const Index grid = whole_shifts(std::min<Index>(std::max<Index>(count, 1), 512));
  const Index shifts = std::max(grid, whole_shifts(count));
  Buffer<double> shift(shifts);
  Buffer<std::int64_t> counts(shifts);
  const simd::Kernels& kernels = simd::active();
  const double top = 1.0 + 1e-14;
  const double step = top / static_cast<double>(grid);
  for (Index i = 0; i < grid; ++i) {
    const double root = step * static_cast<double>(i);
    shift[i] = root * root;
  }
  kernels.count_below(size, diagonal.data(), squares.data(), grid, shift.data(), counts.data());
  std::vector<double> low(to_size(shifts), 0.0);
  Buffer<std::int64_t> allowed(shifts);
  Index place = grid - 1;
  for (Index i = 0; i < shifts; ++i) {  // The i-th of them is below x where more than allowed[i] eigenvalues are.
    allowed[i] = size - 1 - first - std::min(i, count - 1);
    while (place > 0 && counts[place] > allowed[i]) --place;
    low[to_size(i)] = step * static_cast<double>(place);
  }
  kernels.bisect(size, diagonal.data(), squares.data(), whole_shifts(count), allowed.data(), step, tolerance,
                 low.data());
  const double unit = 1.0 / std::sqrt(scale);
  low.resize(to_size(count));
  for (Index i = 0; i < count; ++i) {
    // Counts near a multiple eigenvalue may differ by one in the last digit: the order is kept.
    const double middle = low[to_size(i)] > 0.0 ? (low[to_size(i)] + tolerance / 4) * unit : 0.0;
    low[to_size(i)] = i > 0 ? std::min(middle, low[to_size(i - 1)]) : middle;
  }
  return low;
}

Index Tridiagonal::below(double value) const {
  double shift[simd::kShifts];
  std::int64_t counts[simd::kShifts];
  std::fill(std::begin(shift), std::end(shift), value);
  simd::active().count_below(size, diagonal.data(), squares.data(), simd::kShifts, shift, counts);
  return static_cast<Index>(counts[0]);
}

bool Tridiagonal::vectors(Index first, Index count, double* rows) const {
  constexpr Index group = simd::kVectors;
  const std::vector<double> found = roots(first, count, 1e-12);
  Buffer<double> columns(size * group);
  Buffer<double> work(2 * size * group);
  double values[group];
  for (Index start = 0; start < count; start += group) {
    const Index used = std::min(group, count - start);
    for (Index i = 0; i < group; ++i) {
      const double root = found[to_size(start + std::min(i, used - 1))];
      values[i] = root * root * scale;
    }
    simd::active().twisted(size, diagonal.data(), beside.data(), values, columns.data(), work.data());
    for (Index i = 0; i < used; ++i) {
      for (Index j = 0; j < size; ++j) rows[(start + i) * size + j] = columns[j * group + i];
    }
  }
  if (are_orthonormal(count, size, rows)) return true;
  // Eigenvalues closer than the digits that there are: vectors that know of each other.
  for (const auto algorithm : {&blas::tridiagonal_vectors, &blas::vectors_by_rotation}) {
    if (!algorithm(size, diagonal.data(), beside.data(), first, count, rows)) continue;
    if (are_orthonormal(count, size, rows)) {
      reverse_rows(count, size, rows);
      return true;
    }
  }
  return false;
}

template <typename T>
template <typename From>
Reduced<T>::Reduced(Index n, const From* g)
    : size_(n),
      // Rows a page apart would all fall into the same few places of the cache.
      stride_(simd::padded(n) + (simd::padded(n) * static_cast<Index>(sizeof(T)) % 4096 == 0 ? simd::kPadding : 0)),
      a_(simd::padded(n) * stride_),
      tau_(n),
      tridiagonal_(reduce(g)) {}

template <typename T>
template <typename From>
Tridiagonal Reduced<T>::reduce(const From* g) {
  const Index n = size_;
  const Index whole = simd::padded(n);
  From most = 0;
  for (Index i = 0; i < n; ++i) most = std::max(most, g[i * n + i]);
  int exponent = 0;
  std::frexp(static_cast<double>(most), &exponent);
  const double factor = std::ldexp(1.0, -exponent);
  for (Index i = 0; i < n; ++i) {
    T* row = a_.data() + i * stride_;
    const From* from = g + i * n;
    for (Index j = 0; j <= i; ++j) row[j] = static_cast<T>(from[j] * static_cast<From>(factor));
    for (Index j = i + 1; j < whole; ++j) row[j] = 0;
  }
  std::fill(a_.data() + n * stride_, a_.data() + whole * stride_, T{0});
  for (Index i = 0; i < n; ++i) {  // The blocks on the diagonal are full.
    for (Index j = i / simd::kPadding * simd::kPadding; j < i; ++j) a_[j * stride_ + i] = a_[i * stride_ + j];
  }
  Buffer<T> diagonal(n), beside(n), work(4 * whole);
  if constexpr (sizeof(T) == sizeof(float)) {
    simd::active().reduce_f(n, a_.data(), stride_, diagonal.data(), beside.data(), tau_.data(), work.data());
  } else {
    simd::active().reduce_d(n, a_.data(), stride_, diagonal.data(), beside.data(), tau_.data(), work.data());
  }
  return Tridiagonal(n, factor, std::vector<double>(diagonal.data(), diagonal.data() + n),
                     std::vector<double>(beside.data(), beside.data() + std::max<Index>(0, n - 1)));
}

template <typename T>
void Reduced<T>::turn_back(Index count, T* rows) const {
  Buffer<T> work(size_ * (count + simd::kTurned));
  if constexpr (sizeof(T) == sizeof(float)) {
    simd::active().turn_back_f(size_, a_.data(), stride_, tau_.data(), count, rows, work.data());
  } else {
    simd::active().turn_back_d(size_, a_.data(), stride_, tau_.data(), count, rows, work.data());
  }
}

template class Reduced<float>;
template class Reduced<double>;
template Reduced<float>::Reduced(Index, const float*);
template Reduced<double>::Reduced(Index, const float*);
template Reduced<double>::Reduced(Index, const double*);

}  // namespace surgeon
