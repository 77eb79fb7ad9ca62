// Gram matrices by 16-bit integers.

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
