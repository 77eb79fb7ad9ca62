// Singular values and factors of the nasty kinds of matrices, by every instruction set that this processor has.
#include <cstring>
#include <limits>
#include <tuple>

#include "check.hpp"
#include "matrices.hpp"
#include "simd/kernels.hpp"
#include "svd/methods.hpp"
#include "svd/svd.hpp"

namespace {

using surgeon::FactorsView;
using surgeon::Index;
using surgeon::MatrixView;
using surgeon::tests::at;
using surgeon::tests::Matrix;

const surgeon::Interrupted kNever = [] { return false; };

struct Factors {
  Factors(const Matrix& a, Index k)
      : rank(k), u(at(a.rows * k)), s(at(k)), vt(at(k * a.columns)), view{k, u.data(), s.data(), vt.data()} {}
  Factors(const Factors&) = delete;
  Index rank;
  std::vector<float> u, s, vt;
  FactorsView view;
};

// The largest difference from the unit matrix of the dot products of `count` vectors.
double skew(const std::vector<float>& a, Index count, Index length, Index step, Index next) {
  double worst = 0.0;
  for (Index i = 0; i < count; ++i) {
    for (Index j = 0; j <= i; ++j) {
      double sum = i == j ? -1.0 : 0.0;
      for (Index k = 0; k < length; ++k) {
        sum += static_cast<double>(a[at(i * next + k * step)]) * static_cast<double>(a[at(j * next + k * step)]);
      }
      worst = std::max(worst, std::fabs(sum));
    }
  }
  return worst;
}

double residual(const Matrix& a, const Factors& f) {
  double sum = 0.0;
  for (Index i = 0; i < a.rows; ++i) {
    for (Index j = 0; j < a.columns; ++j) {
      double rest = a(i, j);
      for (Index k = 0; k < f.rank; ++k) {
        rest -= static_cast<double>(f.u[at(i * f.rank + k)]) * static_cast<double>(f.s[at(k)]) *
                static_cast<double>(f.vt[at(k * a.columns + j)]);
      }
      sum += rest * rest;
    }
  }
  return std::sqrt(sum);
}

void test_promises(const Matrix& a) {
  const std::vector<double> exact = surgeon::tests::jacobi(a);
  const Index p = std::min(a.rows, a.columns);
  const double largest = exact.front();
  const double smallest = 1.5e-45;  // the step of denormal numbers
  std::vector<float> values(at(p));
  CHECK(surgeon::singular_values({a.view()}, {values.data()}, true, 1, kNever));
  bool right = true;
  for (Index i = 0; i < p; ++i) {
    right &= std::fabs(static_cast<double>(values[at(i)]) - exact[at(i)]) <= 1e-4 * largest + smallest;
  }
  bool good = CHECK(right);
  for (const Index k : {Index{1}, (p + 3) / 4, p}) {
    Factors f(a, k);
    CHECK(surgeon::truncated_svd({a.view()}, {f.view}, 1, kNever));
    good &= CHECK(skew(f.u, k, a.rows, k, 1) <= 1e-5);
    good &= CHECK(skew(f.vt, k, a.columns, 1, a.columns) <= 1e-5);
    double rest = 0.0;
    for (Index i = k; i < p; ++i) rest += exact[at(i)] * exact[at(i)];
    good &= CHECK(residual(a, f) <=
                  1.01 * std::sqrt(rest) + (1e-6 * largest + smallest) * std::sqrt(static_cast<double>(k)));
  }
  if (!good) std::fprintf(stderr, "  with %s, %td x %td\n", a.kind.c_str(), a.rows, a.columns);
}

// A matrix with these leading singular values above a bulk from 0 to 1, in random directions.
Matrix planted(Index rows, Index columns, const std::vector<float>& leading) {
  Matrix a{rows, columns, std::vector<float>(at(rows * columns)), "planted"};
  const Index p = std::min(rows, columns);
  for (Index i = 0; i < p; ++i) {
    const bool leads = at(i) < leading.size();
    a.data[at(i * columns + i)] = leads ? leading[at(i)] : static_cast<float>(p - i) / static_cast<float>(p);
  }
  std::mt19937 generator(1);
  std::normal_distribution<double> normal;
  const auto reflect = [&](Index count, Index step, Index others, Index next) {  // I - 2 v v' on one side
    std::vector<double> v(at(count));
    double square = 0.0;
    for (double& x : v) {
      x = normal(generator);
      square += x * x;
    }
    for (Index j = 0; j < others; ++j) {
      double dot = 0.0;
      for (Index i = 0; i < count; ++i) dot += v[at(i)] * static_cast<double>(a.data[at(i * step + j * next)]);
      for (Index i = 0; i < count; ++i) {
        a.data[at(i * step + j * next)] -= static_cast<float>(2.0 * dot / square * v[at(i)]);
      }
    }
  };
  for (int round = 0; round < 2; ++round) {
    reflect(rows, columns, columns, 1);
    reflect(columns, 1, rows, columns);
  }
  return a;
}

// Few triplets of a matrix that is not small are found from products with it, but not where a value is repeated.
void test_few_leading() {
  for (const auto& [rows, columns] : {std::pair<Index, Index>{260, 260}, {259, 301}, {301, 259}}) {
    for (const auto& [leading, k, apart] :
         std::vector<std::tuple<std::vector<float>, Index, bool>>{{{3, 2}, 2, true},
                                                                  {{3, 2, 2, 2}, 1, true},
                                                                  {{300, 2}, 1, true},
                                                                  {{3, 3, 2}, 2, false},
                                                                  {{3, 3, 3}, 2, false},
                                                                  {{3, 2.99999F, 1.5F}, 2, false},
                                                                  {std::vector<float>(259, 1.0F), 2, false}}) {
      const Matrix a = planted(rows, columns, leading);
      Factors f(a, k);
      if (!CHECK(surgeon::lanczos_factors(a.view(), f.view) == apart)) {
        std::fprintf(stderr, "  %td x %td, %td of %g, %g ...\n", rows, columns, k, static_cast<double>(leading[0]),
                     static_cast<double>(leading[1]));
      }
      CHECK(surgeon::truncated_svd({a.view()}, {f.view}, 1, kNever));
      for (Index i = 0; i < k; ++i) CHECK(std::fabs(f.s[at(i)] - leading[at(i)]) < 3e-6F * leading[0]);
      CHECK(skew(f.u, k, rows, k, 1) <= 1e-5);
      CHECK(skew(f.vt, k, columns, 1, columns) <= 1e-5);
    }
  }
}

// Products with it are exact, so that nothing but the vectors themselves is left of them.
void test_few_of_a_diagonal_matrix() {
  Matrix a{300, 260, std::vector<float>(at(300 * 260)), "diagonal"};
  for (Index i = 0; i < 260; ++i) a.data[at(i * 260 + i)] = i < 255 ? 1.0F : 1e-6F;
  for (const Index k : {Index{1}, Index{2}}) {
    Factors f(a, k);
    CHECK(surgeon::truncated_svd({a.view()}, {f.view}, 1, kNever));
    for (Index i = 0; i < k; ++i) CHECK(std::fabs(f.s[at(i)] - 1.0F) < 1e-5F);
    CHECK(skew(f.u, k, a.rows, k, 1) <= 1e-5);
    CHECK(skew(f.vt, k, a.columns, 1, a.columns) <= 1e-5);
  }
}

void test_threads_change_nothing() {
  std::vector<Matrix> all;
  for (const auto& [rows, columns] : {std::pair<Index, Index>{7, 30}, {40, 40}, {33, 5}, {20, 64}, {130, 200}}) {
    for (Matrix& a : surgeon::tests::zoo(rows, columns)) all.push_back(std::move(a));
  }
  std::vector<std::vector<float>> first;
  for (const int threads : {1, 2, 5}) {
    std::vector<std::vector<float>> results;
    std::vector<MatrixView> views;
    std::vector<float*> outputs;
    for (const Matrix& a : all) {
      views.push_back(a.view());
      results.emplace_back(at(std::min(a.rows, a.columns)));
    }
    for (std::vector<float>& result : results) outputs.push_back(result.data());
    CHECK(surgeon::singular_values(views, outputs, true, threads, kNever));
    if (threads == 1) first = results;
    CHECK(results == first);
  }
}

void test_what_is_not_finite_is_named() {
  Matrix good = surgeon::tests::zoo(3, 4).front();
  for (const float poison : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    for (Index place = 0; place < 12; ++place) {
      Matrix bad = good;
      bad.data[at(place)] = poison;
      std::vector<float> values(3), more(3);
      bool refused = false;
      try {
        surgeon::singular_values({good.view(), bad.view()}, {values.data(), more.data()}, true, 2, kNever);
      } catch (const surgeon::MatrixError& error) {
        refused = std::strstr(error.what(), "Matrix 1 (3 x 4)") != nullptr;
      }
      CHECK(refused);
    }
  }
}

void test_any_alignment() {
  const Matrix a = surgeon::tests::zoo(20, 50).front();
  std::vector<float> shifted(a.data.size() + 1), values(20), expected(20);
  std::copy(a.data.begin(), a.data.end(), shifted.begin() + 1);
  surgeon::singular_values({a.view()}, {expected.data()}, true, 1, kNever);
  surgeon::singular_values({{shifted.data() + 1, 20, 50}}, {values.data()}, true, 1, kNever);
  for (std::size_t i = 0; i < 20; ++i) CHECK(std::fabs(values[i] - expected[i]) <= 1e-6F * expected[0]);
}

void test_empty_and_interrupted() {
  CHECK(surgeon::singular_values({}, {}, true, 2, kNever));
  CHECK(surgeon::singular_values({{nullptr, 0, 5}, {nullptr, 4, 0}}, {nullptr, nullptr}, true, 1, kNever));
  const Matrix a = surgeon::tests::zoo(60, 60).front();
  std::vector<float> values(60);
  const std::vector<MatrixView> many(20000, a.view());
  const std::vector<float*> outputs(20000, values.data());
  CHECK(!surgeon::singular_values(many, outputs, true, 1, [] { return true; }));
}

}  // namespace

int main(int count, char** arguments) {
  surgeon::blas::use_one_thread();
  if (count > 1 && std::strcmp(arguments[1], "threads") == 0) {  // What there is for a sanitizer of threads to see.
    test_threads_change_nothing();
    test_what_is_not_finite_is_named();
    return surgeon::tests::failures == 0 ? 0 : 1;
  }
  for (const char* instructions : {"vnni", "avx512", "avx2", "baseline"}) {
    if (!surgeon::simd::choose(instructions)) continue;
    std::printf("%s\n", instructions);
    for (const auto& [rows, columns] : {std::pair<Index, Index>{1, 1},
                                        {1, 9},
                                        {9, 1},
                                        {15, 16},
                                        {17, 90},
                                        {90, 17},
                                        {34, 33},
                                        {130, 140},
                                        {130, 200},
                                        {200, 130}}) {
      for (const Matrix& a : surgeon::tests::zoo(rows, columns)) test_promises(a);
    }
    test_few_leading();
    test_few_of_a_diagonal_matrix();
    test_threads_change_nothing();
    test_any_alignment();
  }
  test_what_is_not_finite_is_named();
  test_empty_and_interrupted();
  return surgeon::tests::failures == 0 ? 0 : 1;
}
