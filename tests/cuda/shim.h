// Stands in for kernels/device.h where kernels are compiled for the host: the threads of a block run one after another,
// as fibres that change places wherever the threads of a device would wait for each other.

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

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

#define __global__ static
#define __shared__ static
#define __restrict__
#define __launch_bounds__(threads)

struct Place { uint32 x, y, z; };
static Place threadIdx, blockIdx, blockDim, gridDim;

// Halves, bit by bit: round to nearest, ties to even.
static uint16 float16_bits(float64 x) {
    uint64 whole;
    memcpy(&whole, &x, 8);
    const uint16 sign = (uint16)(whole >> 48 & 0x8000);
    if (isnan(x)) return sign | 0x7e00;
    const float64 size = fabs(x);
    if (size >= 65520.0) return sign | 0x7c00;
    int exponent;
    frexp(size, &exponent);
    if (size == 0 || exponent < -13) exponent = -13;  // subnormal numbers share an exponent
    const uint32 steps = (uint32)nearbyint(ldexp(size, 11 - exponent));
    return sign | (uint16)(((uint32)(exponent + 13) << 10) + steps);
}
static uint16 float16_bits(float32 x) { return float16_bits((float64)x); }
static float32 float16_value(uint16 bits) {
    const uint32 exponent = bits >> 10 & 31, steps = bits & 1023;
    float32 size = ldexpf((float32)(exponent ? steps + 1024 : steps), (int)(exponent ? exponent : 1) - 25);
    if (exponent == 31) size = steps ? NAN : INFINITY;
    return bits & 0x8000 ? -size : size;
}
static uint16 bfloat16_bits(float32 x) {
    uint32 whole;
    memcpy(&whole, &x, 4);
    if (isnan(x)) return (uint16)(whole >> 16 | 0x40);
    return (uint16)((whole + 0x7fff + (whole >> 16 & 1)) >> 16);
}

// Fibres --------------------------------------------------------------------------------------------------------------

const uint32 MOST_THREADS = 1024, STACK = 1 << 16, WARP = 32;
static ucontext_t scheduler, fibres[MOST_THREADS];
static char* stacks;
static bool is_done[MOST_THREADS];
static uint32 running;
struct Mailbox { uint64 words[4]; };
static Mailbox mailboxes[MOST_THREADS];
static void (*kernel)(void**);
static void** given;

static void place_thread(uint32 number) {
    running = number;
    threadIdx.x = number % blockDim.x;
    threadIdx.y = number / blockDim.x % blockDim.y;
    threadIdx.z = number / (blockDim.x * blockDim.y);
}
static void run_fibre() {
    kernel(given);
    is_done[running] = true;
}

// All threads of the block come here before any goes on; what warps wait for is held to the same.
static void __syncthreads() { swapcontext(&fibres[running], &scheduler); }
static void __syncwarp() { __syncthreads(); }

template <class T> static T from_mailbox(T value, uint32 other) {
    memcpy(&mailboxes[running], &value, sizeof(T));
    __syncthreads();
    T found;
    memcpy(&found, &mailboxes[other], sizeof(T));
    __syncthreads();
    return found;
}
template <class T> static T from_lane(T value, uint32 distance) { return from_mailbox(value, running ^ distance); }
template <class T> static T from_lane_before(T value, uint32 distance) {
    return from_mailbox(value, running % WARP >= distance ? running - distance : running);
}
template <class T> static T atomicOr(T* at, T bits) { const T had = *at; *at = had | bits; return had; }
template <class T> static T atomicAdd(T* at, T more) { const T had = *at; *at = had + more; return had; }
static void __threadfence() {}

static void run_block(bool waits) {
    const uint32 threads = blockDim.x * blockDim.y * blockDim.z;
    if (!waits) {
        for (uint32 number = 0; number < threads; ++number) {
            place_thread(number);
            kernel(given);
        }
        return;
    }
    if (!stacks) stacks = (char*)malloc((size_t)MOST_THREADS * STACK);
    for (uint32 number = 0; number < threads; ++number) {
        getcontext(&fibres[number]);
        fibres[number].uc_stack.ss_sp = stacks + (size_t)number * STACK;
        fibres[number].uc_stack.ss_size = STACK;
        fibres[number].uc_link = &scheduler;
        makecontext(&fibres[number], run_fibre, 0);
        is_done[number] = false;
    }
    for (bool is_left = true; is_left;) {
        is_left = false;
        for (uint32 number = 0; number < threads; ++number) {
            if (is_done[number]) continue;
            place_thread(number);
            swapcontext(&scheduler, &fibres[number]);
            is_left |= !is_done[number];
        }
    }
}

static void run_grid(void (*function)(void**), void** arguments, const uint32* grid, bool waits) {
    kernel = function;
    given = arguments;
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {grid[3], grid[4], grid[5]};
    for (blockIdx.z = 0; blockIdx.z < gridDim.z; ++blockIdx.z)
        for (blockIdx.y = 0; blockIdx.y < gridDim.y; ++blockIdx.y)
            for (blockIdx.x = 0; blockIdx.x < gridDim.x; ++blockIdx.x) run_block(waits);
}
