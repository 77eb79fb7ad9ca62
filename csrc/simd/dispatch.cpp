#include <atomic>
#include <cstring>

#include "simd/kernels.hpp"

namespace surgeon::simd {
namespace {

constexpr int kRanks = 4;

// Those that this processor has, the best first; null where it has not.
const Kernels* supported(int rank) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (rank <= 1 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")) {
    if (rank == 1) return avx512();
    return __builtin_cpu_supports("avx512vnni") ? vnni() : nullptr;
  }
  if (rank == 2 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return avx2();
#endif
  return rank == kRanks - 1 ? baseline() : nullptr;
}

std::atomic<const Kernels*> chosen{nullptr};

}  // namespace

bool choose(const char* name) {
  for (int rank = 0; rank < kRanks; ++rank) {
    const Kernels* kernels = supported(rank);
    if (kernels == nullptr) continue;
    if (std::strcmp(name, "best") != 0 && std::strcmp(name, kernels->name) != 0) continue;
    chosen.store(kernels);
    return true;
  }
  return false;
}

const Kernels& active() {
  const Kernels* kernels = chosen.load(std::memory_order_relaxed);
  if (kernels == nullptr) {
    choose("best");
    kernels = chosen.load();
  }
  return *kernels;
}

}  // namespace surgeon::simd
