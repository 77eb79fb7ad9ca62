#include <optional>
#include <vector>

#include <pybind11/stl.h>

#include "optimizer.hpp"
#include "register.hpp"

namespace py = pybind11;

namespace surgeon::bindings {
namespace {

// The Python face has seen to it that there are as many rates as steps, and that every cohort is one of them.
Cohorts cohorts_of(const std::vector<double>& rates, const std::vector<std::int64_t>& steps,
                   const std::optional<CohortArray>& cohort) {
  Cohorts cohorts{{}, cohort ? cohort->data() : nullptr};
  for (std::size_t k = 0; k < rates.size(); ++k) cohorts.each.push_back({rates[k], steps[k]});
  return cohorts;
}

void adamw_step_of(FloatArray& parameter, const FloatArray& gradient, FloatArray& m, FloatArray& v,
                   const std::vector<double>& learning_rates, double beta1, double beta2, double epsilon,
                   double weight_decay, const std::vector<std::int64_t>& steps,
                   const std::optional<CohortArray>& cohort, double gradient_scale) {
  const AdamW settings{beta1, beta2, epsilon, weight_decay, gradient_scale};
  const Cohorts cohorts = cohorts_of(learning_rates, steps, cohort);
  float* parameters = parameter.mutable_data();
  const float* gradients = gradient.data();
  float* first = m.mutable_data();
  float* second = v.mutable_data();
  const Index size = parameter.size();
  // Safe: only raw pointers from here on, and the arguments outlive the call.
  const py::gil_scoped_release release;
  adamw_step(settings, cohorts, size, parameters, gradients, first, second);
}

void sgd_step_of(FloatArray& parameter, const FloatArray& gradient, std::optional<FloatArray>& momentum_buffer,
                 const std::vector<double>& learning_rates, double momentum, double weight_decay, bool nesterov,
                 const std::optional<CohortArray>& cohort, double gradient_scale) {
  const Sgd settings{momentum, weight_decay, gradient_scale, nesterov};
  const Cohorts cohorts = cohorts_of(learning_rates, std::vector<std::int64_t>(learning_rates.size(), 1), cohort);
  float* parameters = parameter.mutable_data();
  const float* gradients = gradient.data();
  float* buffer = momentum_buffer ? momentum_buffer->mutable_data() : nullptr;
  const Index size = parameter.size();
  // Safe: only raw pointers from here on, and the arguments outlive the call.
  const py::gil_scoped_release release;
  sgd_step(settings, cohorts, size, parameters, gradients, buffer);
}

double sum_of_squares_of(const FloatArray& array) {
  const float* values = array.data();
  const Index size = array.size();
  // Safe: only raw pointers from here on, and the argument outlives the call.
  const py::gil_scoped_release release;
  return sum_of_squares(values, size);
}

}  // namespace

void register_optimizer(py::module_& module) {
  module.def("adamw_step", &adamw_step_of, py::arg("parameter").noconvert(), py::arg("gradient").noconvert(),
             py::arg("m").noconvert(), py::arg("v").noconvert(), py::kw_only(), py::arg("learning_rates"),
             py::arg("beta1"), py::arg("beta2"), py::arg("epsilon"), py::arg("weight_decay"), py::arg("steps"),
             py::arg("cohort").noconvert().none(true), py::arg("gradient_scale"));
  module.def("sgd_step", &sgd_step_of, py::arg("parameter").noconvert(), py::arg("gradient").noconvert(),
             py::arg("momentum_buffer").noconvert().none(true), py::kw_only(), py::arg("learning_rates"),
             py::arg("momentum"), py::arg("weight_decay"), py::arg("nesterov"),
             py::arg("cohort").noconvert().none(true), py::arg("gradient_scale"));
  module.def("sum_of_squares", &sum_of_squares_of, py::arg("array").noconvert());
}

}  // namespace surgeon::bindings
