#include "svd/svd.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <thread>

#include "buffer.hpp"
#include "parallel.hpp"
#include "simd/kernels.hpp"
#include "svd/methods.hpp"

namespace surgeon {
namespace {

// The largest magnitude of a matrix that is finite.
float largest_of(const MatrixView& a) {
  const float most = simd::active().largest(a.data, a.rows * a.columns);
  if (!std::isfinite(most)) throw MatrixError("holds NaN or infinity: singular values need finite elements");
  return most;
}

void values_of(const MatrixView& a, bool may_round, float* values) {
  const float most = largest_of(a);
  if (most > 0.0F) {
    if (!suits_float32(a, most) || !float32_values(a, may_round, values)) float64_values(a, values);
  } else {
    std::fill(values, values + std::min(a.rows, a.columns), 0.0F);
  }
}

// The factors of a matrix of zeros: the unit vectors, in their order.
void trivial_factors(const MatrixView& a, const FactorsView& factors) {
  const Index k = factors.rank;
  std::fill(factors.u, factors.u + a.rows * k, 0.0F);
  std::fill(factors.s, factors.s + k, 0.0F);
  std::fill(factors.vt, factors.vt + k * a.columns, 0.0F);
  for (Index i = 0; i < k; ++i) factors.u[i * k + i] = factors.vt[i * a.columns + i] = 1.0F;
}

void factors_of(const MatrixView& a, const FactorsView& factors) {
  const float most = largest_of(a);
  if (factors.rank == 0) return;
  if (most > 0.0F) {
    const bool fast = suits_float32(a, most) && factors.rank < std::min(a.rows, a.columns);
    if (!fast || !(lanczos_factors(a, factors) || float32_factors(a, factors))) float64_factors(a, factors);
  } else {
    trivial_factors(a, factors);
  }
}

// Tells the tasks of one call to stop, once the caller's thread finds that somebody wants it to.
class Watch {
 public:
  explicit Watch(const Interrupted& interrupted) : interrupted_(interrupted) {}

  bool stopped() {
    // Not before every small matrix: the question costs the interpreter's lock.
    const auto now = std::chrono::steady_clock::now();
    if (std::this_thread::get_id() == caller_ && now - asked_ > std::chrono::milliseconds(20)) {
      asked_ = now;
      if (interrupted_()) stopped_ = true;
    }
    return stopped_;
  }

 private:
  const Interrupted& interrupted_;
  const std::thread::id caller_ = std::this_thread::get_id();
  std::chrono::steady_clock::time_point asked_ = std::chrono::steady_clock::now();
  std::atomic<bool> stopped_{false};
};

// Runs task(i) for every matrix, the costly ones first, and puts the index of the matrix before what it complains of.
template <typename Task>
bool for_each_matrix(const std::vector<MatrixView>& matrices, int threads, const Interrupted& interrupted,
                     const Task& task) {
  std::vector<std::size_t> order(matrices.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  const auto cost = [&](std::size_t i) {
    const double rows = static_cast<double>(matrices[i].rows);
    const double columns = static_cast<double>(matrices[i].columns);
    return rows * columns * std::min(rows, columns);
  };
  std::stable_sort(order.begin(), order.end(), [&](std::size_t i, std::size_t j) { return cost(i) > cost(j); });
  std::vector<std::string> complaints(matrices.size());
  Watch watch(interrupted);
  parallel_for(matrices.size(), threads, [&](std::size_t turn) {
    if (watch.stopped()) return;
    const std::size_t i = order[turn];
    try {
      task(i);
    } catch (const MatrixError& error) {
      complaints[i] = error.what();
    }
  });
  scratch::release();
  if (watch.stopped()) return false;
  for (std::size_t i = 0; i < complaints.size(); ++i) {
    if (complaints[i].empty()) continue;
    throw MatrixError("Matrix " + std::to_string(i) + " (" + std::to_string(matrices[i].rows) + " x " +
                      std::to_string(matrices[i].columns) + ") " + complaints[i] + ".");
  }
  return true;
}

}  // namespace

float to_float(double value) {
  if (value > static_cast<double>(std::numeric_limits<float>::max())) {
    throw MatrixError("has a singular value beyond the range of float32: scale it down");
  }
  return static_cast<float>(value);
}

bool singular_values(const std::vector<MatrixView>& matrices, const std::vector<float*>& values, bool may_round,
                     int threads, const Interrupted& interrupted) {
  return for_each_matrix(matrices, threads, interrupted,
                         [&](std::size_t i) { values_of(matrices[i], may_round, values[i]); });
}

bool truncated_svd(const std::vector<MatrixView>& matrices, const std::vector<FactorsView>& factors, int threads,
                   const Interrupted& interrupted) {
  return for_each_matrix(matrices, threads, interrupted, [&](std::size_t i) { factors_of(matrices[i], factors[i]); });
}

}  // namespace surgeon
