// The end of a ConvNeXt block in one pass: y = r + (x + bias) · gamma. The residual stream and its
// gradient are float for any type of x: gamma starts at 1e-6, and a narrower sum would round the scaled
// term away.
#include "common.cuh"

namespace {

template <bool WHOLE, class T>
__device__ __forceinline__ void forward(const T* __restrict__ x, const float* __restrict__ bias,
                                        const float* __restrict__ gamma,
                                        const float* __restrict__ r, float* __restrict__ y,
                                        T* __restrict__ copy, long long rows, int c) {
    each_group(rows, c, [=](long long row, int column, int valid) {
        const long long at = row * c + column;
        const Four v = load<WHOLE>(x + at, valid);
        Four out = load<WHOLE>(r + at, valid);
        const Four b = load<WHOLE>(bias + column, valid);
        const Four scale = load<WHOLE>(gamma + column, valid);
#pragma unroll
        for (int q = 0; q < 4; q++) out.v[q] += (v.v[q] + b.v[q]) * scale.v[q];
        store<WHOLE>(y + at, out, valid);
        if (copy) store<WHOLE>(copy + at, out, valid);
    });
}

template <bool WHOLE, class T>
__device__ __forceinline__ void grad(const T* __restrict__ g, const float* __restrict__ gamma,
                                     T* __restrict__ dx, float* __restrict__ partial,
                                     long long rows, int c, int parts) {
    const int own = blockIdx.x * 32 + 4 * threadIdx.x;
    Four scale = zeros();
    if (own < c) scale = load<WHOLE>(gamma + own, c - own);
    sum_columns<1>(partial, rows, c, parts, [=](long long at, int, int valid, Four* sums) {
        const Four d = load<WHOLE>(g + at, valid);
        Four out;
#pragma unroll
        for (int q = 0; q < 4; q++) {
            sums[0].v[q] += d.v[q];
            out.v[q] = d.v[q] * scale.v[q];
        }
        store<WHOLE>(dx + at, out, valid);
    });
}

}  // namespace

/// `copy`, if not null, gets y rounded to the type of x.
#define FORWARD(T, SUFFIX)                                                                       \
    extern "C" __global__ void __launch_bounds__(256) scale_residual_forward##SUFFIX(            \
        const T* x, const float* bias, const float* gamma, const float* r, float* y, T* copy,    \
        long long rows, int c) {                                                                 \
        BY_ALIGNMENT(whole_groups(c, x, bias, gamma, r, y, copy),                                \
                     forward<WHOLE>(x, bias, gamma, r, y, copy, rows, c));                       \
    }
FOR_EACH_TYPE(FORWARD)

/// dx = g · gamma, and sums of g over rows, without gamma: `partial` [parts, C].
#define GRAD(T, SUFFIX)                                                                          \
    extern "C" __global__ void __launch_bounds__(256) scale_residual_grad##SUFFIX(               \
        const T* g, const float* gamma, T* dx, float* partial, long long rows, int c,            \
        int parts) {                                                                             \
        BY_ALIGNMENT(whole_groups(c, g, gamma, dx),                                              \
                     grad<WHOLE>(g, gamma, dx, partial, rows, c, parts));                        \
    }
FOR_EACH_TYPE(GRAD)

/// The gradients of the product before the layer scale, `weight` [C, width] and `bias` [C], and of
/// gamma, from sums over rows without gamma: G = Σ gᵀ·a and s = Σ g become gamma·G and gamma·s, and
/// gamma's gradient is Σₖ G·weight + bias·s. One warp per row.
extern "C" __global__ void __launch_bounds__(256) scale_residual_finish(
    const float* __restrict__ weight, const float* __restrict__ bias,
    const float* __restrict__ gamma, float* __restrict__ grad_weight, float* __restrict__ grad_bias,
    float* __restrict__ grad_gamma, int c, int width) {
    const int lane = threadIdx.x % 32, row = blockIdx.x * 8 + threadIdx.x / 32;
    if (row >= c) return;
    const float scale = gamma[row];
    const long long first = static_cast<long long>(row) * width;
    float dot[1] = {0.0f};
    for (int k = lane; k < width; k += 32) {
        const float g = grad_weight[first + k];
        dot[0] += g * weight[first + k];
        grad_weight[first + k] = g * scale;
    }
    warp_sums(dot);
    if (lane == 0) {
        const float s = grad_bias[row];
        grad_gamma[row] = dot[0] + bias[row] * s;
        grad_bias[row] = s * scale;
    }
}
