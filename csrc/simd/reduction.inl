// Householder reduction to tridiagonal form, and the way back.

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
