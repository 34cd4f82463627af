// What only the device has: conversions of half width, shuffles within a warp, atomic sums.
//
// Everything else in this folder is plain C++, so that it can also be compiled for the host, where another header takes
// the place of this one. Functions need no annotation: NVRTC is told that they are for the device.

typedef signed char int8;
typedef unsigned char uint8;
typedef short int16;
typedef unsigned short uint16;
typedef int int32;
typedef unsigned int uint32;
typedef long long int64;
typedef unsigned long long uint64;
typedef float float32;
typedef double float64;

inline uint16 float16_bits(float32 x) {
    uint16 bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x));
    return bits;
}

inline uint16 float16_bits(float64 x) {
    uint16 bits;
    asm("cvt.rn.f16.f64 %0, %1;" : "=h"(bits) : "d"(x));
    return bits;
}

inline float32 float16_value(uint16 bits) {
    float32 x;
    asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(bits));
    return x;
}

inline uint16 bfloat16_bits(float32 x) {
#if __CUDA_ARCH__ >= 800
    uint16 bits;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(x));
    return bits;
#else
    const uint32 whole = __float_as_uint(x);
    if ((whole & 0x7fffffffu) > 0x7f800000u) return (uint16)((whole >> 16) | 0x40u);
    return (uint16)((whole + 0x7fffu + ((whole >> 16) & 1u)) >> 16);
#endif
}

const uint32 WARP = 32;
const uint32 ALL_LANES = 0xffffffffu;

// A value of any size, 32 bits at a time.
template <class T> union Words { T value; uint32 words[(sizeof(T) + 3) / 4]; };

// What the lane at the other side of `distance` holds; all lanes of the warp take part.
template <class T> T from_lane(T value, uint32 distance) {
    Words<T> moved;
    moved.value = value;
#pragma unroll
    for (int word = 0; word < (sizeof(T) + 3) / 4; ++word)
        moved.words[word] = __shfl_xor_sync(ALL_LANES, moved.words[word], distance);
    return moved.value;
}

// What the lane `distance` places before this one holds (its own value where there is none).
template <class T> T from_lane_before(T value, uint32 distance) {
    Words<T> moved;
    moved.value = value;
#pragma unroll
    for (int word = 0; word < (sizeof(T) + 3) / 4; ++word)
        moved.words[word] = __shfl_up_sync(ALL_LANES, moved.words[word], distance);
    return moved.value;
}
