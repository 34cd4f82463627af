// Classification losses. Scores are (batch, classes, positions); a label that is no class makes the loss NaN.

namespace loss {

// How much a label counts; `ignored` labels do not, where there are such.
template <class W, class S, class L> W count_of(L label, uint64 classes, const S* weight, bool ignores, int64 ignored) {
    if (ignores && (int64)label == ignored) return (W)0;
    if ((int64)label < 0 || (int64)label >= (int64)classes) return nan_of<W>();
    return weight ? (W)wide(weight[(uint64)label]) : (W)1;
}
template <class L> uint64 safe(L label, uint64 classes) { return (int64)label >= 0 && (int64)label < (int64)classes ? (uint64)label : 0; }

// LANES threads for each of the positions: log(softmax), and what its label loses.
template <int LANES, int ROWS, class T, class S, class L, class W>
void cross_entropy(const T* scores, const L* labels, const S* weight, T* logarithms, T* each, W* losses, W* counts,
                   uint64 classes, uint64 inner, uint64 positions, bool ignores, int64 ignored) {
    typedef reduction::LogarithmOfPowers<W> Gathered;
    const uint64 row = (uint64)blockIdx.x * ROWS + threadIdx.y, position = row < positions ? row : positions - 1;
    const uint64 first = position / inner * classes * inner + position % inner;
    typename Gathered::State state = Gathered::start();
    for (uint64 number = threadIdx.x; number < classes; number += LANES)
        state = Gathered::taken(state, wide(scores[first + number * inner]), 0);
    if (LANES > WARP) state = reduction::over_block<Gathered, LANES>(state, threadIdx.x);
    else state = reduction::over_lanes<Gathered, LANES < WARP ? LANES : WARP>(state);
    if (row >= positions) return;
    const W top = state.top, spread = log(state.total);
    if (logarithms)
        for (uint64 number = threadIdx.x; number < classes; number += LANES)
            logarithms[first + number * inner] = narrow<T>(wide(scores[first + number * inner]) - top - spread);
    if (threadIdx.x) return;
    const W count = count_of<W>(labels[position], classes, weight, ignores, ignored);
    const W lost = -(wide(scores[first + safe(labels[position], classes) * inner]) - top - spread) * count;
    if (each) each[position] = narrow<T>(lost);
    else losses[position] = lost, counts[position] = count;
}

// The same from logarithms of probabilities.
template <class T, class S, class L, class W>
void likelihood(const T* logarithms, const L* labels, const S* weight, T* each, W* losses, W* counts, uint64 classes,
                uint64 inner, uint64 positions, bool ignores, int64 ignored) {
    const uint64 position = (uint64)blockIdx.x * blockDim.x + threadIdx.x;
    if (position >= positions) return;
    const uint64 first = position / inner * classes * inner + position % inner;
    const W count = count_of<W>(labels[position], classes, weight, ignores, ignored);
    const W lost = -wide(logarithms[first + safe(labels[position], classes) * inner]) * count;
    if (each) each[position] = narrow<T>(lost);
    else losses[position] = lost, counts[position] = count;
}

// One block: the sum or the mean of what all positions lost.
template <class T, class W> void finish(const W* losses, const W* counts, T* y, uint64 positions, bool is_mean) {
    rows::Two<W> sums = {0, 0};
    for (uint64 at = threadIdx.x; at < positions; at += 256) sums.first += losses[at], sums.second += counts[at];
    sums = reduction::over_block<rows::Pair<W>, 256>(sums, threadIdx.x);
    if (threadIdx.x == 0) *y = narrow<T>(is_mean ? sums.first / sums.second : sums.first);
}

// One block: how much all labels count.
template <class W, class S, class L>
void add_counts(const L* labels, const S* weight, W* total, uint64 classes, uint64 positions, bool ignores, int64 ignored) {
    W sum = 0;
    for (uint64 at = threadIdx.x; at < positions; at += 256) sum += count_of<W>(labels[at], classes, weight, ignores, ignored);
    sum = reduction::over_block<reduction::Sum<W>, 256>(sum, threadIdx.x);
    if (threadIdx.x == 0) *total = sum;
}

// (softmax - one at the label) times how much the label counts.
template <class T, class S, class L, class W>
void gradient(const T* g, const T* logarithms, const L* labels, const S* weight, const W* total, T* dx, uint64 classes,
              uint64 inner, uint64 size, bool ignores, int64 ignored, bool is_each, bool is_mean) {
    const uint64 at = (uint64)blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= size) return;
    const uint64 position = at / (classes * inner) * inner + at % inner, number = at / inner % classes;
    W count = count_of<W>(labels[position], classes, weight, ignores, ignored);
    if (is_mean) count /= *total;
    const W factor = count * wide(g[is_each ? position : 0]);
    const bool is_label = number == safe(ignores && (int64)labels[position] == ignored ? (L)0 : labels[position], classes);
    dx[at] = narrow<T>(exp(wide(logarithms[at])) * factor - (is_label ? factor : (W)0));
}

}  // namespace loss
