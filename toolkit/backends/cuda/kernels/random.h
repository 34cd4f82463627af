// Philox4x32 with ten rounds (Salmon et al., Parallel random numbers: as easy as 1, 2, 3, 2011): four random words that
// follow from a counter and a key, so any thread can draw the numbers of any place.

namespace drawing {

struct Four { uint32 words[4]; };

inline void round_of(Four& counter, uint32 low, uint32 high) {
    const uint64 first = (uint64)0xD2511F53u * counter.words[0], second = (uint64)0xCD9E8D57u * counter.words[2];
    counter = {{(uint32)(second >> 32) ^ counter.words[1] ^ low, (uint32)second,
                (uint32)(first >> 32) ^ counter.words[3] ^ high, (uint32)first}};
}

inline Four draw(uint64 place, uint64 step, uint64 key) {
    Four counter = {{(uint32)place, (uint32)(place >> 32), (uint32)step, (uint32)(step >> 32)}};
    uint32 low = (uint32)key, high = (uint32)(key >> 32);
#pragma unroll
    for (int number = 0; number < 10; ++number) {
        round_of(counter, low, high);
        low += 0x9E3779B9u;
        high += 0xBB67AE85u;
    }
    return counter;
}

// A number in [0, 1), of 24 bits.
inline float32 uniform(uint32 word) { return (float32)(word >> 8) * 5.9604644775390625e-8f; }

// Zeroes each element with probability `share`, the others times `scale`; `step` counts how often it was done.
template <class T> void drop(const T* x, T* y, bool* mask, const uint64* step, uint64 key, float32 share,
                             typename Widened<T>::type scale, uint64 count) {
    const uint64 quarter = (uint64)blockIdx.x * blockDim.x + threadIdx.x;
    if (quarter * 4 >= count) return;
    const Four drawn = draw(quarter, *step, key);
    for (int lane = 0; lane < 4 && quarter * 4 + lane < count; ++lane) {
        const uint64 at = quarter * 4 + lane;
        const bool is_kept = uniform(drawn.words[lane]) >= share;
        y[at] = narrow<T>(is_kept ? wide(x[at]) * scale : (typename Widened<T>::type)0);
        if (mask) mask[at] = is_kept;
    }
}

}  // namespace drawing
