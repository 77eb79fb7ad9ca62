// Greedy elimination of units on the Schur complements of their Gram matrices.
#pragma once

#include <cstdint>
#include <vector>

#include "blas.hpp"

namespace surgeon {

// A width as one of its readers sees it, float64, row-major, symmetric (n x n); what is given is not modified.
struct ReaderView {
  const double* inverse;  // of the Gram matrix
  const double* energy;   // Gram matrix of the reader's weights
  const double* floor;    // n: what the inverse's diagonal cannot fall below
};

// Takes the units `first` out in their order, for nothing, and then the one that raises the mean cost over all readers
// least, again and again: order (n) receives all units, cost (n) what has been lost once the units up to there are
// gone. It stops once that is above `most`: the units that are left then follow in their own order, with infinite
// costs. The caller has checked that the first ones are 0 ... n - 1, each once.
void eliminate(Index n, const std::vector<ReaderView>& readers, const std::vector<std::int64_t>& first, double most,
               std::int64_t* order, double* cost);

}  // namespace surgeon
