// One function for each elementwise operator, on what its element type is computed in. NaN goes wherever numpy lets it.

namespace element {

template <class T> struct Wrapping {
    typedef typename Unsigned<T>::type Bits;
    static T add(T a, T b) { return (T)((Bits)a + (Bits)b); }
    static T subtract(T a, T b) { return (T)((Bits)a - (Bits)b); }
    static T multiply(T a, T b) { return (T)((Bits)a * (Bits)b); }
};
template <class T> T add(T a, T b) { return Wrapping<T>::add(a, b); }
template <class T> T subtract(T a, T b) { return Wrapping<T>::subtract(a, b); }
template <class T> T multiply(T a, T b) { return Wrapping<T>::multiply(a, b); }
template <class T> T negative(T x) { return subtract((T)0, x); }
inline float32 negative(float32 x) { return -x; }
inline float64 negative(float64 x) { return -x; }

template <class T> bool is_nan(T x) { return x != x; }
template <class T> bool is_below(T x) { return IsSigned<T>::value && x < (T)0; }

// Integers are truncated toward zero; a quotient by 0 is 0, as numpy has it.
template <class T> T divide(T a, T b) {
    if (b == (T)0) return (T)0;
    if (IsSigned<T>::value && b == (T)-1) return negative(a);
    return (T)(a / b);
}
inline float32 divide(float32 a, float32 b) { return a / b; }
inline float64 divide(float64 a, float64 b) { return a / b; }

template <class T> T maximum(T a, T b) { return is_nan(a) ? a : is_nan(b) ? b : a < b ? b : a; }
template <class T> T minimum(T a, T b) { return is_nan(a) ? a : is_nan(b) ? b : b < a ? b : a; }
template <class T> T clip(T x, T low, T high) { return minimum(maximum(x, low), high); }

// The remainder with the sign of the divisor.
template <class T> T modulo(T a, T b) {
    if (b == (T)0 || (IsSigned<T>::value && b == (T)-1)) return (T)0;
    const T rest = (T)(a % b);
    return rest != (T)0 && is_below(rest) != is_below(b) ? (T)(rest + b) : rest;
}
template <class T> T floating_modulo(T a, T b) {
    const T rest = fmod(a, b);
    if (b == 0) return rest;
    if (rest == 0) return copysign((T)0, b);
    return (rest < 0) != (b < 0) ? rest + b : rest;
}
inline float32 modulo(float32 a, float32 b) { return floating_modulo(a, b); }
inline float64 modulo(float64 a, float64 b) { return floating_modulo(a, b); }

// The remainder with the sign of the dividend.
template <class T> T remainder_of(T a, T b) {
    return b == (T)0 || (IsSigned<T>::value && b == (T)-1) ? (T)0 : (T)(a % b);
}
inline float32 remainder_of(float32 a, float32 b) { return fmod(a, b); }
inline float64 remainder_of(float64 a, float64 b) { return fmod(a, b); }

template <class T> T whole_power(T base, uint64 exponent) {
    T result = (T)1;
    for (; exponent; exponent >>= 1) {
        if (exponent & 1) result = multiply(result, base);
        base = multiply(base, base);
    }
    return result;
}
template <class Base, class Exponent> struct Power {  // integers to the power of integers
    static Base of(Base base, Exponent exponent) {
        if (is_below(exponent)) return converted<Base>(pow((float64)base, (float64)exponent));
        return whole_power(base, (uint64)exponent);
    }
};
template <class Base> struct Power<Base, float32> {
    static Base of(Base base, float32 exponent) { return converted<Base>(pow((float64)base, (float64)exponent)); }
};
template <class Base> struct Power<Base, float64> {
    static Base of(Base base, float64 exponent) { return converted<Base>(pow((float64)base, exponent)); }
};
template <class Exponent> struct Power<float32, Exponent> {
    static float32 of(float32 base, Exponent exponent) { return pow(base, (float32)exponent); }
};
template <class Exponent> struct Power<float64, Exponent> {
    static float64 of(float64 base, Exponent exponent) { return pow(base, (float64)exponent); }
};
template <> struct Power<float32, float32> {
    static float32 of(float32 base, float32 exponent) { return pow(base, exponent); }
};
template <> struct Power<float32, float64> {
    static float32 of(float32 base, float64 exponent) { return pow(base, (float32)exponent); }
};
template <> struct Power<float64, float32> {
    static float64 of(float64 base, float32 exponent) { return pow(base, (float64)exponent); }
};
template <> struct Power<float64, float64> {
    static float64 of(float64 base, float64 exponent) { return pow(base, exponent); }
};
template <class Base, class Exponent> Base power(Base base, Exponent exponent) {
    return Power<Base, Exponent>::of(base, exponent);
}

template <class T> bool equal(T a, T b) { return a == b; }
template <class T> bool greater(T a, T b) { return a > b; }
template <class T> bool greater_or_equal(T a, T b) { return a >= b; }
template <class T> bool less(T a, T b) { return a < b; }
template <class T> bool less_or_equal(T a, T b) { return a <= b; }
inline bool both(bool a, bool b) { return a && b; }
inline bool either(bool a, bool b) { return a || b; }
inline bool one_of(bool a, bool b) { return a != b; }
inline bool opposite(bool x) { return !x; }
template <class T> T chosen(bool condition, T x, T y) { return condition ? x : y; }
template <class T> bool is_infinite(T x, bool negative_too, bool positive_too) {
    return (negative_too && x == -infinity_of<T>()) || (positive_too && x == infinity_of<T>());
}

template <class T> T bits_of_both(T a, T b) { return (T)(a & b); }
template <class T> T bits_of_either(T a, T b) { return (T)(a | b); }
template <class T> T bits_of_one(T a, T b) { return (T)(a ^ b); }
template <class T> T opposite_bits(T x) { return (T)~x; }
template <class T> T moved_left(T x, T places) {
    return (uint64)places >= 8 * sizeof(T) ? (T)0 : (T)((typename Unsigned<T>::type)x << places);
}
template <class T> T moved_right(T x, T places) {
    if ((uint64)places >= 8 * sizeof(T)) return is_below(x) ? (T)-1 : (T)0;
    return (T)(x >> places);
}

template <class T> T absolute(T x) { return is_below(x) ? negative(x) : x; }
inline float32 absolute(float32 x) { return fabs(x); }
inline float64 absolute(float64 x) { return fabs(x); }
template <class T> T sign(T x) { return is_nan(x) ? x : is_below(x) ? (T)-1 : x > (T)0 ? (T)1 : (T)0; }
template <class T> T square_root(T x) { return sqrt(x); }
template <class T> T exponential(T x) { return exp(x); }
template <class T> T logarithm(T x) { return log(x); }
template <class T> T reciprocal(T x) { return (T)1 / x; }
template <class T> T sine(T x) { return sin(x); }
template <class T> T cosine(T x) { return cos(x); }
template <class T> T tangent(T x) { return tan(x); }
template <class T> T arc_sine(T x) { return asin(x); }
template <class T> T arc_cosine(T x) { return acos(x); }
template <class T> T arc_tangent(T x) { return atan(x); }
template <class T> T hyperbolic_sine(T x) { return sinh(x); }
template <class T> T hyperbolic_cosine(T x) { return cosh(x); }
template <class T> T hyperbolic_tangent(T x) { return tanh(x); }
template <class T> T area_sine(T x) { return asinh(x); }
template <class T> T area_cosine(T x) { return acosh(x); }
template <class T> T area_tangent(T x) { return atanh(x); }
template <class T> T error_function(T x) { return erf(x); }
template <class T> T rounded(T x) { return rint(x); }
template <class T> T rounded_down(T x) { return floor(x); }
template <class T> T rounded_up(T x) { return ceil(x); }

// Activations, as toolkit.operators.standard.activation defines them.
template <class T> T relu(T x) { return maximum(x, (T)0); }
template <class T> T leaky_relu(T x, T alpha) { return x >= 0 ? x : x * alpha; }
template <class T> T sigmoid(T x) {
    const T decay = exp(-fabs(x));
    return (x >= 0 ? (T)1 : decay) / ((T)1 + decay);
}
template <class T> T softplus(T x) { return maximum(x, (T)0) + log1p(exp(-fabs(x))); }
template <class T> T elu(T x, T alpha) { return x > 0 ? x : expm1(minimum(x, (T)0)) * alpha; }
template <class T> T hard_sigmoid(T x, T alpha, T beta) { return clip(x * alpha + beta, (T)0, (T)1); }
template <class T> T hard_swish(T x) { return x * hard_sigmoid(x, (T)(1.0 / 6.0), (T)0.5); }
template <class T> T gelu(T x) { return x * (erf(x * (T)0.70710678118654752440) + (T)1) * (T)0.5; }
template <class T> T gelu_argument(T x) {
    return (x * x * (T)0.044715 + (T)1) * x * (T)0.79788456080286535588;
}
template <class T> T gelu_tanh(T x) { return x * (tanh(gelu_argument(x)) + (T)1) * (T)0.5; }
template <class T> T silu(T x) { return x * sigmoid(x); }
template <class T> T swish(T x, T alpha) { return x * sigmoid(x * alpha); }
template <class T> T mish(T x) { return x * tanh(softplus(x)); }
template <class T> T selu(T x, T alpha, T gamma) { return elu(x, alpha) * gamma; }
template <class T> T celu(T x, T alpha) {
    return maximum(x, (T)0) + minimum(expm1(minimum(x / alpha, (T)0)) * alpha, (T)0);
}
template <class T> T thresholded_relu(T x, T alpha) { return x > alpha ? x : (T)0; }
template <class T> T parametric_relu(T x, T slope) { return x < 0 ? multiply(x, slope) : x; }
template <class T> T softsign(T x) { return x / (fabs(x) + (T)1); }
template <class T> T shrink(T x, T bias, T bound) { return x < -bound ? x + bias : x > bound ? x - bias : (T)0; }

// Their slopes: the gradient g of the result, and the input x or the output y.
template <class T> T between(T g, T v, T low, T high) { return v > low ? (-v > -high ? g : (T)0) : (T)0; }
template <class T> T relu_slope(T g, T v) { return v > 0 ? g : (T)0; }
template <class T> T leaky_relu_slope(T g, T v, T alpha) { return v > 0 ? g : g * alpha; }
template <class T> T sigmoid_slope_of_output(T g, T y) { return g * (y * ((T)1 - y)); }
template <class T> T sigmoid_slope(T g, T x) { return sigmoid_slope_of_output(g, sigmoid(x)); }
template <class T> T tanh_slope_of_output(T g, T y) { return g * ((T)1 - y * y); }
template <class T> T tanh_slope(T g, T x) { return tanh_slope_of_output(g, tanh(x)); }
template <class T> T elu_slope(T g, T x, T alpha) { return x > 0 ? g : g * (exp(x) * alpha); }
template <class T> T elu_slope_of_output(T g, T y, T alpha) { return y > 0 ? g : g * (y + alpha); }
template <class T> T hard_sigmoid_slope(T g, T x, T alpha, T beta) {
    return between(g * alpha, x * alpha + beta, (T)0, (T)1);
}
template <class T> T hard_swish_slope(T g, T x) {
    return x > (T)-3 ? (x > (T)3 ? g : g * (x * (T)(1.0 / 3.0) + (T)0.5)) : (T)0;
}
template <class T> T gelu_slope(T g, T x) {
    const T density = exp(x * x * (T)-0.5) * (T)0.39894228040143267794;
    return g * ((erf(x * (T)0.70710678118654752440) + (T)1) * (T)0.5 + x * density);
}
template <class T> T gelu_tanh_slope(T g, T x) {
    const T t = tanh(gelu_argument(x));
    const T inner = (x * x * (T)(3.0 * 0.044715) + (T)1) * (T)0.79788456080286535588;
    return g * ((t + (T)1) + x * ((T)1 - t * t) * inner) * (T)0.5;
}
template <class T> T silu_slope(T g, T x) {
    const T s = sigmoid(x);
    return g * (s * (x * ((T)1 - s) + (T)1));
}
template <class T> T softplus_slope(T g, T x) { return g * sigmoid(x); }
template <class T> T absolute_slope(T g, T x) { return g * sign(x); }
template <class T> T square_root_slope(T g, T x) { return g / sqrt(x) * (T)0.5; }
template <class T> T exponential_slope(T g, T x) { return g * exp(x); }
template <class T> T logarithm_slope(T g, T x) { return g / x; }

template <class T> T masked(T g, bool mask, T scale) { return mask ? g * scale : (T)0; }

// Rounding to the grid of a quantised type; NaN becomes the smallest number. fmax and fmin leave NaN out.
template <class T> T on_grid(T steps, T low, T high) { return rint(fmin(fmax(steps, low), high)); }
template <class T> T quantised(T steps, T zero_point, T low, T high) {
    return fmin(fmax(rint(steps) + zero_point, low), high);
}
template <class T> bool is_inside(T steps, T zero_point, T low, T high) {
    const T place = rint(steps) + zero_point;
    return place >= low && place <= high;
}

}  // namespace element
