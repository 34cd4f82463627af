// Gathering and scattering. Indices count from the end where they are negative; one that is out of range is held to the
// nearest that exists, because a kernel cannot raise. Sums are taken in the order of the indices, whoever comes first.

namespace indexing {

template <class I> uint64 within(I index, uint64 size) {
    int64 place = (int64)index < 0 ? (int64)index + (int64)size : (int64)index;
    if (place < 0) place = 0;
    return place < (int64)size ? (uint64)place : size - 1;
}

struct Set { template <class T> static T of(T had, T given) { return given; } };
struct Added { template <class T> static T of(T had, T given) { return narrow<T>(element::add(wide(had), wide(given))); } };
struct Multiplied { template <class T> static T of(T had, T given) { return narrow<T>(element::multiply(wide(had), wide(given))); } };
struct Raised { template <class T> static T of(T had, T given) { return narrow<T>(element::maximum(wide(had), wide(given))); } };
struct Lowered { template <class T> static T of(T had, T given) { return narrow<T>(element::minimum(wide(had), wide(given))); } };

// y[o, i, n] = x[o, index[i], n]
template <class T, class I>
void gather(const T* x, const I* index, T* y, uint64 indices, uint64 inner, uint64 size, uint64 count) {
    const uint64 at = (uint64)blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= count) return;
    const uint64 column = at % inner, row = at / inner;
    y[at] = x[(row / indices * size + within(index[row % indices], size)) * inner + column];
}

// y[o, i, n] = x[o, index[o, i, n], n]; `At` tells where the line of x begins in which an element of y looks.
template <class At, class T, class I>
void gather_elements(const T* x, const I* index, T* y, uint64 size, uint64 step, uint64 count) {
    const uint64 at = (uint64)blockIdx.x * blockDim.x + threadIdx.x;
    if (at < count) y[at] = x[At::line(at) + within(index[at], size) * step];
}

// values[1] where the place along an axis is the index, else values[0]; an index out of range is nowhere.
template <class T, class I>
void one_hot(const I* index, const T* values, T* y, uint64 depth, uint64 inner, uint64 count) {
    const uint64 at = (uint64)blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= count) return;
    const uint64 column = at % inner, rest = at / inner, place = rest % depth;
    const int64 given = (int64)wide(index[rest / depth * inner + column]);
    y[at] = values[(uint64)(given < 0 ? given + (int64)depth : given) == place];
}

// One thread for each line along the axis: it applies the updates of the line in order.
template <class At, class Apply, class T, class I>
void scatter_elements(T* y, const I* index, const T* updates, uint64 size, uint64 step, uint64 length, uint64 between, uint64 lines) {
    const uint64 line = (uint64)blockIdx.x * blockDim.x + threadIdx.x;
    if (line >= lines) return;
    T* target = y + At::line(line);
    const uint64 first = line / between * between * length + line % between;
    for (uint64 place = 0; place < length; ++place) {
        T& had = target[within(index[first + place * between], size) * step];
        had = Apply::of(had, updates[first + place * between]);
    }
}

// The place of a tuple of indices; `At` knows the sizes.
template <class At, class T, class I>
void gather_tuples(const T* x, const I* index, T* y, uint64 inner, uint64 count) {
    const uint64 at = (uint64)blockIdx.x * blockDim.x + threadIdx.x;
    if (at < count) y[at] = x[At::place(index, at / inner) + at % inner];
}
template <class At, class T, class I>
void scatter_tuples(T* y, const I* index, const T* updates, uint64 inner, uint64 count) {
    const uint64 at = (uint64)blockIdx.x * blockDim.x + threadIdx.x;
    if (at < count) y[At::place(index, at / inner) + at % inner] = updates[at];
}
template <class At, class Apply, class T, class I>
void scatter_tuples_in_order(T* y, const I* index, const T* updates, uint64 inner, uint64 tuples) {
    const uint64 column = (uint64)blockIdx.x * blockDim.x + threadIdx.x;
    if (column >= inner) return;
    for (uint64 tuple = 0; tuple < tuples; ++tuple) {
        T& had = y[At::place(index, tuple) + column];
        had = Apply::of(had, updates[tuple * inner + column]);
    }
}

// Sums of rows that have one index. Equal indices are linked in order, and the first of each chain adds up its rows.
const uint32 NONE = 0xffffffffu;
template <class I> void link(const I* index, uint32* next, uint32* has_before, uint64 size, uint32 count) {
    const uint32 at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= count) return;
    const uint64 mine = within(index[at], size);
    uint32 other = at + 1;
    while (other < count && within(index[other], size) != mine) ++other;
    next[at] = other < count ? other : NONE;
    if (other < count) has_before[other] = 1;
}
template <class T, class I>
void add_chains(const T* g, const I* index, const uint32* next, const uint32* has_before, T* y, uint64 size, uint64 inner) {
    const uint32 first = blockIdx.x;
    if (has_before[first]) return;
    T* row = y + within(index[first], size) * inner;
    for (uint64 column = (uint64)blockIdx.y * blockDim.x + threadIdx.x; column < inner; column += (uint64)gridDim.y * blockDim.x) {
        typename Widened<T>::type total = 0;
        for (uint32 at = first; at != NONE; at = next[at]) total += wide(g[at * inner + column]);
        row[column] = narrow<T>(total);
    }
}

// As above for few rows: every thread looks at all indices, and reads what has its own.
template <class T, class I>
void add_matching(const T* g, const I* index, T* y, uint64 size, uint64 inner, uint64 count) {
    const uint64 column = (uint64)blockIdx.x * WARP + threadIdx.x, row = blockIdx.y;
    typedef typename Widened<T>::type State;
    __shared__ State shared[8][WARP];
    State total = 0;
    for (uint64 at = threadIdx.y; at < count; at += 8)
        if (column < inner && within(index[at], size) == row) total += wide(g[at * inner + column]);
    shared[threadIdx.y][threadIdx.x] = total;
    __syncthreads();
    if (threadIdx.y || column >= inner) return;
    for (int other = 1; other < 8; ++other) total += shared[other][threadIdx.x];
    y[row * inner + column] = narrow<T>(total);
}

// What lies above or below a diagonal of the last two axes.
template <class T> void triangle(const T* x, T* y, uint64 rows, uint64 columns, int64 diagonal, bool upper, uint64 count) {
    const uint64 at = (uint64)blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= count) return;
    const int64 distance = (int64)(at % columns) - (int64)(at / columns % rows);
    y[at] = (upper ? distance >= diagonal : distance <= diagonal) ? x[at] : (T)0;
}

// The running total of each line; lines of `length` elements that lie `step` apart.
template <class Total, class T, bool IS_EXCLUSIVE, bool IS_REVERSED>
void run_along(const T* x, T* y, uint64 length, uint64 step, uint64 lines) {
    const uint64 line = (uint64)blockIdx.x * blockDim.x + threadIdx.x;
    if (line >= lines) return;
    const uint64 first = line / step * step * length + line % step;
    typename Widened<T>::type total = Total::start();
    for (uint64 number = 0; number < length; ++number) {
        const uint64 at = first + (IS_REVERSED ? length - 1 - number : number) * step;
        const typename Widened<T>::type next = Total::taken(total, wide(x[at]), 0);
        y[at] = narrow<T>(IS_EXCLUSIVE ? total : next);
        total = next;
    }
}

}  // namespace indexing
