#include "optimizer.hpp"

#include <array>
#include <cmath>

// These loops are compiled once for each instruction set, and the loader picks the best one that the machine has. Every
// one of them does the same operations in the same order, so the choice changes the time and not one bit of the result.
#if defined(__x86_64__) && defined(__linux__) && !defined(PYSURGEON_BASELINE_ONLY)
#define PYSURGEON_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define PYSURGEON_CLONES
#endif

namespace surgeon {
namespace {

struct AdamWFactors {
  float keep;    // what the weight decay leaves of a parameter
  float scale;   // of the gradient
  float blend1;  // 1 - beta1
  float beta2;
  float blend2;     // 1 - beta2
  float epsilon;    // times c, the root of 1 - beta2^step
  float step_size;  // learning rate / (1 - beta1^step), times c
};

PYSURGEON_CLONES
void adamw_loop(const AdamWFactors& f, Index size, float* parameter, const float* gradient, float* m, float* v) {
  for (Index i = 0; i < size; ++i) {
    const float g = f.scale * gradient[i];
    const float first = m[i] + f.blend1 * (g - m[i]);
    const float second = f.beta2 * v[i] + f.blend2 * (g * g);
    m[i] = first;
    v[i] = second;
    // first / (sqrt(second) / c + epsilon) with one division: both sides of the fraction times c.
    parameter[i] = f.keep * parameter[i] - f.step_size * (first / (std::sqrt(second) + f.epsilon));
  }
}

// The same by cohort, side by side, as the vector units pick them.
struct AdamWTables {
  std::vector<float> keep;
  std::vector<float> epsilon;
  std::vector<float> step_size;
};

PYSURGEON_CLONES
void adamw_cohorts_loop(const AdamWFactors& f, const float* keep, const float* epsilon, const float* step_size,
                        const std::uint16_t* cohort, Index size, float* parameter, const float* gradient, float* m,
                        float* v) {
  for (Index i = 0; i < size; ++i) {
    const std::uint16_t c = cohort[i];
    const float g = f.scale * gradient[i];
    const float first = m[i] + f.blend1 * (g - m[i]);
    const float second = f.beta2 * v[i] + f.blend2 * (g * g);
    m[i] = first;
    v[i] = second;
    parameter[i] = keep[c] * parameter[i] - step_size[c] * (first / (std::sqrt(second) + epsilon[c]));
  }
}

struct SgdFactors {
  float learning_rate;
  float momentum;
  float weight_decay;
  float scale;
};

PYSURGEON_CLONES
void sgd_loop(const SgdFactors& f, Index size, float* parameter, const float* gradient) {
  for (Index i = 0; i < size; ++i) {
    const float g = f.scale * gradient[i] + f.weight_decay * parameter[i];
    parameter[i] -= f.learning_rate * g;
  }
}

PYSURGEON_CLONES
void momentum_loop(const SgdFactors& f, Index size, float* parameter, const float* gradient, float* buffer) {
  for (Index i = 0; i < size; ++i) {
    const float g = f.scale * gradient[i] + f.weight_decay * parameter[i];
    buffer[i] = f.momentum * buffer[i] + g;
    parameter[i] -= f.learning_rate * buffer[i];
  }
}

PYSURGEON_CLONES
void nesterov_loop(const SgdFactors& f, Index size, float* parameter, const float* gradient, float* buffer) {
  for (Index i = 0; i < size; ++i) {
    const float g = f.scale * gradient[i] + f.weight_decay * parameter[i];
    buffer[i] = f.momentum * buffer[i] + g;
    parameter[i] -= f.learning_rate * (g + f.momentum * buffer[i]);
  }
}

PYSURGEON_CLONES
void sgd_cohorts_loop(const SgdFactors& f, const float* rates, const std::uint16_t* cohort, Index size,
                      float* parameter, const float* gradient) {
  for (Index i = 0; i < size; ++i) {
    const float g = f.scale * gradient[i] + f.weight_decay * parameter[i];
    parameter[i] -= rates[cohort[i]] * g;
  }
}

PYSURGEON_CLONES
void momentum_cohorts_loop(const SgdFactors& f, const float* rates, const std::uint16_t* cohort, Index size,
                           float* parameter, const float* gradient, float* buffer) {
  for (Index i = 0; i < size; ++i) {
    const float g = f.scale * gradient[i] + f.weight_decay * parameter[i];
    buffer[i] = f.momentum * buffer[i] + g;
    parameter[i] -= rates[cohort[i]] * buffer[i];
  }
}

PYSURGEON_CLONES
void nesterov_cohorts_loop(const SgdFactors& f, const float* rates, const std::uint16_t* cohort, Index size,
                           float* parameter, const float* gradient, float* buffer) {
  for (Index i = 0; i < size; ++i) {
    const float g = f.scale * gradient[i] + f.weight_decay * parameter[i];
    buffer[i] = f.momentum * buffer[i] + g;
    parameter[i] -= rates[cohort[i]] * (g + f.momentum * buffer[i]);
  }
}

constexpr Index kLanes = 16;  // partial sums side by side, for the vector units

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
  AdamWFactors f{};
  f.scale = static_cast<float>(settings.gradient_scale);
  f.blend1 = static_cast<float>(1.0 - settings.beta1);
  f.beta2 = static_cast<float>(settings.beta2);
  f.blend2 = static_cast<float>(1.0 - settings.beta2);
  AdamWTables tables;
  for (const Cohort& cohort : cohorts.each) {
    const double step = static_cast<double>(cohort.step);
    const double c = std::sqrt(1.0 - std::pow(settings.beta2, step));
    f.keep = static_cast<float>(1.0 - cohort.learning_rate * settings.weight_decay);
    f.epsilon = static_cast<float>(settings.epsilon * c);
    f.step_size = static_cast<float>(cohort.learning_rate / (1.0 - std::pow(settings.beta1, step)) * c);
    tables.keep.push_back(f.keep);
    tables.epsilon.push_back(f.epsilon);
    tables.step_size.push_back(f.step_size);
  }
  if (cohorts.of == nullptr) {
    adamw_loop(f, size, parameter, gradient, m, v);
  } else {
    adamw_cohorts_loop(f, tables.keep.data(), tables.epsilon.data(), tables.step_size.data(), cohorts.of, size,
                       parameter, gradient, m, v);
  }
}

void sgd_step(const Sgd& settings, const Cohorts& cohorts, Index size, float* parameter, const float* gradient,
              float* momentum_buffer) {
  std::vector<float> rates;
  for (const Cohort& cohort : cohorts.each) rates.push_back(static_cast<float>(cohort.learning_rate));
  const SgdFactors f{rates.front(), static_cast<float>(settings.momentum), static_cast<float>(settings.weight_decay),
                     static_cast<float>(settings.gradient_scale)};
  const bool mixed = cohorts.of != nullptr;
  if (settings.momentum == 0.0) {
    mixed ? sgd_cohorts_loop(f, rates.data(), cohorts.of, size, parameter, gradient)
          : sgd_loop(f, size, parameter, gradient);
  } else if (settings.nesterov) {
    mixed ? nesterov_cohorts_loop(f, rates.data(), cohorts.of, size, parameter, gradient, momentum_buffer)
          : nesterov_loop(f, size, parameter, gradient, momentum_buffer);
  } else {
    mixed ? momentum_cohorts_loop(f, rates.data(), cohorts.of, size, parameter, gradient, momentum_buffer)
          : momentum_loop(f, size, parameter, gradient, momentum_buffer);
  }
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
