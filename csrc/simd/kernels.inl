// Included by one file for each instruction set, inside a namespace without a name, with kBytes defined: the width of
// its vectors. Nothing of the standard library is used here: its templates would be compiled with these instructions
// and could then be linked into code that runs without them.

template <typename T>
struct Wide {
  typedef T type __attribute__((vector_size(kBytes)));
};
template <typename T>
using V = typename Wide<T>::type;
template <typename T>
constexpr Index kLanes = kBytes / static_cast<Index>(sizeof(T));

typedef std::int32_t Integers __attribute__((vector_size(kBytes)));
typedef std::uint32_t Words __attribute__((vector_size(kBytes)));

typedef float FourFloats __attribute__((vector_size(16)));
typedef double FourDoubles __attribute__((vector_size(32)));

template <typename T>
V<T> load(const T* p) {
  V<T> v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}

template <typename T>
void store(T* p, V<T> v) {
  __builtin_memcpy(p, &v, sizeof v);
}

// The vector's lanes, folded to four of the same sum.
inline void fold(const V<float>& v, FourFloats& out) {
#if PYSURGEON_VECTOR_BYTES == 64
  const auto half = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7) +
                    __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
  out = __builtin_shufflevector(half, half, 0, 1, 2, 3) + __builtin_shufflevector(half, half, 4, 5, 6, 7);
#elif PYSURGEON_VECTOR_BYTES == 32
  out = __builtin_shufflevector(v, v, 0, 1, 2, 3) + __builtin_shufflevector(v, v, 4, 5, 6, 7);
#else
  out = v;
#endif
}
inline void fold(const V<double>& v, FourDoubles& out) {
#if PYSURGEON_VECTOR_BYTES == 64
  out = __builtin_shufflevector(v, v, 0, 1, 2, 3) + __builtin_shufflevector(v, v, 4, 5, 6, 7);
#elif PYSURGEON_VECTOR_BYTES == 32
  out = v;
#else
  out = FourDoubles{v[0], v[1], 0.0, 0.0};
#endif
}

template <typename T>
struct FourOf;
template <>
struct FourOf<float> {
  using type = FourFloats;
};
template <>
struct FourOf<double> {
  using type = FourDoubles;
};

// The sums of the lanes of four vectors.
template <typename T>
void add_sums(const V<T> (&v)[4], T* to) {
  typename FourOf<T>::type q[4], before;
  for (int r = 0; r < 4; ++r) fold(v[r], q[r]);
  const auto s01 = __builtin_shufflevector(q[0], q[1], 0, 4, 2, 6) + __builtin_shufflevector(q[0], q[1], 1, 5, 3, 7);
  const auto s23 = __builtin_shufflevector(q[2], q[3], 0, 4, 2, 6) + __builtin_shufflevector(q[2], q[3], 1, 5, 3, 7);
  const auto sums = __builtin_shufflevector(s01, s23, 0, 1, 4, 5) + __builtin_shufflevector(s01, s23, 2, 3, 6, 7);
  __builtin_memcpy(&before, to, sizeof before);
  before += sums;
  __builtin_memcpy(to, &before, sizeof before);
}

template <typename T>
T dot(const T* x, const T* y, Index size) {  // size: a multiple of kPadding
  V<T> sums = {};
  for (Index i = 0; i < size; i += kLanes<T>) sums += load(x + i) * load(y + i);
  T total = 0;
  for (Index lane = 0; lane < kLanes<T>; ++lane) total += sums[lane];
  return total;
}

// On the leading `size` rows and columns: a -= v w' + w v', then y = a x. Vectors are zero from `size` to the next
// multiple of kPadding, and rows beyond it may be written on up to the next multiple of four.
template <typename T>
void update_and_multiply(Index size, T* a, Index stride, const T* v, const T* w, const T* x, T* y) {
  constexpr Index lanes = kLanes<T>;
  for (Index i = 0; i < padded(size); ++i) y[i] = 0;
  for (Index row = 0; row < size; row += 4) {
    T* a_row[4];
    T v_row[4], w_row[4], x_row[4];
    V<T> dots[4];
    for (int r = 0; r < 4; ++r) {
      a_row[r] = a + (row + r) * stride;
      v_row[r] = v[row + r];
      w_row[r] = w[row + r];
      x_row[r] = x[row + r];
      dots[r] = V<T>{};
    }
    const Index diagonal_block = row / kPadding * kPadding;
    for (Index c = 0; c < diagonal_block; c += lanes) {
      const V<T> vc = load(v + c), wc = load(w + c), xc = load(x + c);
      V<T> yc = load(y + c);
#pragma GCC unroll 4
      for (int r = 0; r < 4; ++r) {
        V<T> e = load(a_row[r] + c);
        e -= v_row[r] * wc;
        e -= w_row[r] * vc;
        store(a_row[r] + c, e);
        dots[r] += e * xc;
        yc += e * x_row[r];
      }
      store(y + c, yc);
    }
    for (Index c = diagonal_block; c < diagonal_block + kPadding; c += lanes) {  // Full: nothing for y from above.
      const V<T> vc = load(v + c), wc = load(w + c), xc = load(x + c);
#pragma GCC unroll 4
      for (int r = 0; r < 4; ++r) {
        V<T> e = load(a_row[r] + c);
        e -= v_row[r] * wc;
        e -= w_row[r] * vc;
        store(a_row[r] + c, e);
        dots[r] += e * xc;
      }
    }
    add_sums<T>(dots, y + row);
  }
}

inline float root(float x) { return __builtin_sqrtf(x); }
inline double root(double x) { return __builtin_sqrt(x); }

// Squared norms beside 1 that no digit of the result would show. Far smaller ones have no accurate root any more, and
// what is made of them is no reflection.
template <typename T>
constexpr T kNothing = sizeof(T) == sizeof(float) ? static_cast<T>(1e-26) : static_cast<T>(1e-60);

template <typename T>
void reduce(Index n, T* a, Index stride, T* diagonal, T* beside, T* tau, T* work) {
  const Index length = padded(n);
  T *v = work, *w = v + length, *x = w + length, *y = x + length;
  for (Index i = 0; i < 4 * length; ++i) work[i] = 0;
  for (Index r = n - 1; r >= 0; --r) {
    // What the step before changes of this row, which that step's pass leaves to this one.
    T* row = a + r * stride;
    const T vr = v[r], wr = w[r];
    for (Index i = 0; i <= r; ++i) row[i] -= vr * w[i] + wr * v[i];
    diagonal[r] = row[r];
    if (r == 0) break;
    v[r] = w[r] = 0;

    const Index whole = padded(r);
    for (Index i = 0; i < r - 1; ++i) x[i] = row[i];
    for (Index i = r - 1; i < whole; ++i) x[i] = 0;
    const T alpha = row[r - 1];
    const T rest = dot(x, x, whole);
    if (!(rest > kNothing<T>)) {  // Nothing to eliminate: the change that is due is made, and none follows.
      beside[r - 1] = alpha;
      tau[r - 1] = 0;
      for (Index i = 0; i < r - 1; ++i) row[i] = 0;
      update_and_multiply(r, a, stride, v, w, x, y);
      for (Index i = 0; i < whole; ++i) v[i] = w[i] = 0;
      continue;
    }
    const T length_of_row = root(alpha * alpha + rest);
    const T beta = alpha > 0 ? -length_of_row : length_of_row;
    const T factor = (beta - alpha) / beta;
    const T scale = 1 / (alpha - beta);
    for (Index i = 0; i < r - 1; ++i) x[i] *= scale;
    x[r - 1] = 1;
    beside[r - 1] = beta;
    tau[r - 1] = factor;
    update_and_multiply(r, a, stride, v, w, x, y);
    const T shift = factor * factor * dot(x, y, whole) / 2;
    for (Index i = 0; i < r; ++i) row[i] = x[i];
    for (Index i = 0; i < whole; ++i) {
      v[i] = x[i];
      w[i] = factor * y[i] - shift * x[i];
    }
    for (Index i = r; i < whole; ++i) w[i] = 0;
  }
}

// Reflectors that are applied at a time, as many as the registers hold sums of.
constexpr int kReflectors = kBytes == 64 ? 8 : 4;

template <typename T>
struct Reflectors {
  Index length;                       // of the longest
  const T* elements;                  // length x kReflectors, zeros where one has no more
  T inner[kReflectors][kReflectors];  // dot products
  T tau[kReflectors];
};

// x (length x Width vectors, one lane for each vector that is turned) := H ... H x, the first reflector first.
template <int Width, typename T>
void reflect(const Reflectors<T>& h, T* x) {
  constexpr Index lanes = kLanes<T>;
  V<T> w[kReflectors][Width] = {};
  const T* v = h.elements;
  for (Index j = 0; j < h.length; ++j, v += kReflectors) {
    V<T> xj[Width];
    for (int i = 0; i < Width; ++i) xj[i] = load(x + (j * Width + i) * lanes);
#pragma GCC unroll 8
    for (int r = 0; r < kReflectors; ++r) {
      for (int i = 0; i < Width; ++i) w[r][i] += v[r] * xj[i];
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kReflectors; ++r) {  // What the reflectors before it change is due first.
    for (int i = 0; i < Width; ++i) {
#pragma GCC unroll 8
      for (int before = 0; before < r; ++before) w[r][i] -= h.inner[r][before] * w[before][i];
      w[r][i] *= h.tau[r];
    }
  }
  v = h.elements;
  for (Index j = 0; j < h.length; ++j, v += kReflectors) {
    for (int i = 0; i < Width; ++i) {
      V<T> e = load(x + (j * Width + i) * lanes);
#pragma GCC unroll 8
      for (int r = 0; r < kReflectors; ++r) e -= v[r] * w[r][i];
      store(x + (j * Width + i) * lanes, e);
    }
  }
}

// Where vector i of `count` lies: its first element in x, and how far apart its elements are. Twice as many as there
// are lanes make a group, and what is left over, if it is few enough, half of one.
template <typename T>
T* lane_of(Index i, Index count, Index n, T* x, Index& step) {
  constexpr Index lanes = kLanes<T>;
  const Index group = i / (2 * lanes) * 2 * lanes;
  step = count - group > lanes ? 2 * lanes : lanes;
  return x + group * n + (i - group);
}

template <typename T>
void turn_back(Index n, const T* a, Index stride, const T* tau, Index count, T* vectors, T* work) {
  constexpr Index lanes = kLanes<T>;
  static_assert(kReflectors + 2 * lanes <= kTurned, "work is too short");
  T *elements = work, *x = work + n * kReflectors;
  for (Index i = 0; i < n * (count + 2 * lanes); ++i) x[i] = 0;
  Index step;
  for (Index i = 0; i < count; ++i) {
    T* to = lane_of(i, count, n, x, step);
    for (Index j = 0; j < n; ++j) to[j * step] = vectors[i * n + j];
  }
  for (Index first = 1; first < n; first += kReflectors) {
    const Index used = n - first < kReflectors ? n - first : kReflectors;
    Reflectors<T> h{first + used - 1, elements, {}, {}};
    for (int r = 0; r < kReflectors; ++r) {
      const T* row = a + (first + r) * stride;
      const Index length = r < used ? first + r : 0;
      h.tau[r] = r < used ? tau[first + r - 1] : 0;
      for (Index j = 0; j < length; ++j) elements[j * kReflectors + r] = row[j];
      for (Index j = length; j < h.length; ++j) elements[j * kReflectors + r] = 0;
    }
    for (Index j = 0; j < h.length; ++j) {
      const T* v = elements + j * kReflectors;
#pragma GCC unroll 8
      for (int r = 0; r < kReflectors; ++r) {
        for (int other = 0; other < kReflectors; ++other) h.inner[r][other] += v[r] * v[other];
      }
    }
    for (Index group = 0; group < count; group += 2 * lanes) {
      if (count - group > lanes) {
        reflect<2>(h, x + group * n);
      } else {
        reflect<1>(h, x + group * n);
      }
    }
  }
  for (Index i = 0; i < count; ++i) {
    const T* from = lane_of(i, count, n, x, step);
    for (Index j = 0; j < n; ++j) vectors[i * n + j] = from[j * step];
  }
}

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

#if defined(__AVX512VNNI__)
// Elements of two vectors in turn: of their first halves, and of their last.
inline V<float> first_halves(V<float> a, V<float> b) {
  return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}
inline V<float> last_halves(V<float> a, V<float> b) {
  return __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}

inline void transpose(V<float> (&rows)[16]) {
  V<float> next[16];
#pragma GCC unroll 4
  for (int round = 0; round < 4; ++round) {  // The eight bits of an element's place turn by one; by four in the end.
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
      next[2 * i] = first_halves(rows[i], rows[i + 8]);
      next[2 * i + 1] = last_halves(rows[i], rows[i + 8]);
    }
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) rows[i] = next[i];
  }
}

// Lane i becomes what `combine` makes of the lanes of vector i; rows: combined halves of vectors i and i + 8.
template <typename Combine>
V<float> across(V<float> (&rows)[8], const Combine& combine) {
#pragma GCC unroll 3
  for (int half = 4; half > 0; half /= 2) {
#pragma GCC unroll 4
    for (int i = 0; i < half; ++i) {
      rows[i] = combine(first_halves(rows[i], rows[i + half]), last_halves(rows[i], rows[i + half]));
    }
  }
  return rows[0];
}

inline V<float> add(V<float> a, V<float> b) { return a + b; }
inline V<float> larger(V<float> a, V<float> b) { return a > b ? a : b; }

inline V<float> roots(V<float> x) {
  __asm__("vsqrtps %1, %0" : "=v"(x) : "v"(x));
  return x;
}

// Where the next row begins, found when it is needed. GCC would keep the places of all rows, in memory.
inline const float* next_row(const float* row, Index stride) {
  row += stride;
  __asm__("" : "+r"(row));
  return row;
}

// The next random numbers (xorshift).
inline void step(Words& state) {
  state ^= state << 13;
  state ^= state >> 17;
  state ^= state << 5;
}

// Pairs of 16-bit integers with another 16 bits behind the point: random ones are added there, and then cut off.
inline Words rounded_pairs(V<float> low, V<float> high, Words random) {
  const Words l = (Words) __builtin_convertvector(low, Integers), h = (Words) __builtin_convertvector(high, Integers);
  return ((l + (random & 0xffff)) >> 16) | ((h + (random >> 16)) & 0xffff0000);
}

// The largest integers, and the longest vectors of kRounded of them: whichever way each element is rounded, it fits
// into 16 bits and a dot product into 32.
constexpr float kLargestRounded = 32766.0F;
constexpr float kLongestRounded = 46330.0F;

inline void round_block(bool by_row, const float* x, Index stride, std::int32_t* packed, float* scale,
                        std::uint32_t* random) {
  constexpr Index lanes = kLanes<float>;  // Half of a block's vectors, and of the elements of each.
  for (Index first = 0; first < kRounded; first += lanes) {
    V<float> squares, most;
    if (by_row) {
      V<float> sums[8], largest_ones[8];
      const float* row = x + first * stride;
#pragma GCC unroll 8
      for (int r = 0; r < 8; ++r, row = next_row(row, stride)) {
        V<float> sum[2], more[2];
        for (int half = 0; half < 2; ++half) {
          const float* here = row + half * 8 * stride;
          const V<float> low = load(here), high = load(here + lanes);
          __builtin_prefetch(here + kRounded * stride, 0, 2);
          __builtin_prefetch(here + kRounded * stride + lanes, 0, 2);
          sum[half] = low * low + high * high;
          more[half] = larger(low * low, high * high);
        }
        sums[r] = add(first_halves(sum[0], sum[1]), last_halves(sum[0], sum[1]));
        largest_ones[r] = larger(first_halves(more[0], more[1]), last_halves(more[0], more[1]));
      }
      squares = across(sums, add);
      most = across(largest_ones, larger);
    } else {
      squares = most = V<float>{};
      for (Index j = 0; j < kRounded; ++j) {
        const V<float> e = load(x + j * stride + first);
        __builtin_prefetch(x + j * stride + kRounded + first, 0, 2);
        squares += e * e;
        most = larger(most, e * e);
      }
    }
    // What is added keeps numbers small whose squares vanish (even where denormal ones count as zero), and zeros from a
    // division by zero.
    const V<float> unit = roots(larger(most * (1 / (kLargestRounded * kLargestRounded)),
                                       squares * (1 / (kLongestRounded * kLongestRounded)))) +
                          2e-19F;
    store(scale + first, unit);
    const V<float> factor = 65536.0F / unit;
    Words state;
    __builtin_memcpy(&state, random + first, sizeof state);
    std::int32_t* to = packed + first;
    if (by_row) {
      const float* row = x + first * stride;
      V<float> pairs[16];
#pragma GCC unroll 16
      for (int r = 0; r < lanes; ++r, row = next_row(row, stride)) {
        step(state);
        const V<float> f = V<float>{} + factor[r];
        pairs[r] = (V<float>)rounded_pairs(load(row) * f, load(row + lanes) * f, state);
      }
      transpose(pairs);
#pragma GCC unroll 16
      for (Index j = 0; j < lanes; ++j) __builtin_memcpy(to + j * kRounded, &pairs[j], sizeof pairs[j]);
    } else {
      for (Index j = 0; j < lanes; ++j) {
        step(state);
        const float *low = x + j * stride + first, *high = low + lanes * stride;
        const Words pairs = rounded_pairs(load(low) * factor, load(high) * factor, state);
        __builtin_memcpy(to + j * kRounded, &pairs, sizeof pairs);
      }
    }
    __builtin_memcpy(random + first, &state, sizeof state);
  }
}

// sums += the dot products of pairs of 16-bit integers.
inline Integers add_pairs(Integers sums, Integers a, Integers b) {
  __asm__("vpdpwssd %2, %1, %0" : "+v"(sums) : "v"(a), "v"(b));
  return sums;
}

inline void multiply_rounded(Index blocks, const std::int32_t* a, const float* a_scale, const std::int32_t* b,
                             const float* b_scale, float* c, Index stride) {
  constexpr int lanes = kLanes<float>;
  for (Index block = 0; block < blocks; ++block) {
    Integers sums[kRoundedRows][2];
#pragma GCC unroll 8
    for (int r = 0; r < kRoundedRows; ++r) sums[r][0] = sums[r][1] = Integers{};
    for (Index j = 0; j < kRounded / 2; ++j) {
      Integers b0, b1;
      __builtin_memcpy(&b0, b, sizeof b0);
      __builtin_memcpy(&b1, b + lanes, sizeof b1);
#pragma GCC unroll 8
      for (int r = 0; r < kRoundedRows; ++r) {
        const Integers ar = Integers{} + a[r];
        sums[r][0] = add_pairs(sums[r][0], ar, b0);
        sums[r][1] = add_pairs(sums[r][1], ar, b1);
      }
      a += kRounded;
      b += kRounded;
    }
    const V<float> s0 = load(b_scale), s1 = load(b_scale + lanes);
#pragma GCC unroll 8
    for (int r = 0; r < kRoundedRows; ++r) {
      float* to = c + r * stride;
      store(to, load(to) + a_scale[r] * s0 * __builtin_convertvector(sums[r][0], V<float>));
      store(to + lanes, load(to + lanes) + a_scale[r] * s1 * __builtin_convertvector(sums[r][1], V<float>));
    }
    a_scale += kRounded;
    b_scale += kRounded;
  }
}
#endif
