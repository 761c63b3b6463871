// LayerNorm over the last dimension: y = (x - mean) · rstd · w + b, rstd = 1 / √(var + eps), the
// variance biased.
//
// A warp takes a row. Up to 768 channels in whole groups it holds in registers, N groups a lane,
// of R rows at once where they are short, so that enough loads are under way; other rows it reads
// again for each sum.
#include "common.cuh"

namespace {

constexpr int WARPS = 8;

struct Statistics {
    float mean, rstd;
};

/// R rows of `c` channels, group lane + 32·i of each.
template <int N, int R>
struct Rows {
    Four v[R][N];

    template <class T>
    __device__ __forceinline__ void read(const T* __restrict__ x, long long row, long long rows,
                                         int c, int lane) {
#pragma unroll
        for (int r = 0; r < R; r++)
#pragma unroll
            for (int i = 0; i < N; i++) {
                const int column = 4 * (lane + 32 * i);
                v[r][i] = zeros();
                if (row + r < rows && column < c) v[r][i] = load<true>(x + (row + r) * c + column, 4);
            }
    }

    /// Leaves x - mean instead of x.
    __device__ __forceinline__ void centre(int c, float eps, int lane, float (&rstd)[R]) {
        float mean[R];
#pragma unroll
        for (int r = 0; r < R; r++) {
            mean[r] = rstd[r] = 0.0f;
#pragma unroll
            for (int i = 0; i < N; i++)
#pragma unroll
                for (int q = 0; q < 4; q++) mean[r] += v[r][i].v[q];
        }
        warp_sums(mean);
#pragma unroll
        for (int r = 0; r < R; r++) {
            mean[r] /= c;
#pragma unroll
            for (int i = 0; i < N; i++)
#pragma unroll
                for (int q = 0; q < 4; q++) {
                    float& x = v[r][i].v[q];
                    // Past the row's end 0 stays 0.
                    if (4 * (lane + 32 * i) < c) x -= mean[r];
                    rstd[r] += x * x;
                }
        }
        warp_sums(rstd);
#pragma unroll
        for (int r = 0; r < R; r++) rstd[r] = 1.0f / sqrtf(rstd[r] / c + eps);
    }
};

/// Those of one row of any length.
template <class T>
__device__ __forceinline__ Statistics statistics(const T* __restrict__ x, int c, float eps,
                                                 int lane) {
    float mean[1] = {0.0f}, var[1] = {0.0f};
    for (int j = lane; j < c; j += 32) mean[0] += widen(x[j]);
    warp_sums(mean);
    mean[0] /= c;
    for (int j = lane; j < c; j += 32) {
        const float d = widen(x[j]) - mean[0];
        var[0] += d * d;
    }
    warp_sums(var);
    return {mean[0], 1.0f / sqrtf(var[0] / c + eps)};
}

/// What the kernels of a row per warp are given, and which rows are this warp's.
struct Task {
    long long rows;
    int c;
    float eps;
    int lane = threadIdx.x % 32;
    long long first = (blockIdx.x * static_cast<long long>(blockDim.x) + threadIdx.x) / 32;
    long long warps = gridDim.x * static_cast<long long>(WARPS);

    __device__ __forceinline__ Task(long long rows, int c, float eps)
        : rows(rows), c(c), eps(eps) {}
};

template <int N, int R, class T>
__device__ __forceinline__ void forward(const T* __restrict__ x, const float* __restrict__ w,
                                        const float* __restrict__ b, T* __restrict__ y, Task t) {
    for (long long row = t.first * R; row < t.rows; row += t.warps * R) {
        Rows<N, R> v;
        float rstd[R];
        v.read(x, row, t.rows, t.c, t.lane);
        v.centre(t.c, t.eps, t.lane, rstd);
#pragma unroll
        for (int i = 0; i < N; i++) {
            const int column = 4 * (t.lane + 32 * i);
            if (column >= t.c) continue;
            const Four weight = load<true>(w + column, 4), bias = load<true>(b + column, 4);
#pragma unroll
            for (int r = 0; r < R; r++) {
                Four out;
#pragma unroll
                for (int q = 0; q < 4; q++)
                    out.v[q] = v.v[r][i].v[q] * rstd[r] * weight.v[q] + bias.v[q];
                if (row + r < t.rows) store<true>(y + (row + r) * t.c + column, out, 4);
            }
        }
    }
}

template <class T>
__device__ __forceinline__ void forward_any(const T* __restrict__ x, const float* __restrict__ w,
                                            const float* __restrict__ b, T* __restrict__ y,
                                            Task t) {
    for (long long row = t.first; row < t.rows; row += t.warps) {
        const T* from = x + row * t.c;
        const Statistics s = statistics(from, t.c, t.eps, t.lane);
        for (int j = t.lane; j < t.c; j += 32)
            y[row * t.c + j] = narrow<T>((widen(from[j]) - s.mean) * s.rstd * w[j] + b[j]);
    }
}

/// dx = rstd · (g·w - Σ g·w / C - x̂ · Σ g·w·x̂ / C), x̂ = (x - mean) · rstd.
template <int N, int R, class T>
__device__ __forceinline__ void grad_input(const T* __restrict__ x, const float* __restrict__ w,
                                           const T* __restrict__ g, T* __restrict__ dx, Task t) {
    for (long long row = t.first * R; row < t.rows; row += t.warps * R) {
        Rows<N, R> v, d;
        float rstd[R], a[R], b[R];
        v.read(x, row, t.rows, t.c, t.lane);
        d.read(g, row, t.rows, t.c, t.lane);
        v.centre(t.c, t.eps, t.lane, rstd);
#pragma unroll
        for (int r = 0; r < R; r++) a[r] = b[r] = 0.0f;
#pragma unroll
        for (int i = 0; i < N; i++) {
            const int column = 4 * (t.lane + 32 * i);
            if (column >= t.c) continue;
            const Four weight = load<true>(w + column, 4);
#pragma unroll
            for (int r = 0; r < R; r++)
#pragma unroll
                for (int q = 0; q < 4; q++) {
                    d.v[r][i].v[q] *= weight.v[q];
                    a[r] += d.v[r][i].v[q];
                    b[r] += d.v[r][i].v[q] * v.v[r][i].v[q];
                }
        }
        warp_sums(a);
        warp_sums(b);
#pragma unroll
        for (int r = 0; r < R; r++) {
            a[r] /= t.c;
            b[r] *= rstd[r] * rstd[r] / t.c;
#pragma unroll
            for (int i = 0; i < N; i++) {
                const int column = 4 * (t.lane + 32 * i);
                Four out;
#pragma unroll
                for (int q = 0; q < 4; q++)
                    out.v[q] = rstd[r] * (d.v[r][i].v[q] - a[r] - v.v[r][i].v[q] * b[r]);
                if (row + r < t.rows && column < t.c)
                    store<true>(dx + (row + r) * t.c + column, out, 4);
            }
        }
    }
}

template <class T>
__device__ __forceinline__ void grad_input_any(const T* __restrict__ x,
                                               const float* __restrict__ w,
                                               const T* __restrict__ g, T* __restrict__ dx,
                                               Task t) {
    for (long long row = t.first; row < t.rows; row += t.warps) {
        const T *from = x + row * t.c, *grad = g + row * t.c;
        const Statistics s = statistics(from, t.c, t.eps, t.lane);
        float sums[2] = {0.0f, 0.0f};
        for (int j = t.lane; j < t.c; j += 32) {
            const float d = widen(grad[j]) * w[j];
            sums[0] += d;
            sums[1] += d * (widen(from[j]) - s.mean);
        }
        warp_sums(sums);
        const float a = sums[0] / t.c, b = sums[1] * (s.rstd * s.rstd / t.c);
        for (int j = t.lane; j < t.c; j += 32) {
            const float d = widen(grad[j]) * w[j];
            dx[row * t.c + j] = narrow<T>(s.rstd * (d - a - (widen(from[j]) - s.mean) * b));
        }
    }
}

/// Rows first .. last of a part into its `out` [2, C]: each warp takes every eighth R of them and
/// sums in registers, then the warps add theirs one after the other.
template <int N, int R, class T>
__device__ __forceinline__ void grad_params(const T* __restrict__ x, const T* __restrict__ g,
                                            float* __restrict__ out, long long first,
                                            long long last, int c, float eps) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    Four weight[N], bias[N];
#pragma unroll
    for (int i = 0; i < N; i++) weight[i] = bias[i] = zeros();
    for (long long row = first + warp * R; row < last; row += WARPS * R) {
        Rows<N, R> v, d;
        float rstd[R];
        v.read(x, row, last, c, lane);
        d.read(g, row, last, c, lane);
        v.centre(c, eps, lane, rstd);
#pragma unroll
        for (int r = 0; r < R; r++)
#pragma unroll
            for (int i = 0; i < N; i++)
#pragma unroll
                for (int q = 0; q < 4; q++) {
                    // Rows past the end have gradients of 0 (and a finite rstd).
                    weight[i].v[q] += d.v[r][i].v[q] * (v.v[r][i].v[q] * rstd[r]);
                    bias[i].v[q] += d.v[r][i].v[q];
                }
    }
    float* shared = shared_floats();
    for (int turn = 0; turn < WARPS; turn++) {
        if (warp == turn)
#pragma unroll
            for (int i = 0; i < N; i++) {
                const int column = 4 * (lane + 32 * i);
                if (column >= c) continue;
#pragma unroll
                for (int q = 0; q < 4; q++) {
                    float *w = shared + column + q, *b = w + c;
                    *w = (turn > 0 ? *w : 0.0f) + weight[i].v[q];
                    *b = (turn > 0 ? *b : 0.0f) + bias[i].v[q];
                }
            }
        __syncthreads();
    }
    for (int j = threadIdx.x; j < 2 * c; j += blockDim.x) out[j] = shared[j];
}

/// The same for rows of any length: statistics of 32 rows, then each thread its columns.
template <class T>
__device__ __forceinline__ void grad_params_any(const T* __restrict__ x, const T* __restrict__ g,
                                                float* __restrict__ out, long long first,
                                                long long last, int c, float eps) {
    constexpr int ROWS = 32;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    float *mean = shared_floats(), *rstd = mean + ROWS;
    for (int j = threadIdx.x; j < 2 * c; j += blockDim.x) out[j] = 0.0f;
    for (long long row = first; row < last; row += ROWS) {
        const int rows = static_cast<int>(min(static_cast<long long>(ROWS), last - row));
        // Before others' statistics, what a thread zeroed or added is seen, and they are used.
        __syncthreads();
        for (int r = warp; r < rows; r += WARPS) {
            const Statistics s = statistics(x + (row + r) * c, c, eps, lane);
            if (lane == 0) {
                mean[r] = s.mean;
                rstd[r] = s.rstd;
            }
        }
        __syncthreads();
        for (int j = threadIdx.x; j < c; j += blockDim.x) {
            float weight = out[j], bias = out[c + j];
            for (int r = 0; r < rows; r++) {
                const long long at = (row + r) * c + j;
                const float d = widen(g[at]);
                weight += d * ((widen(x[at]) - mean[r]) * rstd[r]);
                bias += d;
            }
            out[j] = weight;
            out[c + j] = bias;
        }
    }
}

/// run<N, R>(...) with as many registers as rows of `c` channels need, or any(...).
#define BY_WIDTH(whole, c, run, any, ...)                                                        \
    do {                                                                                         \
        if (!(whole) || (c) > 768)                                                               \
            any(__VA_ARGS__);                                                                    \
        else if ((c) <= 128)                                                                     \
            run<1, 4>(__VA_ARGS__);                                                              \
        else if ((c) <= 256)                                                                     \
            run<2, 2>(__VA_ARGS__);                                                              \
        else if ((c) <= 384)                                                                     \
            run<3, 1>(__VA_ARGS__);                                                              \
        else if ((c) <= 640)                                                                     \
            run<5, 1>(__VA_ARGS__);                                                              \
        else                                                                                     \
            run<6, 1>(__VA_ARGS__);                                                              \
    } while (0)

}  // namespace

#define FORWARD(T, SUFFIX)                                                                       \
    extern "C" __global__ void __launch_bounds__(256) layer_norm_forward##SUFFIX(                \
        const T* x, const float* w, const float* b, T* y, long long rows, int c, float eps) {    \
        const Task task(rows, c, eps);                                                           \
        BY_WIDTH(whole_groups(c, x, w, b, y), c, forward, forward_any, x, w, b, y, task);        \
    }
FOR_EACH_TYPE(FORWARD)

#define GRAD_INPUT(T, SUFFIX)                                                                    \
    extern "C" __global__ void __launch_bounds__(256, 2) layer_norm_grad_input##SUFFIX(          \
        const T* x, const float* w, const T* g, T* dx, long long rows, int c, float eps) {       \
        const Task task(rows, c, eps);                                                           \
        BY_WIDTH(whole_groups(c, x, w, g, dx), c, grad_input, grad_input_any, x, w, g, dx,       \
                 task);                                                                          \
    }
FOR_EACH_TYPE(GRAD_INPUT)

/// Sums for the gradients of weight and bias: `partial` [parts, 2, C], a block a part.
#define GRAD_PARAMS(T, SUFFIX)                                                                   \
    extern "C" __global__ void __launch_bounds__(256) layer_norm_grad_params##SUFFIX(            \
        const T* x, const T* g, float* partial, long long rows, int c, float eps, int parts) {   \
        const int part = blockIdx.x;                                                             \
        const long long first = part_begin(rows, part, parts);                                   \
        const long long last = part_begin(rows, part + 1, parts);                                \
        float* out = partial + part * 2LL * c;                                                   \
        BY_WIDTH(whole_groups(c, x, g), c, grad_params, grad_params_any, x, g, out, first, last, \
                 c, eps);                                                                        \
    }
FOR_EACH_TYPE(GRAD_PARAMS)
