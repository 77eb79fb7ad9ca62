#include "simd/kernels.hpp"

#if defined(__AVX2__) && defined(__FMA__)
#define PYSURGEON_VECTOR_BYTES 32

namespace surgeon::simd {
namespace {

constexpr Index kBytes = PYSURGEON_VECTOR_BYTES;
#include "simd/kernels.inl"

constexpr Kernels kKernels{"avx2",       &reduce<float>, &reduce<double>, &turn_back<float>, &turn_back<double>,
                           &count_below, &bisect,        &twisted,        &eliminate,        &gram_times,
                           &largest,     &sum_of_squares};

}  // namespace

const Kernels* avx2() { return &kKernels; }

}  // namespace surgeon::simd

#else

namespace surgeon::simd {

const Kernels* avx2() { return nullptr; }

}  // namespace surgeon::simd

#endif
