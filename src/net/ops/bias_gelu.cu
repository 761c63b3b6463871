// Bias and GELU in one pass: gelu(v) = v · (1 + erf(v / √2)) / 2, v = x + b.
#include "common.cuh"

namespace {

__device__ __forceinline__ float cdf(float v) {
    return 0.5f * (1.0f + erff(v * 0.70710678118654752f));
}

template <bool WHOLE, class T>
__device__ __forceinline__ void forward(const T* __restrict__ x, const float* __restrict__ b,
                                        T* __restrict__ y, long long rows, int c) {
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

template <bool WHOLE, class T>
__device__ __forceinline__ void grad(const T* __restrict__ x, const float* __restrict__ b,
                                     const T* __restrict__ g, T* __restrict__ dx, long long rows,
                                     int c) {
    each_group(rows, c, [=](long long row, int column, int valid) {
        const long long at = row * c + column;
        const Four from = load<WHOLE>(x + at, valid);
        const Four bias = load<WHOLE>(b + column, valid);
        Four d = load<WHOLE>(g + at, valid);
#pragma unroll
        for (int q = 0; q < 4; q++) {
            const float v = from.v[q] + bias.v[q];
            // 1 / √(2π) · e^(-v²/2)
            const float density = 0.39894228040143268f * expf(-0.5f * v * v);
            d.v[q] *= cdf(v) + v * density;
        }
        store<WHOLE>(dx + at, d, valid);
    });
}

}  // namespace

/// y = gelu(x + b), rows of `c`.
#define FORWARD(T, SUFFIX)                                                                       \
    extern "C" __global__ void __launch_bounds__(256) bias_gelu_forward##SUFFIX(                 \
        const T* x, const float* b, T* y, long long rows, int c) {                               \
        BY_ALIGNMENT(whole_groups(c, x, b, y), forward<WHOLE>(x, b, y, rows, c));                \
    }
FOR_EACH_TYPE(FORWARD)

/// dx = g · gelu'(x + b).
#define GRAD(T, SUFFIX)                                                                          \
    extern "C" __global__ void __launch_bounds__(256) bias_gelu_grad##SUFFIX(                    \
        const T* x, const float* b, const T* g, T* dx, long long rows, int c) {                  \
        BY_ALIGNMENT(whole_groups(c, x, b, g, dx), grad<WHOLE>(x, b, g, dx, rows, c));           \
    }
FOR_EACH_TYPE(GRAD)
