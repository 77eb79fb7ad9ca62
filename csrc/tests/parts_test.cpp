// The parts beneath the decompositions, and the edits of one axis.
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "blocks.hpp"
#include "check.hpp"
#include "elimination.hpp"
#include "matrices.hpp"
#include "optimizer.hpp"
#include "simd/kernels.hpp"
#include "svd/gram_int16.hpp"
#include "svd/tridiagonal.hpp"

namespace {

using surgeon::Index;
using surgeon::tests::at;

// The second difference: its eigenvalues are known, and the smallest gaps shrink with its size.
void test_tridiagonal(Index n) {
  const surgeon::Tridiagonal t(n, 1.0, std::vector<double>(at(n), 2.0), std::vector<double>(at(n - 1), -1.0));
  const auto exact = [n](Index i) {
    return 2.0 * std::sin(3.14159265358979324 * static_cast<double>(n - i) / (2.0 * static_cast<double>(n + 1)));
  };
  const std::vector<double> roots = t.roots(0, n, 1e-10);
  for (Index i = 0; i < n; ++i) CHECK(std::fabs(roots[at(i)] - exact(i)) < 1e-9);
  for (const auto& [first, count] : {std::pair<Index, Index>{0, n}, {n / 2, n - n / 2}, {n - 1, 1}}) {
    std::vector<double> rows(at(count * n));
    CHECK(t.vectors(first, count, rows.data()));
    for (Index i = 0; i < count; ++i) {
      const double* z = rows.data() + i * n;
      const double value = exact(first + i) * exact(first + i);
      double worst = 0.0;
      for (Index j = 0; j < n; ++j) {
        const double left = j > 0 ? z[j - 1] : 0.0, right = j + 1 < n ? z[j + 1] : 0.0;
        worst = std::max(worst, std::fabs(2.0 * z[j] - left - right - value * z[j]));
      }
      CHECK(worst < 1e-9);
    }
  }
}

void test_repeated_eigenvalues() {
  const Index n = 40;
  const surgeon::Tridiagonal t(n, 1.0, std::vector<double>(at(n), 1.0), std::vector<double>(at(n - 1), 0.0));
  std::vector<double> rows(at(n * n));
  CHECK(t.vectors(0, n, rows.data()));
  for (const double root : t.roots(0, n, 1e-9)) CHECK(std::fabs(root - 1.0) < 1e-8);
  CHECK(t.below(0.5) == 0);
  CHECK(t.below(1.5) == n);
}

void test_sums_and_magnitudes() {
  for (const std::size_t size : {0U, 1U, 15U, 64U, 1000U}) {
    std::vector<float> a(size + 1, 0.5F);
    CHECK(surgeon::simd::active().sum_of_squares(a.data() + 1, static_cast<Index>(size)) ==
          0.25 * static_cast<double>(size));
    for (std::size_t place = 1; place <= size; ++place) {
      a[place] = -3.0F;
      CHECK(surgeon::simd::active().largest(a.data() + 1, static_cast<Index>(size)) == 3.0F);
      a[place] = std::numeric_limits<float>::quiet_NaN();
      CHECK(!std::isfinite(surgeon::simd::active().largest(a.data() + 1, static_cast<Index>(size))));
      a[place] = 0.5F;
    }
  }
}

void test_gram_times(Index rows, Index n) {
  const Index stride = n + 3, length = n + 5;
  std::vector<float> a(at(rows * stride)), x(at(2 * length)), dots(at(2 * rows));
  for (std::size_t i = 0; i < a.size(); ++i) a[i] = static_cast<float>(i % 7) - 3.0F;
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 5) - 2.0F;
  std::vector<float> y(x);
  surgeon::simd::active().gram_times(rows, n, a.data(), stride, -2.0F, x.data(), y.data(), length, dots.data());
  bool same = true;  // All are whole numbers below 2^24, so there is no rounding.
  for (Index v = 0; v < 2; ++v) {
    std::vector<float> expected(x.begin() + v * length, x.begin() + (v + 1) * length);
    for (Index r = 0; r < rows; ++r) {
      float dot = 0.0F;
      for (Index i = 0; i < n; ++i) dot += a[at(r * stride + i)] * x[at(v * length + i)];
      same &= dots[at(2 * r + v)] == dot;
      for (Index i = 0; i < n; ++i) expected[at(i)] -= 2.0F * dot * a[at(r * stride + i)];
    }
    same &= std::equal(expected.begin(), expected.end(), y.begin() + v * length);
  }
  CHECK(same);
}

// Reflectors one after the other, beside all of them in blocks. What lies beyond the end of one is not to be read.
template <typename T, typename TurnBack>
void test_turn_back(Index n, Index count, double tolerance, const TurnBack& turn_back) {
  const Index stride = surgeon::simd::padded(n);
  std::vector<T> a(at(stride * stride), std::numeric_limits<T>::quiet_NaN()), tau(at(n)), vectors(at(count * n));
  const auto some = [](Index i) { return static_cast<T>((i * 37) % 101) / 101 - static_cast<T>(0.5); };
  for (Index i = 0; i < count * n; ++i) vectors[at(i)] = some(i + 5);
  std::vector<double> expected(vectors.begin(), vectors.end());
  for (Index r = 1; r < n; ++r) {
    double squares = 0.0;
    for (Index i = 0; i < r; ++i) {
      const T v = i == r - 1 ? 1 : some(i + r * r);
      a[at(r * stride + i)] = v;
      squares += static_cast<double>(v) * static_cast<double>(v);
    }
    tau[at(r - 1)] = static_cast<T>(r % 5 == 0 ? 0.0 : 2.0 / squares);
    for (Index v = 0; v < count; ++v) {
      double dot = 0.0;
      for (Index i = 0; i < r; ++i) dot += static_cast<double>(a[at(r * stride + i)]) * expected[at(v * n + i)];
      dot *= static_cast<double>(tau[at(r - 1)]);
      for (Index i = 0; i < r; ++i) expected[at(v * n + i)] -= dot * static_cast<double>(a[at(r * stride + i)]);
    }
  }
  std::vector<T> work(at(n * (count + surgeon::simd::kTurned)));
  turn_back(n, a.data(), stride, tau.data(), count, vectors.data(), work.data());
  double worst = 0.0;
  for (Index i = 0; i < count * n; ++i) {
    const double error = std::fabs(static_cast<double>(vectors[at(i)]) - expected[at(i)]);
    worst = error <= worst ? worst : error;  // NaN, too
  }
  CHECK(worst <= tolerance);
}

// No element is wrong by more than all its roundings together, and they are up as often as down.
void test_rounded_gram(Index rows, Index columns) {
  if (surgeon::simd::active().round_block == nullptr) return;
  const bool outer = rows < columns;
  const Index n = std::min(rows, columns), k = std::max(rows, columns);
  for (const surgeon::tests::Matrix& a : surgeon::tests::zoo(rows, columns)) {
    if (a.kind == "huge" || a.kind == "denormal") continue;
    std::vector<float> exact(at(n * n)), rounded(at(n * n));
    surgeon::blas::gram(outer, n, k, a.data.data(), exact.data());
    surgeon::rounded_gram(outer, n, k, a.data.data(), rounded.data());
    double sum = 0.0, most = 0.0;
    bool near = true;
    for (Index i = 0; i < n; ++i) {
      for (Index j = 0; j <= i; ++j) {
        const double norms =
            std::sqrt(static_cast<double>(exact[at(i * n + i)]) * static_cast<double>(exact[at(j * n + j)]));
        const double error = static_cast<double>(rounded[at(i * n + j)] - exact[at(i * n + j)]);
        near &= std::fabs(error) <= 2.5e-4 * norms + 1e-30;
        sum += error;
        most += norms;
      }
    }
    if (!CHECK(near) || !CHECK(std::fabs(sum) <= 1e-5 * most)) {
      std::fprintf(stderr, "  with %s, %td x %td\n", a.kind.c_str(), rows, columns);
    }
  }
}

void test_gather(Index inner, int threads) {
  const Index outer = 30, n = 40;
  std::vector<float> source(at(outer * n * inner));
  for (std::size_t i = 0; i < source.size(); ++i) source[i] = static_cast<float>(i % 1013);
  std::vector<std::int64_t> index;
  for (std::int64_t i = 0; i < n; ++i) index.push_back(i);
  for (const std::int64_t i : {39, -1, 3, 3, 4, 5, -1, -1, 0}) index.push_back(i);
  const Index m = static_cast<Index>(index.size());
  std::vector<float> scale(at(m), 1.0F), out(at(outer * m * inner), -1.0F);
  for (Index j = 10; j < m; j += 3) scale[at(j)] = 0.5F;
  surgeon::gather_blocks(source.data(), outer, n, inner, index.data(), scale.data(), m, out.data(), threads);
  bool same = true;
  for (Index o = 0; o < outer; ++o) {
    for (Index j = 0; j < m; ++j) {
      for (Index i = 0; i < inner; ++i) {
        const Index from = static_cast<Index>(index[at(j)]);
        const float expected = from < 0 ? 0.0F : scale[at(j)] * source[at((o * n + from) * inner + i)];
        same &= out[at((o * m + j) * inner + i)] == expected;
      }
    }
  }
  CHECK(same);
}

void test_map(Index inner, int threads) {
  const Index outer = 3, n = 5, m = 7;
  std::vector<float> source(at(outer * n * inner)), matrix(at(m * n)), out(at(outer * m * inner));
  for (std::size_t i = 0; i < source.size(); ++i) source[i] = static_cast<float>(i % 17);
  for (std::size_t i = 0; i < matrix.size(); ++i) matrix[i] = static_cast<float>(i % 5) - 2.0F;
  surgeon::map_blocks(source.data(), outer, n, inner, matrix.data(), m, out.data(), threads);
  bool same = true;
  for (Index o = 0; o < outer; ++o) {
    for (Index j = 0; j < m; ++j) {
      for (Index i = 0; i < inner; ++i) {
        float sum = 0.0F;
        for (Index k = 0; k < n; ++k) sum += matrix[at(j * n + k)] * source[at((o * n + k) * inner + i)];
        same &= out[at((o * m + j) * inner + i)] == sum;
      }
    }
  }
  CHECK(same);
}

// Of two units that are correlated one costs little, and what is left of the other costs all that it is worth.
void test_elimination() {
  const double correlation = 0.5;
  const double determinant = 1.0 - correlation * correlation;
  const std::vector<double> inverse{1 / determinant, -correlation / determinant, -correlation / determinant,
                                    1 / determinant};
  const std::vector<double> energy{1.0, 0.0, 0.0, 4.0}, floor{1.0, 1.0};
  std::vector<std::int64_t> order(2);
  std::vector<double> cost(2);
  surgeon::eliminate(2, {{inverse.data(), energy.data(), floor.data()}}, {}, 1e9, order.data(), cost.data());
  CHECK(order[0] == 0 && order[1] == 1);
  CHECK(std::fabs(cost[0] - determinant) < 1e-12);
  CHECK(std::fabs(cost[1] - 5.0) < 1e-12);  // the trace of Gram matrix times energy
  surgeon::eliminate(2, {{inverse.data(), energy.data(), floor.data()}}, {}, 0.0, order.data(), cost.data());
  CHECK(order[0] == 0 && order[1] == 1 && std::isinf(cost[1]));
}

void test_optimizer() {
  const surgeon::Cohorts one{{{0.5, 1}}, nullptr};
  std::vector<float> parameter(37, 1.0F), gradient(37, 2.0F), buffer(37, 0.0F);
  surgeon::sgd_step({0.0, 0.0, 1.0, false}, one, 37, parameter.data(), gradient.data(), nullptr);
  for (const float value : parameter) CHECK(value == 0.0F);
  surgeon::sgd_step({0.5, 0.0, 1.0, true}, one, 37, parameter.data(), gradient.data(), buffer.data());
  for (const float value : parameter) CHECK(value == -1.5F);
}

// An element of a cohort takes the step that it would take alone, to the bit, whatever elements lie beside it.
void test_cohorts(std::size_t run) {
  const std::size_t size = 2001;
  const std::vector<surgeon::Cohort> each = {{0.01, 900}, {0.002, 3}, {0.5, 1}};
  std::vector<std::uint16_t> of(size);
  std::vector<float> start(size), gradient(size);
  for (std::size_t i = 0; i < size; ++i) {
    of[i] = static_cast<std::uint16_t>(i / run % 3);
    start[i] = std::sin(static_cast<float>(i));
    gradient[i] = std::cos(static_cast<float>(3 * i));
  }
  const auto stepped = [&](bool adamw, double momentum, const surgeon::Cohorts& cohorts) {
    std::vector<float> parameter = start, m(size, 0.1F), v(size, 0.2F);
    const Index n = static_cast<Index>(size);
    if (adamw) {
      surgeon::adamw_step({0.9, 0.999, 1e-8, 0.05, 0.5}, cohorts, n, parameter.data(), gradient.data(), m.data(),
                          v.data());
    } else {
      surgeon::sgd_step({momentum, 0.05, 0.5, momentum > 0.5}, cohorts, n, parameter.data(), gradient.data(), m.data());
    }
    return std::vector<std::vector<float>>{parameter, m, v};
  };
  for (const auto& [adamw, momentum] : {std::pair<bool, double>{true, 0.0}, {false, 0.0}, {false, 0.5}, {false, 0.9}}) {
    const auto mixed = stepped(adamw, momentum, {each, of.data()});
    for (std::size_t k = 0; k < each.size(); ++k) {
      const auto alone = stepped(adamw, momentum, {{each[k]}, nullptr});
      bool same = true;
      for (std::size_t a = 0; a < alone.size(); ++a) {
        for (std::size_t i = 0; i < size; ++i) same &= of[i] != k || alone[a][i] == mixed[a][i];
      }
      CHECK(same);
    }
  }
}

}  // namespace

int main() {
  surgeon::blas::use_one_thread();
  for (const char* instructions : {"vnni", "avx512", "avx2", "baseline"}) {
    if (!surgeon::simd::choose(instructions)) continue;
    for (const Index n : {2, 3, 16, 17, 100}) test_tridiagonal(n);
    test_repeated_eigenvalues();
    test_sums_and_magnitudes();
    for (const Index rows : {1, 4, 7}) {
      for (const Index n : {1, 16, 37}) test_gram_times(rows, n);
    }
    for (const Index n : {1, 2, 8, 9, 12, 70}) {
      for (const Index count : {1, 2, 16, 17, 33, 50}) {
        test_turn_back<float>(n, count, 1e-5, surgeon::simd::active().turn_back_f);
        test_turn_back<double>(n, count, 1e-13, surgeon::simd::active().turn_back_d);
      }
    }
    for (const auto& [rows, columns] : {std::pair<Index, Index>{32, 256}, {33, 290}, {300, 65}, {600, 128}}) {
      test_rounded_gram(rows, columns);
    }
  }
  for (const int threads : {1, 3}) {
    for (const Index inner : {1, 9, 100}) {
      test_gather(inner, threads);
      test_map(inner, threads);
    }
  }
  test_elimination();
  test_optimizer();
  for (const std::size_t run : {1U, 7U, 40U, 600U, 1500U}) test_cohorts(run);
  return surgeon::tests::failures == 0 ? 0 : 1;
}
