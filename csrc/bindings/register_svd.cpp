#include <pybind11/stl.h>

#include <exception>

#include "register.hpp"
#include "svd/svd.hpp"

namespace py = pybind11;

namespace surgeon::bindings {
namespace {

std::vector<MatrixView> views_of(const std::vector<FloatArray>& matrices) {
  std::vector<MatrixView> views;
  views.reserve(matrices.size());
  for (const FloatArray& matrix : matrices) views.push_back({matrix.data(), matrix.shape(0), matrix.shape(1)});
  return views;
}

// Whether a signal handler of Python's, such as that of Ctrl-C, has raised an error.
bool interrupted() {
  const py::gil_scoped_acquire acquire;
  return PyErr_CheckSignals() != 0;
}

py::list singular_values_of(const std::vector<FloatArray>& matrices, bool may_round, int threads) {
  const std::vector<MatrixView> views = views_of(matrices);
  py::list result;
  std::vector<float*> outputs;
  for (const MatrixView& view : views) {
    FloatArray values(std::min(view.rows, view.columns));
    outputs.push_back(values.mutable_data());
    result.append(std::move(values));
  }
  bool complete = false;
  {
    // Safe: from here on only raw pointers are used, into arrays that `matrices` and `result` keep alive.
    const py::gil_scoped_release release;
    complete = singular_values(views, outputs, may_round, threads, &interrupted);
  }
  if (!complete) throw py::error_already_set();
  return result;
}

py::list truncated_svd_of(const std::vector<FloatArray>& matrices, const std::vector<Index>& ranks, int threads) {
  const std::vector<MatrixView> views = views_of(matrices);
  py::list result;
  std::vector<FactorsView> outputs;
  for (std::size_t i = 0; i < views.size(); ++i) {
    const Index rank = ranks.at(i);
    FloatArray u({views[i].rows, rank});
    FloatArray s(rank);
    FloatArray vt({rank, views[i].columns});
    outputs.push_back({rank, u.mutable_data(), s.mutable_data(), vt.mutable_data()});
    result.append(py::make_tuple(std::move(u), std::move(s), std::move(vt)));
  }
  bool complete = false;
  {
    // Safe: from here on only raw pointers are used, into arrays that `matrices` and `result` keep alive.
    const py::gil_scoped_release release;
    complete = truncated_svd(views, outputs, threads, &interrupted);
  }
  if (!complete) throw py::error_already_set();
  return result;
}

}  // namespace

void register_svd(py::module_& module) {
  py::register_local_exception_translator([](std::exception_ptr pointer) {
    try {
      std::rethrow_exception(pointer);
    } catch (const MatrixError& error) {
      const py::object type = py::module_::import("pysurgeon.errors").attr("DataError");
      PyErr_SetString(type.ptr(), error.what());
    }
  });
  module.def("singular_values", &singular_values_of, py::arg("matrices").noconvert(), py::arg("may_round"),
             py::arg("threads"));
  module.def("truncated_svd", &truncated_svd_of, py::arg("matrices").noconvert(), py::arg("ranks"), py::arg("threads"));
}

}  // namespace surgeon::bindings
