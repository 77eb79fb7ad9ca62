// Elimination, products with a Gram matrix, and sums over a whole matrix.

inline void eliminate(Index n, Index stride, const double* column, const double* cross, const double* row, double* h,
                      double* m) {
  for (Index i = 0; i < n; ++i) {
    const double a = column[i], b = cross[i];
    double* __restrict h_row = h + i * stride, * __restrict m_row = m + i * stride;
    for (Index j = 0; j < n; ++j) {
      h_row[j] -= a * row[j];
      m_row[j] -= a * cross[j] + b * column[j];
    }
  }
}

// Holds a vector in its register. GCC would load it again for each product, and loads are what the loops below wait
// for.
inline void hold(V<float>& v) {
#if defined(__x86_64__)
  __asm__("" : "+v"(v));
#else
  static_cast<void>(v);
#endif
}

constexpr int kRows = 4;

// For a few rows, still in the cache when they are needed again; the ones after them are asked for meanwhile.
template <int Rows>
void gram_times_rows(Index n, const float* a, Index stride, float factor, const float* x, float* y, Index length,
                     float* dots) {
  constexpr Index lanes = kLanes<float>;
  V<float> sums[kProducts][kRows] = {};
  Index i = 0;
  for (; i + lanes <= n; i += lanes) {
    const V<float> x0 = load(x + i), x1 = load(x + length + i);
#pragma GCC unroll 4
    for (int r = 0; r < Rows; ++r) {
      V<float> e = load(a + r * stride + i);
      hold(e);
      if (r % 2 == 0) __builtin_prefetch(a + (Rows + r) * stride + i, 0, 2);
      sums[0][r] += e * x0;
      sums[1][r] += e * x1;
    }
  }
  V<float> f[kProducts][kRows];
  for (int v = 0; v < kProducts; ++v) {
    float total[kRows] = {};
    for (int r = 0; r < Rows; ++r) {
      for (Index j = i; j < n; ++j) total[r] += a[r * stride + j] * x[v * length + j];
    }
    add_sums<float>(sums[v], total);
    for (int r = 0; r < Rows; ++r) {
      dots[r * kProducts + v] = total[r];
      f[v][r] = V<float>{} + factor * total[r];
    }
  }
  for (i = 0; i + lanes <= n; i += lanes) {
    V<float> y0 = load(y + i), y1 = load(y + length + i);
#pragma GCC unroll 4
    for (int r = 0; r < Rows; ++r) {
      V<float> e = load(a + r * stride + i);
      hold(e);
      if (r % 2 == 1) __builtin_prefetch(a + (Rows + r) * stride + i, 0, 2);
      y0 += f[0][r] * e;
      y1 += f[1][r] * e;
    }
    store(y + i, y0);
    store(y + length + i, y1);
  }
  for (; i < n; ++i) {
    for (int v = 0; v < kProducts; ++v) {
      for (int r = 0; r < Rows; ++r) y[v * length + i] += f[v][r][0] * a[r * stride + i];
    }
  }
}

inline void gram_times(Index rows, Index n, const float* a, Index stride, float factor, const float* x, float* y,
                       Index length, float* dots) {
  Index row = 0;
  for (; row + kRows <= rows; row += kRows) {
    gram_times_rows<kRows>(n, a + row * stride, stride, factor, x, y, length, dots + row * kProducts);
  }
  for (; row < rows; ++row) {
    gram_times_rows<1>(n, a + row * stride, stride, factor, x, y, length, dots + row * kProducts);
  }
}

inline float largest(const float* a, Index size) {
  // As integers the magnitudes have the order of the numbers, with NaN above infinity.
  constexpr Index lanes = kLanes<float>;
  Integers most[4] = {};
  Index i = 0;
  for (; i + 4 * lanes <= size; i += 4 * lanes) {
#pragma GCC unroll 4
    for (int g = 0; g < 4; ++g) {
      Integers bits;
      __builtin_memcpy(&bits, a + i + g * lanes, sizeof bits);
      bits &= 0x7fffffff;
      most[g] = bits > most[g] ? bits : most[g];
    }
  }
  std::int32_t found = 0;
  for (int g = 0; g < 4; ++g) {
    for (Index lane = 0; lane < lanes; ++lane) found = most[g][lane] > found ? most[g][lane] : found;
  }
  for (; i < size; ++i) {
    std::int32_t bits;
    __builtin_memcpy(&bits, a + i, sizeof bits);
    bits &= 0x7fffffff;
    found = bits > found ? bits : found;
  }
  float result;
  __builtin_memcpy(&result, &found, sizeof result);
  return result;
}

inline double sum_of_squares(const float* a, Index size) {
  constexpr Index lanes = kLanes<double>;
  typedef float Narrow __attribute__((vector_size(kBytes / 2)));
  V<double> sums[4] = {};
  Index i = 0;
  for (; i + 4 * lanes <= size; i += 4 * lanes) {
#pragma GCC unroll 4
    for (int g = 0; g < 4; ++g) {
      Narrow narrow;
      __builtin_memcpy(&narrow, a + i + g * lanes, sizeof narrow);
      const V<double> wide = __builtin_convertvector(narrow, V<double>);
      sums[g] += wide * wide;
    }
  }
  const V<double> all = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  double total = 0;
  for (Index lane = 0; lane < lanes; ++lane) total += all[lane];
  for (; i < size; ++i) total += static_cast<double>(a[i]) * static_cast<double>(a[i]);
  return total;
}
