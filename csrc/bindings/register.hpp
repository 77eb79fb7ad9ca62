// What module.cpp puts together, and how arrays cross the border.
#pragma once

#include <cstdint>

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

namespace surgeon::bindings {

// Only ever used with .noconvert(): the Python face has made or checked the arrays, and a copy here would be a silent
// defect.
using FloatArray = pybind11::array_t<float, pybind11::array::c_style>;
using CohortArray = pybind11::array_t<std::uint16_t, pybind11::array::c_style>;

void register_svd(pybind11::module_& module);
void register_blocks(pybind11::module_& module);
void register_elimination(pybind11::module_& module);
void register_optimizer(pybind11::module_& module);

}  // namespace surgeon::bindings
