#include "blocks.hpp"

#include <algorithm>

#include "parallel.hpp"

namespace surgeon {
namespace {

// A thread is not worth starting for less than this many elements (256 KiB).
constexpr Index kElementsPerTask = Index{1} << 16;

Index parts(Index whole, Index part) { return (whole + part - 1) / part; }

}  // namespace

void gather_blocks(const float* source, Index outer, Index n, Index inner, const std::int64_t* index,
                   const float* scale, Index m, float* out, int threads) {
  if (outer * m * inner == 0) return;
  const Index rows = outer * m;  // of `inner` elements each
  const Index rows_per_task = std::max<Index>(1, kElementsPerTask / inner);
  parallel_for(static_cast<std::size_t>(parts(rows, rows_per_task)), threads, [&](std::size_t task) {
    const Index begin = static_cast<Index>(task) * rows_per_task;
    const Index end = std::min(rows, begin + rows_per_task);
    Index o = begin / m;
    Index j = begin % m;
    for (Index row = begin; row < end; ++row) {
      float* to = out + row * inner;
      if (index[j] < 0) {
        std::fill(to, to + inner, 0.0F);
      } else {
        const float* from = source + (o * n + static_cast<Index>(index[j])) * inner;
        const float factor = scale[j];
        for (Index i = 0; i < inner; ++i) to[i] = factor * from[i];
      }
      if (++j == m) {
        j = 0;
        ++o;
      }
    }
  });
}

void map_blocks(const float* source, Index outer, Index n, Index inner, const float* matrix, Index m, float* out,
                int threads) {
  if (outer * m * inner == 0) return;
  if (n == 0) {
    std::fill(out, out + outer * m * inner, 0.0F);
    return;
  }
  using blas::Transpose;
  // How the work is cut depends on the shapes alone, never on the threads: neither do the roundings, then.
  const Index widest = std::max<Index>(64, kElementsPerTask / std::max(m, n));
  if (inner == 1) {  // One product with the matrix transposed, instead of `outer` products with a vector.
    parallel_for(static_cast<std::size_t>(parts(outer, widest)), threads, [&](std::size_t task) {
      const Index begin = static_cast<Index>(task) * widest;
      blas::multiply(Transpose::no, Transpose::yes, std::min(widest, outer - begin), m, n, source + begin * n, n,
                     matrix, n, out + begin * m, m);
    });
    return;
  }
  const Index columns = std::min(inner, widest);
  const Index per_block = parts(inner, columns);
  parallel_for(static_cast<std::size_t>(outer * per_block), threads, [&](std::size_t task) {
    const Index o = static_cast<Index>(task) / per_block;
    const Index begin = static_cast<Index>(task) % per_block * columns;
    blas::multiply(Transpose::no, Transpose::no, m, std::min(columns, inner - begin), n, matrix, n,
                   source + o * n * inner + begin, inner, out + o * m * inner + begin, inner);
  });
}

}  // namespace surgeon
