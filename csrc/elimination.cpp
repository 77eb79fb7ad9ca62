#include "elimination.hpp"

#include <algorithm>
#include <limits>

#include "buffer.hpp"
#include "simd/kernels.hpp"

namespace surgeon {
namespace {

// The matrices of one reader, on the units that are left: those come first, and one that goes changes places with the
// last of them.
class Reader {
 public:
  Reader(Index n, const ReaderView& view)
      : n_(n),
        inverse_(n * n),
        energy_(n * n),
        column_(n),
        cross_(n),
        row_(n),
        floor_(view.floor, view.floor + n),
        left_(n) {
    std::copy_n(view.inverse, n * n, inverse_.data());
    std::copy_n(view.energy, n * n, energy_.data());
  }

  double increase(Index i) const {
    return energy_[i * n_ + i] / std::max(inverse_[i * n_ + i], floor_[static_cast<std::size_t>(i)]);
  }

  void remove(Index i) {
    const Index last = --left_;
    swap(i, last, inverse_.data());
    swap(i, last, energy_.data());
    std::swap(floor_[static_cast<std::size_t>(i)], floor_[static_cast<std::size_t>(last)]);
    const double* h = inverse_.data() + last * n_;
    const double* m = energy_.data() + last * n_;
    const double pivot = std::max(h[last], floor_[static_cast<std::size_t>(last)]);
    for (Index j = 0; j < last; ++j) {
      column_[j] = h[j] / pivot;
      cross_[j] = m[j] - column_[j] * (m[last] / 2);
      row_[j] = h[j];
    }
    simd::active().eliminate(last, n_, column_.data(), cross_.data(), row_.data(), inverse_.data(), energy_.data());
  }

 private:
  void swap(Index i, Index last, double* a) const {
    if (i == last) return;
    std::swap_ranges(a + i * n_, a + i * n_ + last + 1, a + last * n_);
    for (Index j = 0; j <= last; ++j) std::swap(a[j * n_ + i], a[j * n_ + last]);
  }

  Index n_;
  Buffer<double> inverse_, energy_, column_, cross_, row_;
  std::vector<double> floor_;
  Index left_;
};

}  // namespace

void eliminate(Index n, const std::vector<ReaderView>& readers, const std::vector<std::int64_t>& first, double most,
               std::int64_t* order, double* cost) {
  std::vector<Reader> seen;
  seen.reserve(readers.size());
  for (const ReaderView& view : readers) seen.emplace_back(n, view);
  std::vector<std::int64_t> units(static_cast<std::size_t>(n));
  for (Index i = 0; i < n; ++i) units[static_cast<std::size_t>(i)] = i;
  std::fill_n(cost, n, std::numeric_limits<double>::infinity());
  double total = 0.0;
  for (Index k = 0; k < n; ++k) {
    const Index left = n - k;
    Index best = 0;
    double least = std::numeric_limits<double>::infinity();
    if (static_cast<std::size_t>(k) < first.size()) {
      const auto place = std::find(units.begin(), units.begin() + left, first[static_cast<std::size_t>(k)]);
      best = place - units.begin();
      least = 0.0;
    }
    for (Index i = 0; i < left && static_cast<std::size_t>(k) >= first.size(); ++i) {
      double increase = 0.0;
      for (const Reader& reader : seen) increase += reader.increase(i);
      const bool earlier = units[static_cast<std::size_t>(i)] < units[static_cast<std::size_t>(best)];
      if (increase < least || (increase == least && earlier)) {
        least = increase;
        best = i;
      }
    }
    total += std::max(0.0, least) / static_cast<double>(readers.size());
    order[k] = units[static_cast<std::size_t>(best)];
    cost[k] = total;
    std::swap(units[static_cast<std::size_t>(best)], units[static_cast<std::size_t>(left - 1)]);
    if (total > most) {
      std::sort(units.begin(), units.begin() + left - 1);
      std::copy(units.begin(), units.begin() + left - 1, order + k + 1);
      return;
    }
    for (Reader& reader : seen) reader.remove(best);
  }
}

}  // namespace surgeon
