// The loops that are compiled once for each instruction set. They see raw pointers; what calls them is compiled once.
#pragma once

#include <cstddef>
#include <cstdint>

namespace surgeon::simd {

using Index = std::ptrdiff_t;

// Arrays that these loops walk in whole vectors are this many elements longer than a multiple of the same number needs.
constexpr Index kPadding = 16;

constexpr Index padded(Index n) { return (n + kPadding - 1) / kPadding * kPadding; }

// Shifts that are counted and vectors that are made at a time; the arrays of those are a multiple of it.
constexpr Index kShifts = 32;
constexpr Index kVectors = 8;

// What turn_back_* keeps of every element beside those of the vectors.
constexpr Index kTurned = 40;

// Vectors that are multiplied at a time.
constexpr Index kProducts = 2;

// Vectors, and elements of each, that are rounded to integers at a time; and vectors that are multiplied by so many.
constexpr Index kRounded = 32;
constexpr Index kRoundedRows = 8;

struct Kernels {
  const char* name;

  // Householder reduction of a symmetric matrix to tridiagonal form, each element read once a step. On entry: the lower
  // triangle of a (padded(n) rows of `stride`, a multiple of kPadding), its diagonal blocks of kPadding full, zeros
  // beyond n, the norm about 1. On exit: diagonal (n), beside (n - 1), tau (n - 1), and in row r of a the first r - 1
  // elements of the reflector that was applied r-th from the end, and a one.
  // work: 4 * padded(n).
  void (*reduce_f)(Index n, float* a, Index stride, float* diagonal, float* beside, float* tau, float* work);
  void (*reduce_d)(Index n, double* a, Index stride, double* diagonal, double* beside, double* tau, double* work);

  // Turns rows of vectors (count x n) of the tridiagonal matrix into vectors of the matrix that was reduced to it, by
  // the reflectors and tau that are left of it. work: n * (count + kTurned).
  void (*turn_back_f)(Index n, const float* a, Index stride, const float* tau, Index count, float* vectors,
                      float* work);
  void (*turn_back_d)(Index n, const double* a, Index stride, const double* tau, Index count, double* vectors,
                      double* work);

  // counts[i] = how many eigenvalues of the tridiagonal matrix are below shifts[i]. `squares` are those of the elements
  // beside the diagonal, none below 1e-40; the norm is about 1. count is a multiple of kShifts.
  void (*count_below)(Index n, const double* diagonal, const double* squares, Index count, const double* shifts,
                      std::int64_t* counts);

  // Halves intervals of the roots of eigenvalues, all of the same width, until they are no wider than `tolerance`. low:
  // their lower ends. The root lies above the middle where at most allowed[i] eigenvalues are below its square.
  void (*bisect)(Index n, const double* diagonal, const double* squares, Index count, const std::int64_t* allowed,
                 double width, double tolerance, double* low);

  // Eigenvectors of the tridiagonal matrix for kVectors eigenvalues, which are refined: vectors (n x kVectors), of norm
  // 1 where the numbers allow it. work: 2 * n * kVectors.
  void (*twisted)(Index n, const double* diagonal, const double* beside, double* values, double* vectors, double* work);

  // On the leading n rows and columns: h -= column row', m -= column cross' + cross column'.
  void (*eliminate)(Index n, Index stride, const double* column, const double* cross, const double* row, double* h,
                    double* m);

  // y += factor * a' (a x) with a (rows x n), each element read once; x and y hold kProducts vectors, one a row of
  // `length` elements, and may be the same. dots (rows x kProducts) = a x.
  void (*gram_times)(Index rows, Index n, const float* a, Index stride, float factor, const float* x, float* y,
                     Index length, float* dots);

  // The largest magnitude; infinite if an element is, and NaN or infinite if one is NaN.
  float (*largest)(const float* a, Index size);

  // The sum of the squares, in float64.
  double (*sum_of_squares)(const float* a, Index size);

  // Rounds a block (kRounded vectors of kRounded elements) to 16-bit integers times scale[vector], small enough for dot
  // products in 32 bits. Up or down is decided at random, so that all errors have the mean zero and nothing to do with
  // each other: `random` has a state other than zero for each vector. A vector is a row of x where `by_row`, else a
  // column. In packed[j * kRounded + vector] are elements j and j + kRounded / 2. Null: this processor multiplies
  // floats as fast.
  void (*round_block)(bool by_row, const float* x, Index stride, std::int32_t* packed, float* scale,
                      std::uint32_t* random) = nullptr;

  // c (kRoundedRows x kRounded, rows of `stride`) += the dot products of kRoundedRows vectors of the blocks a with all
  // of the blocks b.
  void (*multiply_rounded)(Index blocks, const std::int32_t* a, const float* a_scale, const std::int32_t* b,
                           const float* b_scale, float* c, Index stride) = nullptr;
};

// Those of one instruction set, or null if it was not compiled for this processor family.
const Kernels* baseline();
const Kernels* avx2();
const Kernels* avx512();
const Kernels* vnni();

// The best that the processor has, unless `choose` was called.
const Kernels& active();

// Takes "vnni", "avx512", "avx2", "baseline", or "best". False: unknown, or this processor has not got it.
bool choose(const char* name);

}  // namespace surgeon::simd
