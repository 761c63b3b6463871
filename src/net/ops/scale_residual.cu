// The end of a ConvNeXt block in one pass: y = r + (x + bias) · gamma. The residual stream and its
// gradient are float, whatever the type of x: gamma begins at 1e-6, and what it scales would be
// rounded away in a narrower sum.
#include "common.cuh"

namespace {

template <bool WHOLE, class T>
__device__ __forceinline__ void forward(const T* __restrict__ x, const float* __restrict__ bias,
                                        const float* __restrict__ gamma,
                                        const float* __restrict__ r, float* __restrict__ y,
                                        long long rows, int c) {
    each_group(rows, c, [=](long long row, int column, int valid) {
        const long long at = row * c + column;
        const Four v = load<WHOLE>(x + at, valid);
        Four out = load<WHOLE>(r + at, valid);
        const Four b = load<WHOLE>(bias + column, valid);
        const Four scale = load<WHOLE>(gamma + column, valid);
#pragma unroll
        for (int q = 0; q < 4; q++) out.v[q] += (v.v[q] + b.v[q]) * scale.v[q];
        store<WHOLE>(y + at, out, valid);
    });
}

template <bool WHOLE, class T>
__device__ __forceinline__ void grad_input(const float* __restrict__ gamma,
                                           const float* __restrict__ g, T* __restrict__ dx,
                                           long long rows, int c) {
    each_group(rows, c, [=](long long row, int column, int valid) {
        const long long at = row * c + column;
        Four d = load<WHOLE>(g + at, valid);
        const Four scale = load<WHOLE>(gamma + column, valid);
#pragma unroll
        for (int q = 0; q < 4; q++) d.v[q] *= scale.v[q];
        store<WHOLE>(dx + at, d, valid);
    });
}

template <bool WHOLE, class T>
__device__ __forceinline__ void grad_params(const T* __restrict__ x,
                                            const float* __restrict__ bias,
                                            const float* __restrict__ gamma,
                                            const float* __restrict__ g,
                                            float* __restrict__ partial, long long rows, int c,
                                            int parts) {
    const int own = blockIdx.x * 32 + 4 * threadIdx.x;
    Four b = zeros(), scale = zeros();
    if (own < c) {
        b = load<WHOLE>(bias + own, c - own);
        scale = load<WHOLE>(gamma + own, c - own);
    }
    sum_columns<2>(partial, rows, c, parts, [=](long long at, int, int valid, Four* sums) {
        const Four v = load<WHOLE>(x + at, valid);
        const Four d = load<WHOLE>(g + at, valid);
#pragma unroll
        for (int q = 0; q < 4; q++) {
            sums[0].v[q] += d.v[q] * scale.v[q];
            sums[1].v[q] += d.v[q] * (v.v[q] + b.v[q]);
        }
    });
}

}  // namespace

/// `params` [2, C]: bias, gamma.
#define FORWARD(T, SUFFIX)                                                                       \
    extern "C" __global__ void __launch_bounds__(256) scale_residual_forward##SUFFIX(            \
        const T* x, const float* params, const float* r, float* y, long long rows, int c) {      \
        BY_ALIGNMENT(whole_groups(c, x, params, r, y),                                           \
                     forward<WHOLE>(x, params, params + c, r, y, rows, c));                      \
    }
FOR_EACH_TYPE(FORWARD)

/// dx = g · gamma.
#define GRAD_INPUT(T, SUFFIX)                                                                    \
    extern "C" __global__ void __launch_bounds__(256) scale_residual_grad_input##SUFFIX(         \
        const float* params, const float* g, T* dx, long long rows, int c) {                     \
        BY_ALIGNMENT(whole_groups(c, params, g, dx),                                             \
                     grad_input<WHOLE>(params + c, g, dx, rows, c));                             \
    }
FOR_EACH_TYPE(GRAD_INPUT)

/// Sums for the gradients of bias and gamma: `partial` [parts, 2, C].
#define GRAD_PARAMS(T, SUFFIX)                                                                   \
    extern "C" __global__ void __launch_bounds__(256) scale_residual_grad_params##SUFFIX(        \
        const T* x, const float* params, const float* g, float* partial, long long rows, int c,  \
        int parts) {                                                                             \
        BY_ALIGNMENT(whole_groups(c, x, params, g),                                              \
                     grad_params<WHOLE>(x, params, params + c, g, partial, rows, c, parts));     \
    }
FOR_EACH_TYPE(GRAD_PARAMS)
