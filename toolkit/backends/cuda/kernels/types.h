// Element types and what is computed with them: half width in float32, everything else in itself.

template <class T> T infinity_of();
template <> inline float32 infinity_of<float32>() { return (float32)(1.0 / 0.0); }
template <> inline float64 infinity_of<float64>() { return 1.0 / 0.0; }

template <class T> T nan_of() { return infinity_of<T>() - infinity_of<T>(); }

template <class To, class From> To same_bits(From x) {
    union { From from; To to; } both;
    both.from = x;
    return both.to;
}

struct float16 { uint16 bits; };
struct bfloat16 { uint16 bits; };

// `Widened<T>::type` is what arithmetic on T happens in.
template <class T> struct Widened { typedef T type; };
template <> struct Widened<float16> { typedef float32 type; };
template <> struct Widened<bfloat16> { typedef float32 type; };

template <class T> T wide(T x) { return x; }
inline float32 wide(float16 x) { return float16_value(x.bits); }
inline float32 wide(bfloat16 x) { return same_bits<float32>((uint32)x.bits << 16); }

template <class T> struct IsFloat { static const bool value = false; };
template <> struct IsFloat<float32> { static const bool value = true; };
template <> struct IsFloat<float64> { static const bool value = true; };
template <class T> struct IsSigned { static const bool value = (T)-1 < (T)1; };
template <> struct IsSigned<bool> { static const bool value = false; };

// The unsigned type as wide as T, in which sums and products wrap around.
template <class T> struct Unsigned { typedef T type; };
template <> struct Unsigned<int8> { typedef uint32 type; };
template <> struct Unsigned<uint8> { typedef uint32 type; };
template <> struct Unsigned<int16> { typedef uint32 type; };
template <> struct Unsigned<uint16> { typedef uint32 type; };
template <> struct Unsigned<int32> { typedef uint32 type; };
template <> struct Unsigned<int64> { typedef uint64 type; };

template <class T> T lowest_of() { return IsSigned<T>::value ? (T)((uint64)1 << (8 * sizeof(T) - 1)) : (T)0; }
template <> inline float32 lowest_of<float32>() { return -infinity_of<float32>(); }
template <> inline float64 lowest_of<float64>() { return -infinity_of<float64>(); }
template <class T> T highest_of() { return (T)~lowest_of<T>(); }
template <> inline float32 highest_of<float32>() { return infinity_of<float32>(); }
template <> inline float64 highest_of<float64>() { return infinity_of<float64>(); }
template <> inline bool highest_of<bool>() { return true; }

// `Conversion<To>::of(x)`: floats are truncated to integers, integers keep their low bits, whatever is not 0 is true.
template <class To> struct Conversion {
    template <class From> static To of(From x) { return (To)x; }
    static To of(float32 x) { return IsFloat<To>::value ? (To)x : (To)(int64)x; }
    static To of(float64 x) { return IsFloat<To>::value ? (To)x : (To)(int64)x; }
};
template <> struct Conversion<bool> {
    template <class From> static bool of(From x) { return x != (From)0; }
};
template <> struct Conversion<int32> {
    template <class From> static int32 of(From x) { return (int32)x; }
};
template <> struct Conversion<uint64> {
    template <class From> static uint64 of(From x) { return (uint64)x; }
    static uint64 of(float64 x) { return x < 0 ? (uint64)(int64)x : (uint64)x; }
    static uint64 of(float32 x) { return of((float64)x); }
};
template <> struct Conversion<float16> {
    static float16 made(uint16 bits) { float16 x; x.bits = bits; return x; }
    template <class From> static float16 of(From x) { return made(float16_bits((float64)x)); }
    static float16 of(float32 x) { return made(float16_bits(x)); }
};
template <> struct Conversion<bfloat16> {
    static bfloat16 of(float32 x) { bfloat16 y; y.bits = bfloat16_bits(x); return y; }
    template <class From> static bfloat16 of(From x) { return of((float32)x); }
};
template <class To, class From> To converted(From x) { return Conversion<To>::of(x); }

// Integers, bool and floats of full width already are what they are stored as.
template <class To, class From> struct Narrowing {
    static To of(From x) { return Conversion<To>::of(x); }
};
template <class T> struct Narrowing<T, T> {
    static T of(T x) { return x; }
};
template <class To, class From> To narrow(From x) { return Narrowing<To, From>::of(x); }

// N neighbouring elements, moved by one instruction.
template <class T, int N> struct alignas(sizeof(T) * N) Pack { T items[N]; };

template <int N, class T> Pack<T, N> load(const T* at) { return *(const Pack<T, N>*)at; }
template <int N, class T> void store(T* at, const Pack<T, N>& pack) { *(Pack<T, N>*)at = pack; }

// As above where the last pack may be cut off: `left` elements are there.
template <int N, class T> Pack<T, N> load_some(const T* at, uint64 left) {
    if (left >= N) return load<N>(at);
    Pack<T, N> pack;
#pragma unroll
    for (int lane = 0; lane < N; ++lane) pack.items[lane] = at[lane < left ? lane : 0];
    return pack;
}
template <int N, class T> void store_some(T* at, const Pack<T, N>& pack, uint64 left) {
    if (left >= N) return store<N>(at, pack);
#pragma unroll
    for (int lane = 0; lane < N; ++lane)
        if (lane < left) at[lane] = pack.items[lane];
}
