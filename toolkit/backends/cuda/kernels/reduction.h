// Reductions: what is gathered (a State), how the lanes of a warp and the warps of a block join theirs, and the two ways
// in which threads share a tensor. The order of additions depends on sizes alone, so results repeat bit by bit.

namespace reduction {

// What functions that only floats have are computed in.
template <class T> struct Real { typedef float64 type; };
template <> struct Real<float32> { typedef float32 type; };

template <class T> struct Sum {
    typedef T State;
    static State start() { return (T)0; }
    static State taken(State state, T x, uint64) { return element::add(state, x); }
    static State joined(State a, State b) { return element::add(a, b); }
    static T finished(State state, uint64) { return state; }
};
template <class T> struct Mean : Sum<T> {
    static T finished(T state, uint64 count) { return element::divide(state, (T)count); }
};
template <class T> struct AbsoluteSum : Sum<T> {
    static T taken(T state, T x, uint64) { return element::add(state, element::absolute(x)); }
};
template <class T> struct SquareSum : Sum<T> {
    static T taken(T state, T x, uint64) { return element::add(state, element::multiply(x, x)); }
};
template <class T> struct Norm : SquareSum<T> {
    static T finished(T state, uint64) { return converted<T>(sqrt((typename Real<T>::type)state)); }
};
template <class T> struct LogarithmOfSum : Sum<T> {
    static T finished(T state, uint64) { return converted<T>(log((typename Real<T>::type)state)); }
};
template <class T> struct Product {
    typedef T State;
    static State start() { return (T)1; }
    static State taken(State state, T x, uint64) { return element::multiply(state, x); }
    static State joined(State a, State b) { return element::multiply(a, b); }
    static T finished(State state, uint64) { return state; }
};
template <class T> struct Largest {
    typedef T State;
    static State start() { return lowest_of<T>(); }
    static State taken(State state, T x, uint64) { return element::maximum(state, x); }
    static State joined(State a, State b) { return element::maximum(a, b); }
    static T finished(State state, uint64) { return state; }
};
template <class T> struct Smallest {
    typedef T State;
    static State start() { return highest_of<T>(); }
    static State taken(State state, T x, uint64) { return element::minimum(state, x); }
    static State joined(State a, State b) { return element::minimum(a, b); }
    static T finished(State state, uint64) { return state; }
};

// log(sum(exp(x))): the sum is kept in units of exp(largest), so it cannot overflow.
template <class T> struct Powers { T top, total; };
template <class T> struct LogarithmOfPowers {
    typedef Powers<T> State;
    static State start() { return {-infinity_of<T>(), (T)0}; }
    static State taken(State state, T x, uint64) { return joined(state, {x, (T)1}); }
    static State joined(State a, State b) {
        if (a.total == 0) return b.top == -infinity_of<T>() ? a : b;
        if (b.total == 0 || b.top == -infinity_of<T>()) return a;
        if (a.top == b.top) return {a.top, a.total + b.total};
        return a.top > b.top ? State{a.top, a.total + b.total * exp(b.top - a.top)}
                             : State{b.top, b.total + a.total * exp(a.top - b.top)};
    }
    static T finished(State state, uint64) { return state.total == 0 ? state.top : log(state.total) + state.top; }
};

// Where the extreme element is: the first of equal ones, or the last; NaN is more extreme than any number.
template <class T> struct Found { T value; uint32 place; };
template <class T, bool IS_LARGEST, bool IS_LAST> struct Place {
    typedef Found<T> State;
    static const uint32 NOWHERE = 0xffffffffu;
    static State start() { return {(T)0, NOWHERE}; }
    static State taken(State state, T x, uint64 place) { return joined(state, {x, (uint32)place}); }
    static State joined(State a, State b) {
        if (a.place == NOWHERE) return b;
        if (b.place == NOWHERE) return a;
        const bool a_is_nan = element::is_nan(a.value), b_is_nan = element::is_nan(b.value);
        if (a_is_nan != b_is_nan) return a_is_nan ? a : b;
        if (a_is_nan || a.value == b.value) return (a.place < b.place) != IS_LAST ? a : b;
        return (a.value > b.value) == IS_LARGEST ? a : b;
    }
    static int64 finished(State state, uint64) { return state.place; }
};

// The state of all LANES threads (a power of 2, at most a warp) that lie beside each other, in each of them.
template <class R, int LANES> typename R::State over_lanes(typename R::State state) {
#pragma unroll
    for (int distance = LANES / 2; distance; distance /= 2) state = R::joined(state, from_lane(state, distance));
    return state;
}

// The state of all THREADS threads of a block, in each of them.
template <class R, int THREADS> typename R::State over_block(typename R::State state, uint32 thread) {
    __shared__ typename R::State shared[THREADS / WARP];
    state = over_lanes<R, WARP>(state);
    __syncthreads();
    if (thread % WARP == 0) shared[thread / WARP] = state;
    __syncthreads();
    state = shared[0];
#pragma unroll
    for (int warp = 1; warp < THREADS / WARP; ++warp) state = R::joined(state, shared[warp]);
    return state;
}

// Part `part` of `parts` of a range.
inline uint64 beginning(uint64 count, uint32 part, uint32 parts) { return count / parts * part + (count % parts < part ? count % parts : part); }

// LANES threads for each result, one after the other along what is reduced. `At` tells where elements lie.
template <class R, class At, int LANES, int ROWS, bool IS_PART, class From, class To>
void rows(const From* x, To* y, uint64 results, uint64 count) {
    const uint64 row = (uint64)blockIdx.x * ROWS + threadIdx.y;
    const uint64 result = row < results ? row : results - 1;
    const uint64 end = beginning(count, blockIdx.y + 1, gridDim.y);
    const From* from = x + At::kept(result);
    typename R::State state = R::start();
#pragma unroll 4
    for (uint64 place = beginning(count, blockIdx.y, gridDim.y) + threadIdx.x; place < end; place += LANES)
        state = R::taken(state, wide(from[At::reduced(place)]), place);
    if (LANES > WARP) state = over_block<R, LANES>(state, threadIdx.x);
    else state = over_lanes<R, LANES < WARP ? LANES : WARP>(state);
    if (threadIdx.x || row >= results) return;
    if (IS_PART) ((typename R::State*)y)[(uint64)blockIdx.y * results + row] = state;
    else y[row] = narrow<To>(R::finished(state, count));
}

// A warp for 32 neighbouring results, whose elements lie beside each other; ROWS warps share what is reduced.
template <class R, class At, int ROWS, bool IS_PART, class From, class To>
void columns(const From* x, To* y, uint64 results, uint64 count) {
    __shared__ typename R::State shared[ROWS][WARP];
    const uint64 column = (uint64)blockIdx.x * WARP + threadIdx.x;
    const From* from = x + At::kept(column < results ? column : results - 1);
    const uint64 end = beginning(count, blockIdx.y + 1, gridDim.y);
    typename R::State state = R::start();
#pragma unroll 4
    for (uint64 place = beginning(count, blockIdx.y, gridDim.y) + threadIdx.y; place < end; place += ROWS)
        state = R::taken(state, wide(from[At::reduced(place)]), place);
    shared[threadIdx.y][threadIdx.x] = state;
    __syncthreads();
    if (threadIdx.y || column >= results) return;
#pragma unroll
    for (int row = 1; row < ROWS; ++row) state = R::joined(state, shared[row][threadIdx.x]);
    if (IS_PART) ((typename R::State*)y)[(uint64)blockIdx.y * results + column] = state;
    else y[column] = narrow<To>(R::finished(state, count));
}

// The parts that the kernels above left, joined in order: a warp for each result.
template <class R, class To> void join_parts(const void* parts, To* y, uint64 results, uint64 count, uint32 number) {
    const typename R::State* from = (const typename R::State*)parts;
    const uint64 result = (uint64)blockIdx.x * blockDim.y + threadIdx.y;
    typename R::State state = R::start();
    for (uint32 part = threadIdx.x; part < number && result < results; part += WARP)
        state = R::joined(state, from[(uint64)part * results + result]);
    state = over_lanes<R, WARP>(state);
    if (threadIdx.x == 0 && result < results) y[result] = narrow<To>(R::finished(state, count));
}

}  // namespace reduction
