#include "blas.hpp"
#include "register.hpp"
#include "simd/kernels.hpp"

PYBIND11_MODULE(_native, module, pybind11::mod_gil_not_used()) {
  module.doc() = "Compiled kernels. pysurgeon.kernels checks and converts the arguments; nothing here does.";
  surgeon::blas::use_one_thread();
  module.def("blas_core_name", &surgeon::blas::core_name);
  module.def("blas_configuration", &surgeon::blas::configuration);
  module.def("instructions", [] { return surgeon::simd::active().name; });
  module.def("choose_instructions", &surgeon::simd::choose);
  surgeon::bindings::register_svd(module);
  surgeon::bindings::register_blocks(module);
  surgeon::bindings::register_elimination(module);
  surgeon::bindings::register_optimizer(module);
}
