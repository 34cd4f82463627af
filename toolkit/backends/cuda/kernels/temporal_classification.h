// Connectionist temporal classification: paths through the places of a target, its symbols with blanks around them.
// Chances are kept as logarithms, in float64. A symbol that is no class makes them NaN.

namespace classification {

// log(exp(a) + exp(b)), of equal infinities too.
float64 joined(float64 a, float64 b) {
    if (a == b) return a + 0.6931471805599453;
    const float64 high = a < b ? b : a, low = a < b ? a : b;
    return high + log1p(exp(low - high));
}

// What all rows of a batch share.
struct Sizes {
    uint64 time, classes, longest;
    int64 blank;
    uint64 width() const { return 2 * longest + 1; }
};

// One row: its scores (time, classes), its target, and how many steps and symbols count.
template <class T, class L> struct Row {
    const T* scores;
    const L* target;
    Sizes sizes;
    int64 steps, symbols;
    bool is_long;  // more symbols than the target has room for

    uint64 places() const { return symbols > 0 ? 2 * (uint64)symbols + 1 : 1; }
    int64 symbol(uint64 place) const { return place % 2 ? (int64)target[place / 2] : sizes.blank; }
    bool is_class(int64 symbol) const { return symbol >= 0 && symbol < (int64)sizes.classes; }
    bool may_skip(uint64 place) const {
        return place >= 2 && symbol(place) != sizes.blank && symbol(place) != symbol(place - 2);
    }
    bool is_end(uint64 place) const { return (int64)place == 2 * symbols || (int64)place == 2 * symbols - 1; }
    float64 score(uint64 step, uint64 place) const {
        const int64 own = symbol(place);
        return is_class(own) ? (float64)wide(scores[step * sizes.classes + own]) : nan_of<float64>();
    }
    // What the row loses, from the chances up to each place at its last step.
    float64 lost(const float64* chances) const {
        float64 total = -infinity_of<float64>();
        for (uint64 place = 0; place < places(); place++)
            if (is_end(place)) total = joined(total, chances[place]);
        return is_long ? infinity_of<float64>() : steps > 0 ? -total : symbols > 0 ? infinity_of<float64>() : 0.0;
    }
};

template <class T, class L, class N>
Row<T, L> row_of(uint64 row, const T* scores, const L* targets, const N* steps, const N* symbols, Sizes sizes) {
    const int64 count = (int64)symbols[row], length = (int64)steps[row];
    const bool is_long = count > (int64)sizes.longest;
    return {scores + row * sizes.time * sizes.classes, targets + row * sizes.longest, sizes,
            length < (int64)sizes.time ? length : (int64)sizes.time, is_long ? 0 : count, is_long};
}

// The chances of all paths up to each place at each step, in lines of memory that are taken in turn.
template <int LANES, class R> void prefixes(const R& row, float64* found, uint64 lines) {
    const uint64 width = row.sizes.width();
    for (uint64 place = threadIdx.x; place < row.places(); place += LANES)
        found[place] = place < 2 ? row.score(0, place) : -infinity_of<float64>();
    __syncthreads();
    for (int64 step = 1; step < row.steps; step++) {
        const float64* before = found + (step - 1) % lines * width;
        float64* now = found + step % lines * width;
        for (uint64 place = threadIdx.x; place < row.places(); place += LANES) {
            float64 reached = before[place];
            if (place >= 1) reached = joined(reached, before[place - 1]);
            if (row.may_skip(place)) reached = joined(reached, before[place - 2]);
            now[place] = reached + row.score(step, place);
        }
        __syncthreads();
    }
}

template <class R> const float64* last_line(const R& row, const float64* found, uint64 lines) {
    return row.steps > 0 ? found + (row.steps - 1) % lines * row.sizes.width() : found;
}

// One block for each row.
template <int LANES, class T, class L, class N>
void loss(const T* scores, const L* targets, const N* steps, const N* symbols, T* y, float64* room, Sizes sizes,
          bool is_zero_where_infinite) {
    const Row<T, L> row = row_of(blockIdx.x, scores, targets, steps, symbols, sizes);
    float64* found = room + blockIdx.x * 2 * sizes.width();
    prefixes<LANES>(row, found, 2);
    if (threadIdx.x) return;
    const float64 lost = row.lost(last_line(row, found, 2));
    y[blockIdx.x] = narrow<T>(is_zero_where_infinite && fabs(lost) == infinity_of<float64>() ? 0.0 : lost);
}

// One block for each row: how likely paths of the target are at each place at each step that counts. `ways` are two
// lines in turn: the chances of all ways on from each place, what the step itself scores included.
template <int LANES, class T, class L, class N>
void visit(const T* scores, const L* targets, const N* steps, const N* symbols, float64* visits, float64* ways,
           Sizes sizes) {
    const Row<T, L> row = row_of(blockIdx.x, scores, targets, steps, symbols, sizes);
    const uint64 width = sizes.width(), places = row.places();
    float64* found = visits + blockIdx.x * sizes.time * width;
    ways += blockIdx.x * 2 * width;
    prefixes<LANES>(row, found, sizes.time);
    const float64 lost = row.lost(last_line(row, found, sizes.time));
    const bool is_possible = fabs(lost) < infinity_of<float64>();
    __syncthreads();
    for (int64 step = row.steps - 1; step >= 0; step--) {
        const float64* after = ways + (step + 1) % 2 * width;
        float64* now = ways + step % 2 * width;
        for (uint64 place = threadIdx.x; place < places; place += LANES) {
            float64 left = row.is_end(place) ? 0.0 : -infinity_of<float64>();
            if (step + 1 < row.steps) {
                left = after[place];
                if (place + 1 < places) left = joined(left, after[place + 1]);
                if (place + 2 < places && row.may_skip(place + 2)) left = joined(left, after[place + 2]);
            }
            now[place] = left + row.score(step, place);
            float64* visit = found + step * width + place;
            *visit = is_possible ? exp(*visit + left + lost) : 0.0;
        }
        __syncthreads();
    }
}

// One block for each step of each row: what the places of a class are visited, in their order.
template <int LANES, class T, class L, class N>
void gradient(const T* g, const T* scores, const L* targets, const N* steps, const N* symbols, const float64* visits,
              T* dx, Sizes sizes) {
    const uint64 number = blockIdx.x / sizes.time, step = blockIdx.x % sizes.time;
    const Row<T, L> row = row_of(number, scores, targets, steps, symbols, sizes);
    T* line = dx + blockIdx.x * sizes.classes;
    for (uint64 at = threadIdx.x; at < sizes.classes; at += LANES) line[at] = narrow<T>(0.0);
    __syncthreads();
    if ((int64)step >= row.steps) return;
    const float64* own = visits + blockIdx.x * sizes.width();
    for (uint64 place = threadIdx.x; place < row.places(); place += LANES) {
        const int64 symbol = row.symbol(place);
        uint64 first = 0;
        while (row.symbol(first) != symbol) first++;
        if (first < place || !row.is_class(symbol)) continue;
        float64 total = 0;
        for (uint64 other = place; other < row.places(); other++)
            if (row.symbol(other) == symbol) total += own[other];
        line[symbol] = narrow<T>(-total * (float64)wide(g[number]));
    }
}

}  // namespace classification
