// LayerNorm over the last dimension: y = (x - mean) · rstd · w + b, rstd = 1 / √(var + eps), the
// variance biased.
//
// A warp works on one row. It holds up to 768 channels in whole groups in registers, N groups per lane,
// of R rows at once if the rows are short, to keep enough loads in flight. It reads any other row again
// for each sum.
#include "common.cuh"

namespace {

constexpr int WARPS = 8;

struct Statistics {
    float mean, rstd;
};

/// R rows of `c` channels; a lane holds groups lane + 32·i of each.
template <int N, int R>
struct Rows {
    Four v[R][N];

    template <class T>
    __device__ __forceinline__ void read(const T* __restrict__ x, long long row, long long rows,
                                         int c, int lane, Places places = {0, 0}) {
#pragma unroll
        for (int r = 0; r < R; r++)
#pragma unroll
            for (int i = 0; i < N; i++) {
                const int column = 4 * (lane + 32 * i);
                v[r][i] = zeros();
                if (row + r < rows && column < c)
                    v[r][i] = load<true>(x + places.of(row + r) * c + column, 4);
            }
    }

    /// Replaces x by x - mean.
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

/// Statistics of one row of any length.
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

/// Arguments of the kernels that use a warp per row, and this warp's rows.
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
                                        const float* __restrict__ b, T* __restrict__ y,
                                        float* __restrict__ wide, Places places, Task t) {
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
                if (row + r >= t.rows) continue;
                const long long to = places.of(row + r) * t.c + column;
                store<true>(y + to, out, 4);
                if (wide) store<true>(wide + to, out, 4);
            }
        }
    }
}

template <class T>
__device__ __forceinline__ void forward_any(const T* __restrict__ x, const float* __restrict__ w,
                                            const float* __restrict__ b, T* __restrict__ y,
                                            float* __restrict__ wide, Places places, Task t) {
    for (long long row = t.first; row < t.rows; row += t.warps) {
        const T* from = x + row * t.c;
        const Statistics s = statistics(from, t.c, t.eps, t.lane);
        const long long to = places.of(row) * t.c;
        for (int j = t.lane; j < t.c; j += 32) {
            const float out = (widen(from[j]) - s.mean) * s.rstd * w[j] + b[j];
            y[to + j] = narrow<T>(out);
            if (wide) wide[to + j] = out;
        }
    }
}

/// dx = rstd · (g·w - Σ g·w / C - x̂ · Σ g·w·x̂ / C), x̂ = (x - mean) · rstd, for rows first .. last of
/// a part; and the part's sums Σ g·x̂ and Σ g into `out` [2, C]. Each warp takes every eighth group of R
/// rows and sums in registers, then the warps add their sums in turn.
template <int N, int R, class T>
__device__ __forceinline__ void grad(const T* __restrict__ x, const float* __restrict__ w,
                                     const T* __restrict__ g, T* __restrict__ dx,
                                     float* __restrict__ wide, float* __restrict__ out,
                                     Places places, long long first, long long last, int c,
                                     float eps) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    Four of_weight[N], of_bias[N];
#pragma unroll
    for (int i = 0; i < N; i++) of_weight[i] = of_bias[i] = zeros();
    for (long long row = first + warp * R; row < last; row += WARPS * R) {
        Rows<N, R> v, d;
        float rstd[R], a[R], b[R];
        v.read(x, row, last, c, lane);
        d.read(g, row, last, c, lane, places);
        v.centre(c, eps, lane, rstd);
#pragma unroll
        for (int r = 0; r < R; r++) a[r] = b[r] = 0.0f;
#pragma unroll
        for (int i = 0; i < N; i++) {
            const int column = 4 * (lane + 32 * i);
            if (column >= c) continue;
            const Four weight = load<true>(w + column, 4);
#pragma unroll
            for (int r = 0; r < R; r++)
#pragma unroll
                for (int q = 0; q < 4; q++) {
                    // Rows past the end have gradients of 0 (and a finite rstd).
                    float& grad = d.v[r][i].v[q];
                    of_weight[i].v[q] += grad * (v.v[r][i].v[q] * rstd[r]);
                    of_bias[i].v[q] += grad;
                    grad *= weight.v[q];
                    a[r] += grad;
                    b[r] += grad * v.v[r][i].v[q];
                }
        }
        warp_sums(a);
        warp_sums(b);
#pragma unroll
        for (int r = 0; r < R; r++) {
            a[r] /= c;
            b[r] *= rstd[r] * rstd[r] / c;
#pragma unroll
            for (int i = 0; i < N; i++) {
                const int column = 4 * (lane + 32 * i);
                Four to;
#pragma unroll
                for (int q = 0; q < 4; q++)
                    to.v[q] = rstd[r] * (d.v[r][i].v[q] - a[r] - v.v[r][i].v[q] * b[r]);
                if (row + r >= last || column >= c) continue;
                store<true>(dx + (row + r) * c + column, to, 4);
                if (wide) store<true>(wide + (row + r) * c + column, to, 4);
            }
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
                    float *weight = shared + column + q, *bias = weight + c;
                    *weight = (turn > 0 ? *weight : 0.0f) + of_weight[i].v[q];
                    *bias = (turn > 0 ? *bias : 0.0f) + of_bias[i].v[q];
                }
            }
        __syncthreads();
    }
    for (int j = threadIdx.x; j < 2 * c; j += blockDim.x) out[j] = shared[j];
}

/// The same for rows of any length: each warp computes the statistics of rows, 32 rows in all, then each
/// thread sums its columns.
template <class T>
__device__ __forceinline__ void grad_any(const T* __restrict__ x, const float* __restrict__ w,
                                         const T* __restrict__ g, T* __restrict__ dx,
                                         float* __restrict__ wide, float* __restrict__ out,
                                         Places places, long long first, long long last, int c,
                                         float eps) {
    constexpr int ROWS = 32;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    float *mean = shared_floats(), *rstd = mean + ROWS;
    for (int j = threadIdx.x; j < 2 * c; j += blockDim.x) out[j] = 0.0f;
    for (long long row = first; row < last; row += ROWS) {
        const int rows = static_cast<int>(min(static_cast<long long>(ROWS), last - row));
        // Makes earlier writes to `out` visible, and lets all threads finish with the last rows'
        // statistics.
        __syncthreads();
        for (int r = warp; r < rows; r += WARPS) {
            const T *from = x + (row + r) * c, *grad = g + places.of(row + r) * c;
            const Statistics s = statistics(from, c, eps, lane);
            float sums[2] = {0.0f, 0.0f};
            for (int j = lane; j < c; j += 32) {
                const float d = widen(grad[j]) * w[j];
                sums[0] += d;
                sums[1] += d * (widen(from[j]) - s.mean);
            }
            warp_sums(sums);
            const float a = sums[0] / c, b = sums[1] * (s.rstd * s.rstd / c);
            for (int j = lane; j < c; j += 32) {
                const float d = widen(grad[j]) * w[j];
                const float to = s.rstd * (d - a - (widen(from[j]) - s.mean) * b);
                dx[(row + r) * c + j] = narrow<T>(to);
                if (wide) wide[(row + r) * c + j] = to;
            }
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
                const float d = widen(g[places.of(row + r) * c + j]);
                weight += d * ((widen(x[at]) - mean[r]) * rstd[r]);
                bias += d;
            }
            out[j] = weight;
            out[c + j] = bias;
        }
    }
}

/// Calls run<N, R>(...) with as many registers as rows of `c` channels need, or any(...).
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

/// y, in the order of patches of `side`² pixels if `side` is not 0, of maps with `width` pixels per row;
/// also in float to `wide` if that is not null.
#define FORWARD(T, SUFFIX)                                                                       \
    extern "C" __global__ void __launch_bounds__(256) layer_norm_forward##SUFFIX(                \
        const T* x, const float* w, const float* b, T* y, float* wide, long long rows, int c,    \
        float eps, int width, int side) {                                                        \
        const Task task(rows, c, eps);                                                           \
        const Places places = {width, side};                                                     \
        BY_WIDTH(whole_groups(c, x, w, b, y, wide), c, forward, forward_any, x, w, b, y, wide,   \
                 places, task);                                                                  \
    }
FOR_EACH_TYPE(FORWARD)

/// dx, also in float to `wide` if that is not null, and partial sums of the gradients of weight and
/// bias: `partial` [parts, 2, C], one block per part. g may be in the order of patches, like the forward
/// pass's result.
#define GRAD(T, SUFFIX)                                                                          \
    extern "C" __global__ void __launch_bounds__(256) layer_norm_grad##SUFFIX(                   \
        const T* x, const float* w, const T* g, T* dx, float* wide, float* partial,              \
        long long rows, int c, float eps, int parts, int width, int side) {                      \
        const int part = blockIdx.x;                                                             \
        const long long first = part_begin(rows, part, parts);                                   \
        const long long last = part_begin(rows, part + 1, parts);                                \
        float* out = partial + part * 2LL * c;                                                   \
        const Places places = {width, side};                                                     \
        BY_WIDTH(whole_groups(c, x, w, g, dx, wide), c, grad, grad_any, x, w, g, dx, wide, out,  \
                 places, first, last, c, eps);                                                   \
    }
FOR_EACH_TYPE(GRAD)
