// Vectors of the instruction set at hand, and sums over them.

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
