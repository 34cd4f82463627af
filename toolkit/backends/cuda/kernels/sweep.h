// Passes over flat memory: sums of squares, whether all is finite, filling.

namespace sweep {

const int THREADS = 256;

// A part of the sum of all squares for each block, gathered in float64.
template <class T> void squares(const T* x, float64* parts, uint64 count) {
    float64 total = 0;
    const uint64 step = (uint64)gridDim.x * THREADS;
    for (uint64 at = (uint64)blockIdx.x * THREADS + threadIdx.x; at < count; at += step) {
        const float64 value = wide(x[at]);
        total += value * value;
    }
    total = reduction::over_block<reduction::Sum<float64>, THREADS>(total, threadIdx.x);
    if (threadIdx.x == 0) parts[blockIdx.x] = total;
}

// Sets a flag where anything is NaN or infinite: such a number less itself is not zero. Who comes first does not matter.
template <int PACK, class T> void look(const T* x, uint32* flag, uint64 count) {
    const uint64 step = (uint64)gridDim.x * THREADS * PACK;
    bool is_odd = false;
    for (uint64 at = ((uint64)blockIdx.x * THREADS + threadIdx.x) * PACK; at < count; at += step) {
        const Pack<T, PACK> pack = load_some<PACK>(x + at, count - at);
#pragma unroll
        for (int lane = 0; lane < PACK; ++lane) {
            const auto value = wide(pack.items[lane]);
            is_odd |= !(value - value == 0);
        }
    }
    if (is_odd) atomicOr(flag, 1u);
}

template <class T> void fill(T* y, T value, uint64 count) {
    const uint64 at = (uint64)blockIdx.x * blockDim.x + threadIdx.x;
    if (at < count) y[at] = value;
}

}  // namespace sweep
