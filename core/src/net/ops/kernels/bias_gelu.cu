// Bias and GELU in one pass: gelu(v) = v · (1 + erf(v / √2)) / 2, v = x + b.
#include "common.cuh"

namespace {

__device__ __forceinline__ float cdf(float v) {
    return 0.5f * (1.0f + erff(v * 0.70710678118654752f));
}

/// y may be x.
template <bool WHOLE, class T>
__device__ __forceinline__ void forward(const T* x, const float* __restrict__ b, T* y,
                                        long long rows, int c) {
    each_group(rows, c, [=](long long row, int column, int valid) {
        const long long at = row * c + column;
        Four v = load<WHOLE>(x + at, valid);
        const Four bias = load<WHOLE>(b + column, valid);
#pragma unroll
        for (int q = 0; q < 4; q++) {
            v.v[q] += bias.v[q];
            v.v[q] *= cdf(v.v[q]);
        }
        store<WHOLE>(y + at, v, valid);
    });
}

/// dx may be g.
template <bool WHOLE, class T>
__device__ __forceinline__ void grad(const T* __restrict__ x, const float* __restrict__ b,
                                     const T* g, T* __restrict__ y, T* dx,
                                     float* __restrict__ partial, long long rows, int c,
                                     int parts) {
    const int own = blockIdx.x * 32 + 4 * threadIdx.x;
    Four bias = zeros();
    if (own < c) bias = load<WHOLE>(b + own, c - own);
    sum_columns<1>(partial, rows, c, parts, [=](long long at, int, int valid, Four* sums) {
        Four v = load<WHOLE>(x + at, valid), d = load<WHOLE>(g + at, valid);
#pragma unroll
        for (int q = 0; q < 4; q++) {
            const float in = v.v[q] + bias.v[q];
            const float share = cdf(in);
            // 1 / √(2π) · e^(-in²/2)
            const float density = 0.39894228040143268f * expf(-0.5f * in * in);
            v.v[q] = in * share;
            d.v[q] *= share + in * density;
            sums[0].v[q] += d.v[q];
        }
        if (y) store<WHOLE>(y + at, v, valid);
        store<WHOLE>(dx + at, d, valid);
    });
}

}  // namespace

/// y = gelu(x + b), rows of `c`; y may be x.
#define FORWARD(T, SUFFIX)                                                                       \
    extern "C" __global__ void __launch_bounds__(256) bias_gelu_forward##SUFFIX(                 \
        const T* x, const float* b, T* y, long long rows, int c) {                               \
        BY_ALIGNMENT(whole_groups(c, x, b, y), forward<WHOLE>(x, b, y, rows, c));                \
    }
FOR_EACH_TYPE(FORWARD)

/// dx = g · gelu'(x + b), where dx may be g; its sums over rows, `partial` [parts, C]; and y = gelu(x +
/// b) again if y is not null.
#define GRAD(T, SUFFIX)                                                                          \
    extern "C" __global__ void __launch_bounds__(256) bias_gelu_grad##SUFFIX(                    \
        const T* x, const float* b, const T* g, T* y, T* dx, float* partial, long long rows,     \
        int c, int parts) {                                                                      \
        BY_ALIGNMENT(whole_groups(c, x, b, g, y, dx),                                            \
                     grad<WHOLE>(x, b, g, y, dx, partial, rows, c, parts));                      \
    }
FOR_EACH_TYPE(GRAD)
