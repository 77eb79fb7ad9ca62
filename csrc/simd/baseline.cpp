#include "simd/kernels.hpp"

#if 1  // Every processor has it.
#define PYSURGEON_VECTOR_BYTES 16

namespace surgeon::simd {
namespace {

constexpr Index kBytes = PYSURGEON_VECTOR_BYTES;
#include "simd/kernels.inl"

constexpr Kernels kKernels{"baseline",         &reduce<float>, &reduce<double>, &turn_back<float>,
                           &turn_back<double>, &count_below,   &bisect,         &twisted,
                           &eliminate,         &gram_times,    &largest,        &sum_of_squares};

}  // namespace

const Kernels* baseline() { return &kKernels; }

}  // namespace surgeon::simd

#else

namespace surgeon::simd {

const Kernels* baseline() { return nullptr; }

}  // namespace surgeon::simd

#endif
