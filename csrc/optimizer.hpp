// Optimizer steps in place, each in one pass over memory.
#pragma once

#include <cstdint>
#include <vector>

#include "blas.hpp"

namespace surgeon {

// Elements that take the same step, since they have been trained for as long.
struct Cohort {
  double learning_rate;
  std::int64_t step;  // counts from 1, this one included
};

// Which elements those are.
struct Cohorts {
  std::vector<Cohort> each;  // at least one
  const std::uint16_t* of;   // the cohort of every element; null where there is one of all
};

struct AdamW {
  double beta1;
  double beta2;
  double epsilon;
  double weight_decay;  // decoupled: a share of the parameter, times the learning rate
  double gradient_scale;
};

struct Sgd {
  double momentum;
  double weight_decay;  // coupled: added to the gradient
  double gradient_scale;
  bool nesterov;
};

// Decoupled weight decay, bias correction by the steps of an element's cohort, epsilon added to the root of the
// corrected second moment. An element takes the same step, to the bit, whatever other cohorts there are.
void adamw_step(const AdamW& settings, const Cohorts& cohorts, Index size, float* parameter, const float* gradient,
                float* m, float* v);

// Of cohorts, only the learning rate counts. momentum_buffer is not touched where the momentum is zero, and may then be
// null.
void sgd_step(const Sgd& settings, const Cohorts& cohorts, Index size, float* parameter, const float* gradient,
              float* momentum_buffer);

// The sum of the squares, accumulated in float64.
double sum_of_squares(const float* values, Index size);

}  // namespace surgeon
