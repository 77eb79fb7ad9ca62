#include <optional>

#include <pybind11/stl.h>

#include "optimizer.hpp"
#include "register.hpp"

namespace py = pybind11;

namespace surgeon::bindings {
namespace {

void adamw_step_of(FloatArray& parameter, const FloatArray& gradient, FloatArray& m, FloatArray& v,
                   double learning_rate, double beta1, double beta2, double epsilon, double weight_decay,
                   std::int64_t step, double gradient_scale) {
  const AdamW settings{learning_rate, beta1, beta2, epsilon, weight_decay, gradient_scale, step};
  float* parameters = parameter.mutable_data();
  const float* gradients = gradient.data();
  float* first = m.mutable_data();
  float* second = v.mutable_data();
  const Index size = parameter.size();
  // Safe: only raw pointers from here on, and the arguments outlive the call.
  const py::gil_scoped_release release;
  adamw_step(settings, size, parameters, gradients, first, second);
}

void sgd_step_of(FloatArray& parameter, const FloatArray& gradient, std::optional<FloatArray>& momentum_buffer,
                 double learning_rate, double momentum, double weight_decay, bool nesterov, double gradient_scale) {
  const Sgd settings{learning_rate, momentum, weight_decay, gradient_scale, nesterov};
  float* parameters = parameter.mutable_data();
  const float* gradients = gradient.data();
  float* buffer = momentum_buffer ? momentum_buffer->mutable_data() : nullptr;
  const Index size = parameter.size();
  // Safe: only raw pointers from here on, and the arguments outlive the call.
  const py::gil_scoped_release release;
  sgd_step(settings, size, parameters, gradients, buffer);
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
             py::arg("m").noconvert(), py::arg("v").noconvert(), py::kw_only(), py::arg("learning_rate"),
             py::arg("beta1"), py::arg("beta2"), py::arg("epsilon"), py::arg("weight_decay"), py::arg("step"),
             py::arg("gradient_scale"));
  module.def("sgd_step", &sgd_step_of, py::arg("parameter").noconvert(), py::arg("gradient").noconvert(),
             py::arg("momentum_buffer").noconvert().none(true), py::kw_only(), py::arg("learning_rate"),
             py::arg("momentum"), py::arg("weight_decay"), py::arg("nesterov"), py::arg("gradient_scale"));
  module.def("sum_of_squares", &sum_of_squares_of, py::arg("array").noconvert());
}

}  // namespace surgeon::bindings
