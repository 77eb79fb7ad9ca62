#include "optimizer.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>

// These loops are compiled once for each instruction set, and the loader picks the best one that the machine has. Every
// one of them does the same operations in the same order, so the choice changes the time and not one bit of the result.
#if defined(__x86_64__) && defined(__linux__) && !defined(PYSURGEON_BASELINE_ONLY)
#define PYSURGEON_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define PYSURGEON_CLONES
#endif

namespace surgeon {
namespace {

constexpr Index kLanes = 16;  // numbers side by side, for the vector units
constexpr Index kChunk = 64;  // elements that are stepped at once where they are of several cohorts

bool all_of(std::uint16_t cohort, const std::uint16_t* of, Index size) {
  unsigned different = 0;
  for (Index i = 0; i < size; ++i) different |= static_cast<unsigned>(of[i] ^ cohort);
  return different == 0;
}

// The end of a run that goes on for this long at least. Chunks are looked at as a whole, then single elements.
Index run_end(const std::uint16_t* of, Index known, Index size) {
  const std::uint16_t cohort = *of;
  Index end = known;
  while (end + kChunk <= size && all_of(cohort, of + end, kChunk)) end += kChunk;
  while (end < size && of[end] == cohort) ++end;
  return end;
}

// What cohorts are stepped with: kFactors numbers each.
template <std::size_t kFactors>
class Factors {
 public:
  // Of the next cohort.
  void add(const std::array<float, kFactors>& factors) { each_.push_back(factors); }

  // Steps all elements: those of one cohort in a row by same(first, count, factors), and what lies in between, chunk by
  // chunk, by mixed(first, count, rows), where rows[k][i] is the factor k of an element. So no loop that does
  // arithmetic looks anything up, which vector instructions do slowly.
  template <typename Same, typename Mixed>
  void step(const std::uint16_t* of, Index size, const Same& same, const Mixed& mixed) const {
    if (of == nullptr) return same(Index{0}, size, each_.front());
    alignas(64) std::array<std::array<float, kChunk>, kFactors> rows{};
    for (Index i = 0; i < size;) {
      const Index count = std::min(kChunk, size - i);
      if (all_of(of[i], of + i, count)) {
        const Index length = run_end(of + i, count, size - i);
        same(i, length, each_[of[i]]);
        i += length;
      } else {
        for (Index j = 0; j < count; ++j) {
          const std::array<float, kFactors>& factors = each_[of[i + j]];
          for (std::size_t k = 0; k < kFactors; ++k) rows[k][static_cast<std::size_t>(j)] = factors[k];
        }
        mixed(i, count, rows);
        i += count;
      }
    }
  }

 private:
  std::vector<std::array<float, kFactors>> each_;
};

// A factor that is the same for all elements, where a row has one for each.
struct All {
  float value;
  float operator[](Index /*element*/) const { return value; }
};
using Row = const float* __restrict__;

struct AdamW32 {
  float scale;   // of the gradient
  float blend1;  // 1 - beta1
  float beta2;
  float blend2;  // 1 - beta2
};

// Of a cohort: what the weight decay leaves of a parameter; epsilon times c, the root of 1 - beta2^step; the learning
// rate / (1 - beta1^step), times c.
template <typename Factor>
[[gnu::always_inline]] inline void adamw_elements(const AdamW32 f, Factor keep, Factor epsilon, Factor step_size,
                                                  Index size, float* parameter, const float* gradient, float* m,
                                                  float* v) {
  for (Index i = 0; i < size; ++i) {
    const float g = f.scale * gradient[i];
    const float first = m[i] + f.blend1 * (g - m[i]);
    const float second = f.beta2 * v[i] + f.blend2 * (g * g);
    m[i] = first;
    v[i] = second;
    // first / (sqrt(second) / c + epsilon) with one division: both sides of the fraction times c.
    parameter[i] = keep[i] * parameter[i] - step_size[i] * (first / (std::sqrt(second) + epsilon[i]));
  }
}

PYSURGEON_CLONES
void adamw_same(const AdamW32 f, const std::array<float, 3>& factors, Index size, float* parameter,
                const float* gradient, float* m, float* v) {
  const auto [keep, epsilon, step_size] = factors;
  adamw_elements(f, All{keep}, All{epsilon}, All{step_size}, size, parameter, gradient, m, v);
}

PYSURGEON_CLONES
void adamw_mixed(const AdamW32 f, Row keep, Row epsilon, Row step_size, Index size, float* parameter,
                 const float* gradient, float* m, float* v) {
  adamw_elements(f, keep, epsilon, step_size, size, parameter, gradient, m, v);
}

struct Sgd32 {
  float momentum;
  float weight_decay;
  float scale;
  bool nesterov;
};

// Without a buffer, there is no momentum.
template <typename Factor>
[[gnu::always_inline]] inline void sgd_elements(const Sgd32 f, Factor rate, Index size, float* parameter,
                                                const float* gradient, float* buffer) {
  for (Index i = 0; i < size; ++i) {
    const float g = f.scale * gradient[i] + f.weight_decay * parameter[i];
    float direction = g;
    if (buffer != nullptr) {
      const float velocity = f.momentum * buffer[i] + g;
      buffer[i] = velocity;
      direction = f.nesterov ? g + f.momentum * velocity : velocity;
    }
    parameter[i] -= rate[i] * direction;
  }
}

PYSURGEON_CLONES
void sgd_same(const Sgd32 f, float rate, Index size, float* parameter, const float* gradient, float* buffer) {
  sgd_elements(f, All{rate}, size, parameter, gradient, buffer);
}

PYSURGEON_CLONES
void sgd_mixed(const Sgd32 f, Row rate, Index size, float* parameter, const float* gradient, float* buffer) {
  sgd_elements(f, rate, size, parameter, gradient, buffer);
}

PYSURGEON_CLONES
void add_squares(const float* values, Index size, double* sums) {
  for (Index i = 0; i < size; i += kLanes) {
    for (Index lane = 0; lane < kLanes; ++lane) {
      const double value = static_cast<double>(values[i + lane]);
      sums[lane] += value * value;
    }
  }
}

}  // namespace

void adamw_step(const AdamW& settings, const Cohorts& cohorts, Index size, float* parameter, const float* gradient,
                float* m, float* v) {
  const AdamW32 f{static_cast<float>(settings.gradient_scale), static_cast<float>(1.0 - settings.beta1),
                  static_cast<float>(settings.beta2), static_cast<float>(1.0 - settings.beta2)};
  Factors<3> factors;
  for (const Cohort& cohort : cohorts.each) {
    const double step = static_cast<double>(cohort.step);
    const double c = std::sqrt(1.0 - std::pow(settings.beta2, step));
    factors.add({static_cast<float>(1.0 - cohort.learning_rate * settings.weight_decay),
                 static_cast<float>(settings.epsilon * c),
                 static_cast<float>(cohort.learning_rate / (1.0 - std::pow(settings.beta1, step)) * c)});
  }
  factors.step(
      cohorts.of, size,
      [&](Index i, Index count, const auto& same) {
        adamw_same(f, same, count, parameter + i, gradient + i, m + i, v + i);
      },
      [&](Index i, Index count, const auto& rows) {
        adamw_mixed(f, rows[0].data(), rows[1].data(), rows[2].data(), count, parameter + i, gradient + i, m + i,
                    v + i);
      });
}

void sgd_step(const Sgd& settings, const Cohorts& cohorts, Index size, float* parameter, const float* gradient,
              float* momentum_buffer) {
  const Sgd32 f{static_cast<float>(settings.momentum), static_cast<float>(settings.weight_decay),
                static_cast<float>(settings.gradient_scale), settings.nesterov};
  Factors<1> rates;
  for (const Cohort& cohort : cohorts.each) rates.add({static_cast<float>(cohort.learning_rate)});
  const auto buffer = [&](Index i) { return settings.momentum == 0.0 ? nullptr : momentum_buffer + i; };
  rates.step(
      cohorts.of, size,
      [&](Index i, Index count, const auto& same) {
        sgd_same(f, same[0], count, parameter + i, gradient + i, buffer(i));
      },
      [&](Index i, Index count, const auto& rows) {
        sgd_mixed(f, rows[0].data(), count, parameter + i, gradient + i, buffer(i));
      });
}

double sum_of_squares(const float* values, Index size) {
  std::array<double, kLanes> sums{};
  const Index whole = size - size % kLanes;
  add_squares(values, whole, sums.data());
  double total = 0.0;
  for (const double sum : sums) total += sum;
  for (Index i = whole; i < size; ++i) total += static_cast<double>(values[i]) * static_cast<double>(values[i]);
  return total;
}

}  // namespace surgeon
