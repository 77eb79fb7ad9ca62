// Prints how fast the two costly parts of a decomposition are beside what this machine can do: the Gram product beside
// the matrix product, the reduction beside both the matrix product and the memory. Processor time, the best of nine.
#include <algorithm>
#include <cstdio>
#include <ctime>
#include <vector>

#include "blas.hpp"
#include "matrices.hpp"
#include "simd/kernels.hpp"
#include "svd/gram_int16.hpp"
#include "svd/tridiagonal.hpp"

namespace {

using surgeon::Index;

template <typename Work>
double seconds(const Work& work) {
  double best = 1e9;
  for (int repetition = 0; repetition < 9; ++repetition) {
    const std::clock_t start = std::clock();
    work();
    best = std::min(best, static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC);
  }
  return best;
}

void show(Index n, Index k) {
  std::vector<float> a(surgeon::tests::zoo(n, k).front().data), b(a), c(surgeon::tests::at(n * n));
  const double dn = static_cast<double>(n), dk = static_cast<double>(k);
  using surgeon::blas::Transpose;
  const double product = seconds(
      [&] { surgeon::blas::multiply(Transpose::no, Transpose::yes, n, n, k, a.data(), k, b.data(), k, c.data(), n); });
  const double gram = seconds([&] { surgeon::blas::gram(true, n, k, a.data(), c.data()); });
  const bool suits = surgeon::suits_rounding(n, k);
  const double rounded = suits ? seconds([&] { surgeon::rounded_gram(true, n, k, a.data(), c.data()); }) : gram;
  const double single = seconds([&] { const surgeon::Reduced<float> reduced(n, c.data()); });
  const double exact = seconds([&] { const surgeon::Reduced<double> reduced(n, c.data()); });
  const surgeon::Reduced<float> reduced(n, c.data());
  const double roots = seconds([&] { reduced.tridiagonal().roots(0, n, 1e-6); });
  const double steps = 4.0 / 3.0 * dn * dn * dn * 1e-9;  // operations of the reduction
  const double moved = dn * dn * dn / 3.0 * 4.0 * 1e-9;  // bytes: a triangle a step, read and written, of float32
  std::printf("%5td x %-5td%12.1f%12.1f%12.1f%12.1f%12.1f%12.1f%12.1f%12.2f\n", n, k, 2 * dn * dn * dk * 1e-9 / product,
              dn * dn * dk * 1e-9 / gram, dn * dn * dk * 1e-9 / rounded, steps / single, moved / single, steps / exact,
              2 * moved / exact, roots * 1e3);
}

}  // namespace

int main() {
  surgeon::blas::use_one_thread();
  std::printf("%s loops, BLAS for %s\n", surgeon::simd::active().name, surgeon::blas::core_name());
  std::printf("%13s%12s%12s%12s%12s%12s%12s%12s%12s\n", "", "product", "Gram", "of integers", "reduction", "",
              "in float64", "", "values");
  std::printf("%13s%12s%12s%12s%12s%12s%12s%12s%12s\n", "", "GFLOP/s", "GFLOP/s", "", "GFLOP/s", "GB/s", "GFLOP/s",
              "GB/s", "ms");
  for (const auto& [n, k] : {std::pair<Index, Index>{64, 576}, {128, 1152}, {256, 2304}, {512, 4608}, {768, 3072}}) {
    show(n, k);
  }
}
