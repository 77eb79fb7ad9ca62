// The few BLAS and LAPACK routines that the kernels use, on row-major arrays, each on one thread.
#pragma once

#include <cstddef>

namespace surgeon {

using Index = std::ptrdiff_t;

namespace blas {

enum class Transpose { no, yes };

// Holds the library to one thread: the kernels spread matrices over threads themselves, and the two do not mix.
void use_one_thread();

// The processor that the library chose its kernels for, for example "SkylakeX".
const char* core_name();

// The library's version and build options.
const char* configuration();

// c (m x n) = op(a) (m x k) op(b) (k x n).
void multiply(Transpose transpose_a, Transpose transpose_b, Index m, Index n, Index k, const float* a, Index a_stride,
              const float* b, Index b_stride, float* c, Index c_stride);
void multiply(Transpose transpose_a, Transpose transpose_b, Index m, Index n, Index k, const double* a, Index a_stride,
              const double* b, Index b_stride, double* c, Index c_stride);

// Lower triangle of c (n x n) = a' a with a (k x n), or a a' with a (n x k) where `outer`.
void gram(bool outer, Index n, Index k, const float* a, float* c);
void gram(bool outer, Index n, Index k, const double* a, double* c);

// The same, added to c.
void add_gram(bool outer, Index n, Index k, const double* a, double* c);

// The eigenvectors of `count` eigenvalues of a tridiagonal matrix, `first` larger ones left out: one a row of vectors
// (count x n), in ascending order of their eigenvalues. False: no convergence. By relatively robust representations, or
// slower, but for any matrix, by the implicit QR algorithm.
bool tridiagonal_vectors(Index n, const double* diagonal, const double* beside, Index first, Index count,
                         double* vectors);
bool vectors_by_rotation(Index n, const double* diagonal, const double* beside, Index first, Index count,
                         double* vectors);

// The lower triangle of a (n x n) becomes that of the matrix l with l l' = a. False: a is not positive definite.
bool cholesky(Index n, float* a);

// a := l^-1 a for a lower triangle l of (rows x rows); by column: a := a l'^-1, l of (columns x columns).
void divide(bool by_column, Index rows, Index columns, const float* lower, float* a);

// Replaces the rows of a (count x n, count <= n) by orthonormal ones: row i spans, with those before it, what it
// spanned, points into the same half-space, and is some unit vector where it depends on those before it.
void orthonormalize_rows(Index count, Index n, double* a);

}  // namespace blas
}  // namespace surgeon
