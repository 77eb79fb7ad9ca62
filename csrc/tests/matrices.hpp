// Matrices for the tests, and a slow decomposition to judge by.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "svd/svd.hpp"

namespace surgeon::tests {

inline std::size_t at(Index i) { return static_cast<std::size_t>(i); }

struct Matrix {
  Index rows;
  Index columns;
  std::vector<float> data;
  std::string kind;

  MatrixView view() const { return {data.data(), rows, columns}; }
  double operator()(Index i, Index j) const { return static_cast<double>(data[at(i * columns + j)]); }
};

// Singular values by one-sided Jacobi rotations of the smaller side, in float64.
inline std::vector<double> jacobi(const Matrix& a) {
  const bool wide = a.columns > a.rows;
  const Index p = std::min(a.rows, a.columns), q = std::max(a.rows, a.columns);
  std::vector<std::vector<double>> columns(at(p), std::vector<double>(at(q)));
  for (Index i = 0; i < p; ++i) {
    for (Index j = 0; j < q; ++j) columns[at(i)][at(j)] = wide ? a(i, j) : a(j, i);
  }
  const auto dot = [q](const std::vector<double>& x, const std::vector<double>& y) {
    double sum = 0.0;
    for (Index i = 0; i < q; ++i) sum += x[at(i)] * y[at(i)];
    return sum;
  };
  for (int sweep = 0; sweep < 30; ++sweep) {
    for (Index i = 0; i < p; ++i) {
      for (Index j = i + 1; j < p; ++j) {
        auto& x = columns[at(i)];
        auto& y = columns[at(j)];
        const double xx = dot(x, x), yy = dot(y, y), xy = dot(x, y);
        if (std::fabs(xy) <= 1e-15 * std::sqrt(xx * yy)) continue;
        const double zeta = (yy - xx) / (2.0 * xy);
        const double t = (zeta >= 0 ? 1.0 : -1.0) / (std::fabs(zeta) + std::sqrt(1.0 + zeta * zeta));
        const double c = 1.0 / std::sqrt(1.0 + t * t), s = c * t;
        for (Index k = 0; k < q; ++k) {
          const double old = x[at(k)];
          x[at(k)] = c * old - s * y[at(k)];
          y[at(k)] = s * old + c * y[at(k)];
        }
      }
    }
  }
  std::vector<double> values;
  for (const auto& column : columns) values.push_back(std::sqrt(dot(column, column)));
  std::sort(values.rbegin(), values.rend());
  return values;
}

// One matrix of every kind.
inline std::vector<Matrix> zoo(Index rows, Index columns) {
  std::mt19937 generator(static_cast<unsigned>(rows * 1000 + columns));
  std::normal_distribution<float> normal;
  const auto filled = [&](const char* kind, const auto& element) {
    Matrix matrix{rows, columns, std::vector<float>(at(rows * columns)), kind};
    for (Index i = 0; i < rows; ++i) {
      for (Index j = 0; j < columns; ++j) matrix.data[at(i * columns + j)] = element(i, j);
    }
    return matrix;
  };
  std::vector<Matrix> all;
  all.push_back(filled("random", [&](Index, Index) { return normal(generator); }));
  all.push_back(filled("zeros", [](Index, Index) { return 0.0F; }));
  all.push_back(filled("ones", [](Index, Index) { return 1.0F; }));
  all.push_back(filled("identity", [](Index i, Index j) { return i == j ? 1.0F : 0.0F; }));
  all.push_back(filled("zero rows", [&](Index i, Index) { return i % 3 == 0 ? 0.0F : normal(generator); }));
  all.push_back(filled("nearly ones", [&](Index, Index) { return 1.0F + 1e-3F * normal(generator); }));
  all.push_back(filled("graded", [&](Index i, Index) {
    return normal(generator) * std::pow(10.0F, -0.4F * static_cast<float>(i % 20));
  }));
  all.push_back(filled("huge", [&](Index, Index) { return 1e34F * normal(generator); }));
  all.push_back(filled("denormal", [&](Index, Index) { return 1e-43F * normal(generator); }));
  return all;
}

}  // namespace surgeon::tests
