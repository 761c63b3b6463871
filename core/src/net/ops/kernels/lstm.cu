// The recurrence of D LSTM directions side by side, those of odd index backward in time, and its
// gradient: see recurrence.rs. A launch runs one step of every direction.
//
// A cell keeps [h, c, i, f, g, o], the gates in PyTorch's order; `kept` [D, T, B, 6H] holds all cells.
#include "common.cuh"

namespace {

constexpr int KEPT = 6, GATES = 2;
/// Rows of the batch per block, and warps per block.
constexpr int ROWS = 8, WARPS = 8;

struct Sizes {
    int steps, rows, hidden;

    /// Position in time of a direction's s-th step.
    __device__ __forceinline__ int time(int direction, int s) const {
        return direction % 2 ? steps - 1 - s : s;
    }
    /// Index of the first cell of a direction's s-th step.
    __device__ __forceinline__ long long cells(int direction, int s) const {
        return (static_cast<long long>(direction) * steps + time(direction, s)) * rows;
    }
    __device__ __forceinline__ long long kept() const { return static_cast<long long>(KEPT) * hidden; }
};

__device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

/// A warp works on one hidden unit and 8 rows: it multiplies the unit's four rows of w_hh by each h of
/// the previous step, 32 sums. Then lane 8·gate + row holds one sum and activates it.
template <bool WHOLE>
__device__ __forceinline__ void step(float* kept, const float* __restrict__ w_hh,
                                     const float* __restrict__ bias, Sizes sizes, int s) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, hidden = sizes.hidden;
    const int direction = blockIdx.y, first_row = blockIdx.z * ROWS;
    const int first_unit = blockIdx.x * WARPS, unit = first_unit + warp;
    const int gate = lane / ROWS, own = lane % ROWS, row = first_row + own;
    const bool valid = unit < hidden && row < sizes.rows;
    const long long width = sizes.kept();
    float* now = kept + sizes.cells(direction, s) * width;
    const float* before = s > 0 ? kept + sizes.cells(direction, s - 1) * width : nullptr;
    float z = valid ? now[row * width + static_cast<long long>(GATES + gate) * hidden + unit] : 0.0f;
    if (valid && bias) z += bias[(4LL * direction + gate) * hidden + unit];
    const float c_before = valid && before ? before[row * width + hidden + unit] : 0.0f;

    if (before && unit < hidden) {
        float sums[4 * ROWS];
#pragma unroll
        for (int i = 0; i < 4 * ROWS; i++) sums[i] = 0.0f;
        for (int k = 4 * lane; k < hidden; k += 128) {
            Four w[4];
#pragma unroll
            for (int g = 0; g < 4; g++) {
                const long long at = (direction * 4LL + g) * hidden + unit;
                w[g] = load<WHOLE>(w_hh + at * hidden + k, hidden - k);
            }
#pragma unroll
            for (int b = 0; b < ROWS; b++) {
                if (first_row + b >= sizes.rows) continue;
                const Four h = load<WHOLE>(before + (first_row + b) * width + k, hidden - k);
#pragma unroll
                for (int g = 0; g < 4; g++)
#pragma unroll
                    for (int q = 0; q < 4; q++) sums[g * ROWS + b] += w[g].v[q] * h.v[q];
            }
        }
        __syncwarp();
        scatter_sums<1>(sums, lane);
        z += sums[0];
    }

    const float a = gate == 2 ? tanhf(z) : sigmoid(z);
    const float i = __shfl_sync(0xffffffffu, a, own);
    const float f = __shfl_sync(0xffffffffu, a, ROWS + own);
    const float g = __shfl_sync(0xffffffffu, a, 2 * ROWS + own);
    const float o = __shfl_sync(0xffffffffu, a, 3 * ROWS + own);
    const float c = f * c_before + i * g;

    // Write through shared memory [6, ROWS, WARPS], so that neighbouring units are written together.
    float* shared = shared_floats();
    const int at = own * WARPS + warp;
    shared[(GATES + gate) * ROWS * WARPS + at] = a;
    if (gate == 0) shared[at] = o * tanhf(c);
    if (gate == 1) shared[ROWS * WARPS + at] = c;
    __syncthreads();
    for (int k = threadIdx.x; k < KEPT * ROWS * WARPS; k += blockDim.x) {
        const int to = first_unit + k % WARPS, b = first_row + k / WARPS % ROWS;
        const long long part = k / (ROWS * WARPS);
        if (to < hidden && b < sizes.rows) now[b * width + part * hidden + to] = shared[k];
    }
}

/// Runs backward through one cell, given `d`, the gradient of h: the gates become their gradients before
/// activation, and `dc` that of the previous cell. `c_before` is that cell's c, 0 at the first step.
__device__ __forceinline__ void cell_grad(float* at, long long h, float d, float c_before, float& dc) {
    const float tc = tanhf(at[h]), i = at[2 * h], f = at[3 * h], g = at[4 * h], o = at[5 * h];
    const float dcell = dc + d * o * (1.0f - tc * tc);
    at[2 * h] = dcell * g * i * (1.0f - i);
    at[3 * h] = dcell * f * (1.0f - f) * c_before;
    at[4 * h] = dcell * i * (1.0f - g * g);
    at[5 * h] = d * tc * o * (1.0f - o);
    dc = dcell * f;
}

/// A block works on 8 units and 8 rows. The next step contributes to the gradient of h the product of
/// its 4H gates' gradients with the units' columns of w_hh: each pair of lanes covers the 8 columns of a
/// row of w_hh, and 128 pairs take every 128th row. Then one thread runs backward through each unit's
/// cell.
template <bool WHOLE>
__device__ __forceinline__ void step_grad(float* kept, const float* __restrict__ w_hh,
                                          const float* __restrict__ grad, float* __restrict__ dc,
                                          Sizes sizes, int s) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, hidden = sizes.hidden;
    const int direction = blockIdx.y, first_row = blockIdx.z * ROWS;
    const int column = blockIdx.x * 8 + threadIdx.x % 2 * 4;
    const long long width = sizes.kept();
    const bool last = s + 1 == sizes.steps;
    float sums[4 * ROWS];
#pragma unroll
    for (int i = 0; i < 4 * ROWS; i++) sums[i] = 0.0f;
    if (!last && column < hidden) {
        const float* gates = kept + sizes.cells(direction, s + 1) * width + GATES * hidden;
#pragma unroll 2
        for (int j = threadIdx.x / 2; j < 4 * hidden; j += 16 * WARPS) {
            const float* from = w_hh + (4LL * direction * hidden + j) * hidden + column;
            const Four w = load<WHOLE>(from, hidden - column);
#pragma unroll
            for (int b = 0; b < ROWS; b++) {
                if (first_row + b >= sizes.rows) continue;
                const float d = gates[(first_row + b) * width + j];
#pragma unroll
                for (int q = 0; q < 4; q++) sums[4 * b + q] += d * w.v[q];
            }
        }
    }
    float* shared = shared_floats();
    if (!last) {
        __syncwarp();
        // Sum over the 16 pairs of a warp: lane l ends up with values l & ~1 and l | 1, of row l / 4.
        scatter_sums<2>(sums, lane);
        // Then over the warps, [WARPS, ROWS, 8].
        const int at = warp * ROWS * 8 + lane / 4 * 8 + lane % 2 * 4 + (lane & 2);
        shared[at] = sums[0];
        shared[at + 1] = sums[1];
        __syncthreads();
    }
    const int row = first_row + threadIdx.x / 8, unit = blockIdx.x * 8 + threadIdx.x % 8;
    if (threadIdx.x < ROWS * 8 && row < sizes.rows && unit < hidden) {
        float d = 0.0f;
        if (!last)
            for (int w = 0; w < WARPS; w++) d += shared[w * ROWS * 8 + threadIdx.x];
        const long long cell = sizes.cells(direction, s) + row;
        d += grad[cell * hidden + unit];
        float c_before = 0.0f;
        if (s > 0)
            c_before = kept[(sizes.cells(direction, s - 1) + row) * width + hidden + unit];
        float* carried = dc + (static_cast<long long>(direction) * sizes.rows + row) * hidden + unit;
        float of_cell = last ? 0.0f : *carried;
        cell_grad(kept + cell * width + unit, hidden, d, c_before, of_cell);
        *carried = of_cell;
    }
}

/// Copies `rows` rows of `c` elements.
template <bool WHOLE>
__device__ __forceinline__ void copy(const float* __restrict__ from, float* __restrict__ to,
                                     long long rows, int c) {
    each_group(rows, c, [=](long long row, int column, int valid) {
        const long long at = row * c + column;
        store<WHOLE>(to + at, load<WHOLE>(from + at, valid), valid);
    });
}

}  // namespace

/// Joins the weights of four directions for the steps: `w_hh` [4, 4H, H], and the sums of both biases,
/// `bias` [4, 4H].
extern "C" __global__ void __launch_bounds__(256) lstm_weights(
    const float* w0, const float* w1, const float* w2, const float* w3, const float* i0,
    const float* i1, const float* i2, const float* i3, const float* h0, const float* h1,
    const float* h2, const float* h3, float* w_hh, float* bias, int hidden) {
    const int d = blockIdx.y;
    const float* from = d == 0 ? w0 : d == 1 ? w1 : d == 2 ? w2 : w3;
    const float* b_ih = d == 0 ? i0 : d == 1 ? i1 : d == 2 ? i2 : i3;
    const float* b_hh = d == 0 ? h0 : d == 1 ? h1 : d == 2 ? h2 : h3;
    float* to = w_hh + 4LL * d * hidden * hidden;
    BY_ALIGNMENT(whole_groups(hidden, from, w_hh), copy<WHOLE>(from, to, 4LL * hidden, hidden));
    const int first = blockIdx.x * blockDim.x + threadIdx.x;
    for (int j = first; j < 4 * hidden; j += gridDim.x * blockDim.x)
        bias[4LL * d * hidden + j] = b_ih[j] + b_hh[j];
}

/// The s-th step of every direction. Adds `bias` [D, 4H], if given, and the previous step's h times
/// `w_hh` [D, 4H, H] to the gates, which hold the input products; activates them, and fills in c and h.
extern "C" __global__ void __launch_bounds__(256) lstm_step(float* kept, const float* w_hh,
                                                            const float* bias, int directions,
                                                            int steps, int rows, int hidden,
                                                            int s) {
    const Sizes sizes = {steps, rows, hidden};
    BY_ALIGNMENT(whole_groups(hidden, kept, w_hh), step<WHOLE>(kept, w_hh, bias, sizes, s));
}

/// Runs the s-th step of every direction backward, after the step that follows it: gates become their
/// gradients before activation. `grad` [D, T, B, H] is the gradient of h, `dc` [D, B, H] that of c,
/// which the last step takes as 0.
extern "C" __global__ void __launch_bounds__(256, 2) lstm_step_grad(
    float* kept, const float* w_hh, const float* grad, float* dc, int directions, int steps,
    int rows, int hidden, int s) {
    const Sizes sizes = {steps, rows, hidden};
    BY_ALIGNMENT(whole_groups(hidden, w_hh), step_grad<WHOLE>(kept, w_hh, grad, dc, sizes, s));
}
