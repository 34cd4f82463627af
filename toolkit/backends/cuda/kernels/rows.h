// Normalisation of rows, and its gradient: a block for each row, which is read again from the caches.

namespace rows {

template <class T> struct Two { T first, second; };
template <class T> struct Pair {
    typedef Two<T> State;
    static State start() { return {(T)0, (T)0}; }
    static State joined(State a, State b) { return {a.first + b.first, a.second + b.second}; }
};

// (x - mean) / sqrt(variance + epsilon) * scale + bias; without IS_CENTRED the mean counts as 0.
template <class At, int THREADS, bool IS_CENTRED, class T, class S, class M>
void normalise(const T* x, const S* scale, const S* bias, T* y, M* mean_of, M* inverse_of, uint64 width,
               typename Widened<T>::type epsilon) {
    typedef typename Widened<T>::type W;
    const uint64 row = blockIdx.x, first = row * width;
    W mean = 0;
    if (IS_CENTRED) {
        for (uint64 at = threadIdx.x; at < width; at += THREADS) mean += wide(x[first + at]);
        mean = reduction::over_block<reduction::Sum<W>, THREADS>(mean, threadIdx.x) / (W)width;
    }
    W squares = 0;
    for (uint64 at = threadIdx.x; at < width; at += THREADS) {
        const W centred = wide(x[first + at]) - mean;
        squares += centred * centred;
    }
    squares = reduction::over_block<reduction::Sum<W>, THREADS>(squares, threadIdx.x);
    const W inverse = (W)1 / sqrt(squares / (W)width + epsilon);
    for (uint64 at = threadIdx.x; at < width; at += THREADS) {
        const uint64 channel = At::channel(row, at);
        const W scaled = (wide(x[first + at]) - mean) * inverse * wide(scale[channel]);
        y[first + at] = narrow<T>(bias ? scaled + wide(bias[channel]) : scaled);
    }
    if (threadIdx.x) return;
    if (mean_of) mean_of[row] = converted<M>(mean);
    if (inverse_of) inverse_of[row] = converted<M>(inverse);
}

template <int THREADS, class T, class S, class M>
void gradient_of_rows(const T* g, const T* x, const S* scale, const M* mean_of, const M* inverse_of, T* dx, uint64 width) {
    typedef typename Widened<T>::type W;
    const uint64 first = (uint64)blockIdx.x * width;
    const W mean = wide(mean_of[blockIdx.x]), inverse = wide(inverse_of[blockIdx.x]);
    Two<W> sums = {0, 0};
    for (uint64 at = threadIdx.x; at < width; at += THREADS) {
        const W scaled = wide(g[first + at]) * wide(scale[at]);
        sums.first += scaled;
        sums.second += scaled * ((wide(x[first + at]) - mean) * inverse);
    }
    sums = reduction::over_block<Pair<W>, THREADS>(sums, threadIdx.x);
    for (uint64 at = threadIdx.x; at < width; at += THREADS) {
        const W scaled = wide(g[first + at]) * wide(scale[at]);
        const W centred = (wide(x[first + at]) - mean) * inverse;
        dx[first + at] = narrow<T>((scaled - sums.first / (W)width - centred * (sums.second / (W)width)) * inverse);
    }
}

// The gradients of scale and bias: sums over the rows, in parts that `join` adds up in order.
template <class T, class M, class W>
void gradient_of_columns(const T* g, const T* x, const M* mean_of, const M* inverse_of, Two<W>* parts, uint64 height, uint64 width) {
    __shared__ Two<W> shared[8][WARP];
    const uint64 column = (uint64)blockIdx.x * WARP + threadIdx.x;
    const uint64 end = reduction::beginning(height, blockIdx.y + 1, gridDim.y);
    Two<W> sums = {0, 0};
    for (uint64 row = reduction::beginning(height, blockIdx.y, gridDim.y) + threadIdx.y; row < end && column < width; row += 8) {
        const W given = wide(g[row * width + column]);
        sums.first += given * ((wide(x[row * width + column]) - (W)wide(mean_of[row])) * (W)wide(inverse_of[row]));
        sums.second += given;
    }
    shared[threadIdx.y][threadIdx.x] = sums;
    __syncthreads();
    if (threadIdx.y || column >= width) return;
    for (int other = 1; other < 8; ++other) sums = Pair<W>::joined(sums, shared[other][threadIdx.x]);
    parts[blockIdx.y * width + column] = sums;
}
template <class W, class S> void join(const Two<W>* parts, S* dscale, S* dbias, uint64 width, uint32 number) {
    const uint64 column = (uint64)blockIdx.x * blockDim.x + threadIdx.x;
    if (column >= width) return;
    Two<W> sums = {0, 0};
    for (uint32 part = 0; part < number; ++part) sums = Pair<W>::joined(sums, parts[part * width + column]);
    if (dscale) dscale[column] = narrow<S>(sums.first);
    if (dbias) dbias[column] = narrow<S>(sums.second);
}

}  // namespace rows
