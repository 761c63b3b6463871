// Bias addition, its gradient (a sum over rows), and the sum over parts that completes every sum over
// rows.
#include "common.cuh"

namespace {

/// y may be x.
template <bool WHOLE, class T>
__device__ __forceinline__ void add(const T* x, const float* __restrict__ b, T* y,
                                    float* __restrict__ wide, long long rows, int c) {
    each_group(rows, c, [=](long long row, int column, int valid) {
        const long long at = row * c + column;
        Four v = load<WHOLE>(x + at, valid);
        const Four bias = load<WHOLE>(b + column, valid);
#pragma unroll
        for (int q = 0; q < 4; q++) v.v[q] += bias.v[q];
        store<WHOLE>(y + at, v, valid);
        if (wide) store<WHOLE>(wide + at, v, valid);
    });
}

template <bool WHOLE, class T>
__device__ __forceinline__ void sum(const T* __restrict__ x, float* __restrict__ partial,
                                    long long rows, int c, int parts) {
    sum_columns<1>(partial, rows, c, parts, [=](long long at, int, int valid, Four* sums) {
        const Four v = load<WHOLE>(x + at, valid);
#pragma unroll
        for (int q = 0; q < 4; q++) sums[0].v[q] += v.v[q];
    });
}

}  // namespace

/// y = x + b, rows of `c`; y may be x. Also in float to `wide` if that is not null.
#define ADD_BIAS(T, SUFFIX)                                                                      \
    extern "C" __global__ void __launch_bounds__(256) add_bias##SUFFIX(                          \
        const T* x, const float* b, T* y, float* wide, long long rows, int c) {                  \
        BY_ALIGNMENT(whole_groups(c, x, b, y, wide), add<WHOLE>(x, b, y, wide, rows, c));        \
    }
FOR_EACH_TYPE(ADD_BIAS)

/// Sums over rows: `partial` [parts, C].
#define COLUMN_SUM(T, SUFFIX)                                                                    \
    extern "C" __global__ void __launch_bounds__(256) column_sum##SUFFIX(                        \
        const T* x, float* partial, long long rows, int c, int parts) {                          \
        BY_ALIGNMENT(whole_groups(c, x), sum<WHOLE>(x, partial, rows, c, parts));                \
    }
FOR_EACH_TYPE(COLUMN_SUM)

/// out[i] = Σ partial[p, i], or with `add` out[i] += the same; `partial` [parts, n]. Each of 8 warps
/// sums every eighth part of 32 values, and the first adds the warps' sums in order.
extern "C" __global__ void __launch_bounds__(256) sum_parts(
    const float* __restrict__ partial, float* __restrict__ out, int parts, long long n, int add) {
    constexpr int WARPS = 8;
    const long long i = blockIdx.x * 32LL + threadIdx.x;
    float sum = 0.0f;
    if (i < n) {
#pragma unroll 8
        for (int p = threadIdx.y; p < parts; p += WARPS) sum += partial[p * n + i];
    }
    float* shared = shared_floats();
    shared[threadIdx.y * 32 + threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y == 0 && i < n) {
        for (int warp = 1; warp < WARPS; warp++) sum += shared[warp * 32 + threadIdx.x];
        out[i] = add ? out[i] + sum : sum;
    }
}
