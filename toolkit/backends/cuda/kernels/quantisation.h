// The grid of 256 steps that covers a range and 0, and numbers on it.

namespace quantisation {

inline void grid(float32 low, float32 high, float32* scale, uint8* zero_point) {
    low = low < 0 ? low : 0;
    high = high > 0 ? high : 0;
    const float32 step = high > low ? (high - low) / 255.0f : 1.0f;
    *scale = step;
    *zero_point = (uint8)rint(fmin(fmax(-low / step, 0.0f), 255.0f));
}

inline void quantise(const float32* x, float32 scale, uint8 zero_point, uint8* y, uint64 count) {
    const uint64 at = (uint64)blockIdx.x * blockDim.x + threadIdx.x;
    if (at < count) y[at] = (uint8)element::quantised(x[at] / scale, (float32)zero_point, 0.0f, 255.0f);
}

}  // namespace quantisation
