#include <pybind11/stl.h>

#include "elimination.hpp"
#include "register.hpp"

namespace py = pybind11;

namespace surgeon::bindings {
namespace {

using DoubleArray = py::array_t<double, py::array::c_style>;

py::tuple eliminate_of(const std::vector<DoubleArray>& inverses, const std::vector<DoubleArray>& energies,
                       const std::vector<DoubleArray>& floors, const std::vector<std::int64_t>& first, double most) {
  const Index n = inverses.at(0).shape(0);
  std::vector<ReaderView> readers;
  for (std::size_t i = 0; i < inverses.size(); ++i) {
    readers.push_back({inverses[i].data(), energies.at(i).data(), floors.at(i).data()});
  }
  py::array_t<std::int64_t> order(n);
  DoubleArray cost(n);
  std::int64_t* orders = order.mutable_data();
  double* costs = cost.mutable_data();
  {
    // Safe: only raw pointers from here on, and the arguments outlive the call.
    const py::gil_scoped_release release;
    eliminate(n, readers, first, most, orders, costs);
  }
  return py::make_tuple(std::move(order), std::move(cost));
}

}  // namespace

void register_elimination(py::module_& module) {
  module.def("eliminate", &eliminate_of, py::arg("inverses").noconvert(), py::arg("energies").noconvert(),
             py::arg("floors").noconvert(), py::arg("first"), py::arg("most"));
}

}  // namespace surgeon::bindings
