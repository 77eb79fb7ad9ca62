#include "blocks.hpp"

#include <algorithm>
#include <vector>

#include "parallel.hpp"

namespace surgeon {
namespace {

// A thread is not worth starting for less than this many elements (256 KiB).
constexpr Index kElementsPerTask = Index{1} << 16;

Index parts(Index whole, Index part) { return (whole + part - 1) / part; }

constexpr Index kZeros = -1;
constexpr Index kScattered = -2;

// Blocks that follow one another on both sides.
struct Run {
  Index to;
  Index from;  // kZeros, or kScattered: single elements from all over
  Index length;
  bool scaled;
};

// An index that keeps or repeats most units is a few long runs. Runs that are all scaled or all not can be longer.
std::vector<Run> runs_of(const std::int64_t* index, const float* scale, Index m) {
  std::vector<Run> runs;
  for (Index j = 0; j < m; ++j) {
    const Index from = static_cast<Index>(index[j]);
    const bool scaled = from >= 0 && scale[j] != 1.0F;
    if (!runs.empty() && runs.back().scaled == scaled) {
      Run& last = runs.back();
      if (from < 0 ? last.from < 0 : last.from >= 0 && last.from + last.length == from) {
        ++last.length;
        continue;
      }
    }
    runs.push_back({j, from < 0 ? kZeros : from, 1, scaled});
  }
  return runs;
}

// Runs of single elements that are too short to be worth their own loop, taken together.
std::vector<Run> without_short_ones(const std::vector<Run>& runs) {
  constexpr Index worth = 16;
  std::vector<Run> result;
  for (const Run& run : runs) {
    if (run.length >= worth) {
      result.push_back(run);
    } else if (!result.empty() && result.back().from == kScattered) {
      result.back().length += run.length;
    } else {
      result.push_back({run.to, kScattered, run.length, true});
    }
  }
  return result;
}

}  // namespace

void gather_blocks(const float* source, Index outer, Index n, Index inner, const std::int64_t* index,
                   const float* scale, Index m, float* out, int threads) {
  if (outer * m * inner == 0) return;
  std::vector<Run> runs = runs_of(index, scale, m);
  if (inner == 1) runs = without_short_ones(runs);
  // Short blocks of one run are multiplied as one, by their factors written out.
  constexpr Index kShort = 64;
  std::vector<float> factors;
  if (inner < kShort) {
    factors.resize(static_cast<std::size_t>(m * inner));
    for (Index j = 0; j < m; ++j) std::fill_n(factors.begin() + j * inner, inner, scale[j]);
  }

  // Blocks j ... end - 1 of one outer position.
  const auto gather = [&](const float* from, Index j, Index end, float* to) {
    auto run = std::upper_bound(runs.begin(), runs.end(), j, [](Index at, const Run& r) { return at < r.to; }) - 1;
    for (; j < end; ++run) {
      const Index stop = std::min(end, run->to + run->length);
      float* first = to + j * inner;
      if (run->from == kScattered) {
        for (Index k = j; k < stop; ++k) to[k] = index[k] < 0 ? 0.0F : scale[k] * from[index[k]];
      } else if (run->from == kZeros) {
        std::fill_n(first, (stop - j) * inner, 0.0F);
      } else {
        const float* block = from + (run->from + j - run->to) * inner;
        if (!run->scaled) {
          std::copy_n(block, (stop - j) * inner, first);
        } else if (!factors.empty()) {
          const float* factor = factors.data() + j * inner;
          for (Index i = 0; i < (stop - j) * inner; ++i) first[i] = factor[i] * block[i];
        } else {
          for (Index k = 0; k < stop - j; ++k) {
            const float factor = scale[j + k];
            for (Index i = 0; i < inner; ++i) first[k * inner + i] = factor * block[k * inner + i];
          }
        }
      }
      j = stop;
    }
  };

  const Index rows = outer * m;  // of `inner` elements each
  const Index rows_per_task = std::max<Index>(1, kElementsPerTask / inner);
  parallel_for(static_cast<std::size_t>(parts(rows, rows_per_task)), threads, [&](std::size_t task) {
    Index row = static_cast<Index>(task) * rows_per_task;
    const Index last = std::min(rows, row + rows_per_task);
    while (row < last) {
      const Index o = row / m;
      const Index end = std::min(last - o * m, m);
      gather(source + o * n * inner, row - o * m, end, out + o * m * inner);
      row = o * m + end;
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
