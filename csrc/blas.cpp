#include "blas.hpp"

#include <cblas.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <vector>

// LAPACK as Fortran sees it. The trailing lengths of the character arguments are part of the calling convention.
extern "C" {
void scipy_dstemr_(const char*, const char*, const int*, double*, double*, const double*, const double*, const int*,
                   const int*, int*, double*, double*, const int*, const int*, int*, int*, double*, const int*, int*,
                   const int*, int*, std::size_t, std::size_t);
void scipy_dsteqr_(const char*, const int*, double*, double*, double*, const int*, double*, int*, std::size_t);
void scipy_spotrf_(const char*, const int*, float*, const int*, int*, std::size_t);
void scipy_dgeqrf_(const int*, const int*, double*, const int*, double*, double*, const int*, int*);
void scipy_dorgqr_(const int*, const int*, const int*, double*, const int*, const double*, double*, const int*, int*);
}

namespace surgeon::blas {
namespace {

int to_int(Index value) {
  if (value > std::numeric_limits<int>::max()) throw std::length_error("an axis is longer than 2147483647");
  return static_cast<int>(value);
}

CBLAS_TRANSPOSE to_cblas(Transpose transpose) { return transpose == Transpose::yes ? CblasTrans : CblasNoTrans; }

std::size_t to_size(Index value) { return static_cast<std::size_t>(value); }

// Up to so many products OpenBLAS multiplies by kernels for small matrices, which want none of its buffers. There is a
// lock around these.
constexpr Index kSmall = 1000000;

// Calls a LAPACK routine twice, as it wants to be called: for the size of its workspace, then to work.
template <typename T, typename Routine>
void with_workspace(Routine&& routine) {
  T wanted = 0;
  int size = -1;
  routine(&wanted, &size);
  size = static_cast<int>(wanted);
  std::vector<T> workspace(to_size(std::max(1, size)));
  routine(workspace.data(), &size);
}

}  // namespace

void use_one_thread() { scipy_openblas_set_num_threads(1); }

const char* core_name() { return scipy_openblas_get_corename(); }

const char* configuration() { return scipy_openblas_get_config(); }

void multiply(Transpose transpose_a, Transpose transpose_b, Index m, Index n, Index k, const float* a, Index a_stride,
              const float* b, Index b_stride, float* c, Index c_stride) {
  scipy_cblas_sgemm(CblasRowMajor, to_cblas(transpose_a), to_cblas(transpose_b), to_int(m), to_int(n), to_int(k), 1.0F,
                    a, to_int(a_stride), b, to_int(b_stride), 0.0F, c, to_int(c_stride));
}

void multiply(Transpose transpose_a, Transpose transpose_b, Index m, Index n, Index k, const double* a, Index a_stride,
              const double* b, Index b_stride, double* c, Index c_stride) {
  scipy_cblas_dgemm(CblasRowMajor, to_cblas(transpose_a), to_cblas(transpose_b), to_int(m), to_int(n), to_int(k), 1.0,
                    a, to_int(a_stride), b, to_int(b_stride), 0.0, c, to_int(c_stride));
}

void gram(bool outer, Index n, Index k, const float* a, float* c) {
  if (n * n * k <= kSmall) {
    const Transpose first = outer ? Transpose::no : Transpose::yes, second = outer ? Transpose::yes : Transpose::no;
    const Index stride = outer ? k : n;
    return multiply(first, second, n, n, k, a, stride, a, stride, c, n);
  }
  scipy_cblas_ssyrk(CblasRowMajor, CblasLower, outer ? CblasNoTrans : CblasTrans, to_int(n), to_int(k), 1.0F, a,
                    to_int(outer ? k : n), 0.0F, c, to_int(n));
}

void gram(bool outer, Index n, Index k, const double* a, double* c) {
  scipy_cblas_dsyrk(CblasRowMajor, CblasLower, outer ? CblasNoTrans : CblasTrans, to_int(n), to_int(k), 1.0, a,
                    to_int(outer ? k : n), 0.0, c, to_int(n));
}

void add_gram(bool outer, Index n, Index k, const double* a, double* c) {
  scipy_cblas_dsyrk(CblasRowMajor, CblasLower, outer ? CblasNoTrans : CblasTrans, to_int(n), to_int(k), 1.0, a,
                    to_int(outer ? k : n), 1.0, c, to_int(n));
}

bool tridiagonal_vectors(Index n, const double* diagonal, const double* beside, Index first, Index count,
                         double* vectors) {
  // dstemr (relatively robust representations) writes on its input, and wants n elements beside the diagonal.
  std::vector<double> d(diagonal, diagonal + n);
  std::vector<double> e(to_size(n));
  std::copy(beside, beside + n - 1, e.begin());
  std::vector<double> values(to_size(n));
  std::vector<double> work(to_size(18 * n));
  std::vector<int> integers(to_size(10 * n));
  std::vector<int> support(to_size(2 * count));
  const int size = to_int(n);
  const int lowest = to_int(n - first - count + 1);
  const int highest = to_int(n - first);
  const int columns = to_int(count);
  const int work_size = to_int(18 * n);
  const int integers_size = to_int(10 * n);
  const double unused = 0.0;
  int found = 0;
  int try_relative_accuracy = 0;
  int info = 0;
  scipy_dstemr_("V", "I", &size, d.data(), e.data(), &unused, &unused, &lowest, &highest, &found, values.data(),
                vectors, &size, &columns, support.data(), &try_relative_accuracy, work.data(), &work_size,
                integers.data(), &integers_size, &info, 1, 1);
  return info == 0 && found == columns;
}

bool vectors_by_rotation(Index n, const double* diagonal, const double* beside, Index first, Index count,
                         double* vectors) {
  std::vector<double> d(diagonal, diagonal + n);
  std::vector<double> e(beside, beside + n - 1);
  std::vector<double> all(to_size(n * n));
  std::vector<double> work(to_size(std::max<Index>(1, 2 * n - 2)));
  const int size = to_int(n);
  int info = 0;
  scipy_dsteqr_("I", &size, d.data(), e.data(), all.data(), &size, work.data(), &info, 1);
  std::copy(all.end() - (first + count) * n, all.end() - first * n, vectors);
  return info == 0;
}

bool cholesky(Index n, float* a) {
  const int size = to_int(n);
  int info = 0;
  scipy_spotrf_("U", &size, a, &size, &info, 1);  // The lower triangle of a row-major matrix is LAPACK's upper one.
  return info == 0;
}

void divide(bool by_column, Index rows, Index columns, const float* lower, float* a) {
  const Index n = by_column ? columns : rows;
  scipy_cblas_strsm(CblasRowMajor, by_column ? CblasRight : CblasLeft, CblasLower,
                    by_column ? CblasTrans : CblasNoTrans, CblasNonUnit, to_int(rows), to_int(columns), 1.0F, lower,
                    to_int(n), a, to_int(columns));
}

void orthonormalize_rows(Index count, Index n, double* a) {
  const int rows = to_int(n);
  const int columns = to_int(count);
  int info = 0;
  std::vector<double> scale(to_size(count));
  with_workspace<double>([&](double* work, const int* length) {
    scipy_dgeqrf_(&rows, &columns, a, &rows, scale.data(), work, length, &info);
  });
  std::vector<bool> flipped(to_size(count));
  for (Index i = 0; i < count; ++i) flipped[to_size(i)] = std::signbit(a[i * n + i]);
  with_workspace<double>([&](double* work, const int* length) {
    scipy_dorgqr_(&rows, &columns, &columns, a, &rows, scale.data(), work, length, &info);
  });
  for (Index i = 0; i < count; ++i) {
    if (flipped[to_size(i)]) std::transform(a + i * n, a + (i + 1) * n, a + i * n, [](double x) { return -x; });
  }
}

}  // namespace surgeon::blas
