// Optimizer steps in place, each in one pass over memory.
#pragma once

#include <cstdint>

#include "blas.hpp"

namespace surgeon {

struct AdamW {
  double learning_rate;
  double beta1;
  double beta2;
  double epsilon;
  double weight_decay;  // decoupled: a share of the parameter, times the learning rate
  double gradient_scale;
  std::int64_t step;  // counts from 1, this one included
};

struct Sgd {
  double learning_rate;
  double momentum;
  double weight_decay;  // coupled: added to the gradient
  double gradient_scale;
  bool nesterov;
};

// Decoupled weight decay, bias correction, epsilon added to the root of the corrected second moment.
void adamw_step(const AdamW& settings, Index size, float* parameter, const float* gradient, float* m, float* v);

// momentum_buffer is not touched where the momentum is zero, and may then be null.
void sgd_step(const Sgd& settings, Index size, float* parameter, const float* gradient, float* momentum_buffer);

// The sum of the squares, accumulated in float64.
double sum_of_squares(const float* values, Index size);

}  // namespace surgeon
