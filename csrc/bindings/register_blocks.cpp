#include "blocks.hpp"
#include "register.hpp"

namespace py = pybind11;

namespace surgeon::bindings {
namespace {

using IndexArray = py::array_t<std::int64_t, py::array::c_style>;

FloatArray gather_blocks_of(const FloatArray& source, const IndexArray& index, const FloatArray& scale, int threads) {
  const Index outer = source.shape(0);
  const Index n = source.shape(1);
  const Index inner = source.shape(2);
  const Index m = index.shape(0);
  FloatArray out({outer, m, inner});
  const float* from = source.data();
  const std::int64_t* indices = index.data();
  const float* scales = scale.data();
  float* to = out.mutable_data();
  {
    // Safe: only raw pointers from here on, and the arguments outlive the call.
    const py::gil_scoped_release release;
    gather_blocks(from, outer, n, inner, indices, scales, m, to, threads);
  }
  return out;
}

FloatArray map_blocks_of(const FloatArray& source, const FloatArray& matrix, int threads) {
  const Index outer = source.shape(0);
  const Index n = source.shape(1);
  const Index inner = source.shape(2);
  const Index m = matrix.shape(0);
  FloatArray out({outer, m, inner});
  const float* from = source.data();
  const float* map = matrix.data();
  float* to = out.mutable_data();
  {
    // Safe: only raw pointers from here on, and the arguments outlive the call.
    const py::gil_scoped_release release;
    map_blocks(from, outer, n, inner, map, m, to, threads);
  }
  return out;
}

}  // namespace

void register_blocks(py::module_& module) {
  module.def("gather_blocks", &gather_blocks_of, py::arg("source").noconvert(), py::arg("index").noconvert(),
             py::arg("scale").noconvert(), py::arg("threads"));
  module.def("map_blocks", &map_blocks_of, py::arg("source").noconvert(), py::arg("matrix").noconvert(),
             py::arg("threads"));
}

}  // namespace surgeon::bindings
