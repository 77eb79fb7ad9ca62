// Symmetric matrices by way of tridiagonal ones: the largest eigenvalues, and their vectors.
#pragma once

#include <vector>

#include "blas.hpp"
#include "buffer.hpp"

namespace surgeon {

// A positive semidefinite tridiagonal matrix times `scale`, which brings its norm to about 1.
struct Tridiagonal {
  Index size = 0;
  double scale = 1.0;
  std::vector<double> diagonal;  // size
  std::vector<double> beside;    // size - 1
  std::vector<double> squares;   // of those, none of them zero

  // The matrix whose elements these are; none of them may be NaN or infinite.
  Tridiagonal(Index size, double scale, const std::vector<double>& diagonal, const std::vector<double>& beside);

  // The roots of `count` eigenvalues in descending order, from the one with `first` larger ones on, each to `tolerance`
  // of the root of the norm's bound, not scaled. What rounding made negative is zero.
  std::vector<double> roots(Index first, Index count, double tolerance) const;

  // How many eigenvalues are below a number, in units of the scaled matrix.
  Index below(double shift) const;

  // The unit eigenvectors of those eigenvalues, one a row of (count x size). The dot product of any two is below 1e-9.
  // False: no algorithm found them.
  bool vectors(Index first, Index count, double* rows) const;
};

// A symmetric matrix that was reduced to tridiagonal form, and the reflectors that did it.
template <typename T>
class Reduced {
 public:
  // Of the lower triangle of g (n x n), read times 1 over its largest diagonal element, which must be above zero.
  template <typename From>
  Reduced(Index n, const From* g);

  const Tridiagonal& tridiagonal() const { return tridiagonal_; }

  // Turns rows of (count x n) of the tridiagonal matrix into vectors of the matrix.
  void turn_back(Index count, T* rows) const;

 private:
  template <typename From>
  Tridiagonal reduce(const From* g);

  Index size_;
  Index stride_;
  Buffer<T> a_;
  Buffer<T> tau_;
  Tridiagonal tridiagonal_;
};

}  // namespace surgeon
