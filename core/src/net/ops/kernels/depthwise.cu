// Depthwise 7×7 convolution, stride 1, padding 3, channels last.
//
// A thread works on one channel of a strip of four columns and moves down the rows, its 49 weights in
// registers. It reads each row of pixels once, 10 pixels for 4 outputs, and applies it to the seven
// output rows that it contributes to. Their sums (for the weights' gradient: their gradients) are in a
// ring of registers. So one read of a pixel serves 20 multiplications, and shared memory is not needed:
// pixels that neighbouring strips read again come from the L1 cache.
#include "common.cuh"

namespace {

constexpr int K = 7, PAD = 3, STRIP = 4, SPAN = STRIP + K - 1;

/// One channel of a strip of an image [h, w, c].
struct Column {
    /// First element: the strip's first pixel in the image's first row.
    long long at;
    int first, h, w, c;

    __device__ __forceinline__ Column(long long image, int strip, int channel, int h, int w, int c)
        : at((image * h * w + strip * STRIP) * c + channel),
          first(strip * STRIP),
          h(h),
          w(w),
          c(c) {}

    /// Reads N pixels of row `y`, the first one `before` pixels left of the strip; zeros outside the
    /// image.
    template <int N, class T>
    __device__ __forceinline__ void read(const T* __restrict__ x, int y, int before, T (&to)[N]) {
        const bool inside = 0 <= y && y < h;
        const long long row = at + static_cast<long long>(y) * w * c;
#pragma unroll
        for (int q = 0; q < N; q++) {
            const int column = first + q - before;
            const bool valid = inside && 0 <= column && column < w;
            to[q] = valid ? x[row + (q - before) * c] : narrow<T>(0.0f);
        }
    }
};

/// y = x convolved with `weight`. BACKWARD: with the mirrored kernel, added to `sum`; y, if not null,
/// gets a copy of `sum`.
template <bool BACKWARD, class T>
__device__ __forceinline__ void convolve(const T* __restrict__ x, const float* __restrict__ weight,
                                         const float* __restrict__ bias, float* __restrict__ sum,
                                         T* __restrict__ y, int n, int h, int w, int c) {
    const int strips = (w + STRIP - 1) / STRIP;
    const long long thread = blockIdx.x * static_cast<long long>(blockDim.x) + threadIdx.x;
    const long long strip = thread / c;
    const int channel = static_cast<int>(thread - strip * c);
    const long long image = strip / strips;
    // blockIdx.y selects a range of rows.
    const int range = (h + gridDim.y - 1) / gridDim.y, begin = blockIdx.y * range;
    const int steps = min(range, h - begin) + K - 1;
    if (image >= n || steps < K) return;
    Column column(image, static_cast<int>(strip - image * strips), channel, h, w, c);

    float taps[K * K];
#pragma unroll
    for (int k = 0; k < K * K; k++) {
        const int from = BACKWARD ? K * K - 1 - k : k;
        taps[k] = weight[static_cast<long long>(from) * c + channel];
    }
    const float start = bias ? bias[channel] : 0.0f;
    // Output row begin + i has its sums at index i % 7.
    float sums[K][STRIP];
#pragma unroll
    for (int k = 0; k < K; k++)
#pragma unroll
        for (int p = 0; p < STRIP; p++) sums[k][p] = start;

    T next[SPAN];
    column.read(x, begin - PAD, PAD, next);
    for (int t0 = 0; t0 < steps; t0 += K) {
#pragma unroll
        for (int u = 0; u < K; u++) {
            // Step t adds pixel row begin + t - 3 to output rows begin + t - 6 .. begin + t.
            const int t = t0 + u;
            if (t < steps) {
                float pixels[SPAN];
#pragma unroll
                for (int q = 0; q < SPAN; q++) pixels[q] = widen(next[q]);
                column.read(x, t + 1 < steps ? begin + t + 1 - PAD : -1, PAD, next);
#pragma unroll
                for (int k = 0; k < K; k++)
#pragma unroll
                    for (int j = 0; j < K; j++)
#pragma unroll
                        for (int p = 0; p < STRIP; p++)
                            sums[(u + K - k) % K][p] += pixels[p + j] * taps[k * K + j];
                // The first of those rows is complete and makes room for the next.
                const int done = (u + 1) % K, row = begin + t - (K - 1);
#pragma unroll
                for (int p = 0; p < STRIP; p++) {
                    const long long to = column.at + static_cast<long long>(row) * w * c + p * c;
                    if (row >= begin && column.first + p < w) {
                        float v = sums[done][p];
                        if (BACKWARD) sum[to] = v = sum[to] + v;
                        if (!BACKWARD || y) y[to] = narrow<T>(v);
                    }
                    sums[done][p] = start;
                }
            }
        }
    }
}

/// blockIdx.y selects a range of all images' strips; the 8 rows of threads share it.
template <class T>
__device__ __forceinline__ void grad_weight(const T* __restrict__ x, const T* __restrict__ g,
                                            float* __restrict__ partial, int n, int h, int w, int c,
                                            int parts) {
    constexpr int CHANNELS = 16, ROWS = 8;
    const int strips = (w + STRIP - 1) / STRIP, part = blockIdx.y;
    const int channel = blockIdx.x * CHANNELS + threadIdx.x;
    const long long all = static_cast<long long>(n) * strips;
    const long long end = channel < c ? part_begin(all, part + 1, parts) : 0;

    float sums[K * K + 1];
#pragma unroll
    for (int k = 0; k <= K * K; k++) sums[k] = 0.0f;
    for (long long i = part_begin(all, part, parts) + threadIdx.y; i < end; i += ROWS) {
        const long long image = i / strips;
        Column column(image, static_cast<int>(i - image * strips), channel, h, w, c);
        // Output row i has its gradients at index i % 7.
        float grads[K][STRIP];
#pragma unroll
        for (int k = 0; k < K; k++)
#pragma unroll
            for (int p = 0; p < STRIP; p++) grads[k][p] = 0.0f;
        T next[SPAN];
        column.read(x, -PAD, PAD, next);
        for (int t0 = 0; t0 < h + PAD; t0 += K) {
#pragma unroll
            for (int u = 0; u < K; u++) {
                // Step t pairs pixel row t - 3 with output rows t - 6 .. t.
                const int t = t0 + u;
                if (t < h + PAD) {
                    T own[STRIP];
                    column.read(g, t, 0, own);
                    float pixels[SPAN];
#pragma unroll
                    for (int q = 0; q < SPAN; q++) pixels[q] = widen(next[q]);
                    column.read(x, t + 1 - PAD, PAD, next);
#pragma unroll
                    for (int p = 0; p < STRIP; p++) {
                        grads[u][p] = widen(own[p]);
                        sums[K * K] += grads[u][p];
                    }
                    // The gradients just read come last.
#pragma unroll
                    for (int k = K - 1; k >= 0; k--)
#pragma unroll
                        for (int j = 0; j < K; j++)
#pragma unroll
                            for (int p = 0; p < STRIP; p++)
                                sums[k * K + j] += pixels[p + j] * grads[(u + K - k) % K][p];
                }
            }
        }
    }

    // Sum over the rows of threads, [ROWS / 2, 50, CHANNELS].
    float* shared = shared_floats();
    const int y = threadIdx.y;
#pragma unroll
    for (int half = ROWS / 2; half > 0; half /= 2) {
        float* at = shared + y % half * (K * K + 1) * CHANNELS + threadIdx.x;
        if (half <= y && y < 2 * half)
            for (int k = 0; k <= K * K; k++) at[k * CHANNELS] = sums[k];
        __syncthreads();
        if (y < half)
            for (int k = 0; k <= K * K; k++) sums[k] += at[k * CHANNELS];
        __syncthreads();
    }
    if (y == 0 && channel < c)
        for (int k = 0; k <= K * K; k++)
            partial[(static_cast<long long>(part) * (K * K + 1) + k) * c + channel] = sums[k];
}

}  // namespace

/// y[n,h,w,c] = b[c] + Σ x[n,h+i-3,w+j-3,c] · weight[7i+j,c].
#define FORWARD(T, SUFFIX)                                                                       \
    extern "C" __global__ void __launch_bounds__(128, 4) depthwise7_forward##SUFFIX(             \
        const T* x, const float* weight, const float* bias, T* y, int n, int h, int w, int c) {  \
        convolve<false>(x, weight, bias, static_cast<float*>(nullptr), y, n, h, w, c);           \
    }
FOR_EACH_TYPE(FORWARD)

/// Adds the gradient of x, given the gradient `g` of y, to `sum` in float; `copy`, if not null, gets the
/// sum rounded to the type of g.
#define GRAD_INPUT(T, SUFFIX)                                                                    \
    extern "C" __global__ void __launch_bounds__(128, 4) depthwise7_grad_input##SUFFIX(          \
        const T* g, const float* weight, float* sum, T* copy, int n, int h, int w, int c) {      \
        convolve<true>(g, weight, static_cast<const float*>(nullptr), sum, copy, n, h, w, c);    \
    }
FOR_EACH_TYPE(GRAD_INPUT)

/// Partial sums of the gradients of weight, and of bias in the last row: `partial` [parts, 50, C].
#define GRAD_WEIGHT(T, SUFFIX)                                                                   \
    extern "C" __global__ void __launch_bounds__(128, 4) depthwise7_grad_weight##SUFFIX(         \
        const T* x, const T* g, float* partial, int n, int h, int w, int c, int parts) {         \
        grad_weight<T>(x, g, partial, n, h, w, c, parts);                                        \
    }
FOR_EACH_TYPE(GRAD_WEIGHT)
