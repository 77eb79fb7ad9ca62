// Included by one file for each instruction set, inside a namespace without a name, with kBytes defined: the width of
// its vectors. Nothing of the standard library is used here: its templates would be compiled with these instructions
// and could then be linked into code that runs without them.

// clang-format off: later parts use the earlier ones.
#include "simd/vectors.inl"
#include "simd/reduction.inl"
#include "simd/tridiagonal.inl"
#include "simd/products.inl"
#include "simd/int16.inl"
