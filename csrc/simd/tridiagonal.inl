// Eigenvalues of tridiagonal matrices by bisection, vectors by twisted factorization.

typedef std::uint64_t Bits __attribute__((vector_size(kBytes)));

inline V<double> absolute(V<double> x) { return (V<double>)((Bits)x & 0x7fffffffffffffffULL); }

// The characteristic polynomials of the leading blocks, by their recurrence: no division, and as many changes of sign
// as there are eigenvalues below the shift. A zero among them counts once, wherever its sign falls, since its
// neighbours differ in sign.
constexpr int kGroup = kShifts / kLanes<double> < 4 ? kShifts / kLanes<double> : 4;

inline void changes_of_sign(Index n, const double* diagonal, const double* squares, const V<double> (&x)[kGroup],
                            Bits (&changes)[kGroup]) {
  V<double> before[kGroup], last[kGroup];
  for (int g = 0; g < kGroup; ++g) {
    before[g] = V<double>{} + 1.0;
    last[g] = diagonal[0] - x[g];
    changes[g] = (Bits)last[g] >> 63;
  }
  for (Index i = 1; i < n;) {
    const Index stop = i + 8 < n ? i + 8 : n;
    for (; i < stop; ++i) {
#pragma GCC unroll 4
      for (int g = 0; g < kGroup; ++g) {
        const V<double> next = (diagonal[i] - x[g]) * last[g] - squares[i - 1] * before[g];
        changes[g] += ((Bits)next ^ (Bits)last[g]) >> 63;
        before[g] = last[g];
        last[g] = next;
      }
    }
    for (int g = 0; g < kGroup; ++g) {  // Back to about 1, by a power of two.
      const V<double> a = absolute(last[g]), b = absolute(before[g]);
      const V<double> larger = a > b ? a : b;
      const V<double> scale = (V<double>)(0x7fe0000000000000ULL - ((Bits)larger & 0x7ff0000000000000ULL));
      last[g] *= scale;
      before[g] *= scale;
    }
  }
}

inline void count_below(Index n, const double* diagonal, const double* squares, Index count, const double* shifts,
                        std::int64_t* counts) {
  constexpr Index lanes = kLanes<double>;
  for (Index start = 0; start < count; start += kGroup * lanes) {
    V<double> x[kGroup];
    Bits changes[kGroup];
    for (int g = 0; g < kGroup; ++g) x[g] = load(shifts + start + g * lanes);
    changes_of_sign(n, diagonal, squares, x, changes);
    for (int g = 0; g < kGroup; ++g) __builtin_memcpy(counts + start + g * lanes, &changes[g], sizeof changes[g]);
  }
}

inline void bisect(Index n, const double* diagonal, const double* squares, Index count, const std::int64_t* allowed,
                   double width, double tolerance, double* low) {
  constexpr Index lanes = kLanes<double>;
  for (Index start = 0; start < count; start += kGroup * lanes) {
    V<double> from[kGroup], x[kGroup];
    Bits limit[kGroup], changes[kGroup];
    for (int g = 0; g < kGroup; ++g) {
      from[g] = load(low + start + g * lanes);
      __builtin_memcpy(&limit[g], allowed + start + g * lanes, sizeof limit[g]);
    }
    for (double step = width / 2; step > tolerance / 2; step /= 2) {
      for (int g = 0; g < kGroup; ++g) x[g] = (from[g] + step) * (from[g] + step);
      changes_of_sign(n, diagonal, squares, x, changes);
      for (int g = 0; g < kGroup; ++g) from[g] = changes[g] <= limit[g] ? from[g] + step : from[g];
    }
    for (int g = 0; g < kGroup; ++g) store(low + start + g * lanes, from[g]);
  }
}

// One factorisation from either end, glued where the rest is smallest; the vector needs no division then.
inline void twisted_once(Index n, const double* diagonal, const double* beside, double* values, double* vectors,
                         double* work) {
  constexpr Index lanes = kLanes<double>;
  constexpr double tiny = 1e-140;
  const V<double> one = V<double>{} + 1.0;
  double *down = work, *up = work + n * kVectors;  // Reciprocals of the pivots.
  for (Index first = 0; first < kVectors; first += lanes) {
    const V<double> x = load(values + first);
    const auto pivot = [&](V<double> s) { return absolute(s) < tiny ? V<double>{} + tiny : s; };
    V<double> q = one / pivot(diagonal[0] - x);
    V<double> p = one / pivot(diagonal[n - 1] - x);
    store(down + first, q);
    store(up + (n - 1) * kVectors + first, p);
    for (Index i = 1, j = n - 2; i < n; ++i, --j) {
      q = one / pivot(diagonal[i] - x - beside[i - 1] * beside[i - 1] * q);
      p = one / pivot(diagonal[j] - x - beside[j] * beside[j] * p);
      store(down + i * kVectors + first, q);
      store(up + j * kVectors + first, p);
    }
    V<double> least = V<double>{} + 1e300, rest = least, place = {};
    for (Index i = 0; i < n; ++i) {
      V<double> gamma = diagonal[i] - x;
      if (i > 0) gamma -= beside[i - 1] * beside[i - 1] * load(down + (i - 1) * kVectors + first);
      if (i < n - 1) gamma -= beside[i] * beside[i] * load(up + (i + 1) * kVectors + first);
      const V<double> size = absolute(gamma);
      const auto better = size < least;
      least = better ? size : least;
      rest = better ? gamma : rest;
      place = better ? V<double>{} + static_cast<double>(i) : place;
    }
    V<double> z = {}, squares = {};
    for (Index i = n - 1; i >= 0; --i) {
      const V<double> here = V<double>{} + static_cast<double>(i);
      if (i < n - 1) z *= -beside[i] * load(down + i * kVectors + first);
      z = here == place ? one : z;
      squares += z * z;
      store(vectors + i * kVectors + first, z);
    }
    z = V<double>{};
    for (Index i = 0; i < n; ++i) {
      const V<double> here = V<double>{} + static_cast<double>(i);
      if (i > 0) z *= -beside[i - 1] * load(up + i * kVectors + first);
      const V<double> above = load(vectors + i * kVectors + first);
      squares += here > place ? z * z : V<double>{};
      z = here == place ? one : z;
      store(vectors + i * kVectors + first, here > place ? z : above);
    }
    V<double> scale;
    for (Index lane = 0; lane < lanes; ++lane) scale[lane] = 1.0 / __builtin_sqrt(squares[lane]);
    for (Index i = 0; i < n; ++i) store(vectors + i * kVectors + first, scale * load(vectors + i * kVectors + first));
    store(values + first, x + rest / squares);  // The Rayleigh quotient of the vector.
  }
}

inline void twisted(Index n, const double* diagonal, const double* beside, double* values, double* vectors,
                    double* work) {
  for (int round = 0; round < 2; ++round) twisted_once(n, diagonal, beside, values, vectors, work);
}
