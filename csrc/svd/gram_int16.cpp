#include "svd/gram_int16.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

#include "buffer.hpp"
#include "simd/kernels.hpp"

namespace surgeon {
namespace {

using simd::kRounded;

// Blocks of a vector that are multiplied before the next ones are rounded: those of all vectors stay in the cache.
constexpr Index kBlocks = 8;
constexpr Index kPacked = kRounded * kRounded / 2;

std::size_t to_size(Index value) { return static_cast<std::size_t>(value); }

}  // namespace

bool suits_rounding(Index n, Index k) { return simd::active().round_block != nullptr && n >= 128 && 2 * k >= 3 * n; }

Roundings rounded_gram(bool outer, Index n, Index k, const float* a, float* c) {
  const simd::Kernels& kernels = simd::active();
  const Index panels = (n + kRounded - 1) / kRounded;
  const Index stride = panels * kRounded;
  Buffer<std::int32_t> packed(panels * kBlocks * kPacked);
  Buffer<float> scale(stride * kBlocks), sums(stride * stride);
  std::fill(sums.data(), sums.data() + stride * stride, 0.0F);
  std::array<std::uint32_t, kRounded> random;
  std::uint32_t seed = 1;
  for (std::uint32_t& state : random) state = (seed = seed * 1664525U + 1013904223U) | 1U;

  // Sums of squared steps: of every vector, and of every block across all vectors (in kRounded parts).
  const Index depths = (k + kRounded - 1) / kRounded;
  std::vector<double> of_vector(to_size(stride), 0.0), of_block(to_size(depths * kRounded), 0.0);

  const auto round = [&](Index panel, Index block, Index start) {
    const Index vector = panel * kRounded;
    const Index vectors = std::min(kRounded, n - vector), depth = std::min(kRounded, k - start);
    const float* x = outer ? a + vector * k + start : a + start * n + vector;
    Index x_stride = outer ? k : n;
    std::array<float, kRounded * kRounded> whole;
    if (vectors < kRounded || depth < kRounded) {
      whole.fill(0.0F);
      const Index lines = outer ? vectors : depth, width = outer ? depth : vectors;
      for (Index i = 0; i < lines; ++i) std::copy_n(x + i * x_stride, width, whole.data() + i * kRounded);
      x = whole.data();
      x_stride = kRounded;
    }
    const Index place = panel * kBlocks + block;
    kernels.round_block(outer, x, x_stride, packed.data() + place * kPacked, scale.data() + place * kRounded,
                        random.data());
    const float* steps = scale.data() + place * kRounded;
    double *here = of_vector.data() + vector, *there = of_block.data() + start;
    for (Index i = 0; i < kRounded; ++i) {
      const double square = static_cast<double>(steps[i]) * static_cast<double>(steps[i]);
      here[i] += square;
      there[i] += square;
    }
  };

  for (Index start = 0; start < k; start += kBlocks * kRounded) {
    const Index blocks = std::min(kBlocks, (k - start + kRounded - 1) / kRounded);
    for (Index panel = 0; panel < panels; ++panel) {
      for (Index block = 0; block < blocks; ++block) round(panel, block, start + block * kRounded);
    }
    for (Index column = 0; column < stride; column += kRounded) {
      const Index b = column * kBlocks;
      for (Index row = column; row < stride; row += simd::kRoundedRows) {
        const Index inside = row % kRounded, first = (row - inside) * kBlocks;
        kernels.multiply_rounded(blocks, packed.data() + first * kRounded / 2 + inside, scale.data() + first + inside,
                                 packed.data() + b * kRounded / 2, scale.data() + b,
                                 sums.data() + row * stride + column, stride);
      }
    }
  }
  for (Index i = 0; i < n; ++i) std::copy_n(sums.data() + i * stride, i + 1, c + i * n);
  const double elements = static_cast<double>(kRounded);
  const double row = std::sqrt(elements * *std::max_element(of_vector.begin(), of_vector.end()));
  double longest = 0.0;
  for (auto part = of_block.begin(); part != of_block.end(); part += kRounded) {
    longest = std::max(longest, std::accumulate(part, part + kRounded, 0.0));
  }
  const double column = std::sqrt(longest);
  const double all = std::sqrt(elements * std::accumulate(of_vector.begin(), of_vector.end(), 0.0));
  return {(row + column) / 2, all / 2};
}

}  // namespace surgeon
