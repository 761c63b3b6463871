// The recurrence of D LSTM directions side by side, those of odd index backwards in time, and its
// gradient: see recurrence.rs. A launch takes one step of every direction.
//
// Of a cell is kept, in turn, [h, c, i, f, g, o], the gates in PyTorch's order; all cells are
// `kept` [D, T, B, 6H].
#include "common.cuh"

namespace {

constexpr int KEPT = 6, GATES = 2;
/// Rows of the batch that a block takes, and warps of a block.
constexpr int ROWS = 8, WARPS = 8;

struct Sizes {
    int steps, rows, hidden;

    /// Where the s-th step of a direction is in time.
    __device__ __forceinline__ int time(int direction, int s) const {
        return direction % 2 ? steps - 1 - s : s;
    }
    /// First of the cells of direction and s-th step, in cells.
    __device__ __forceinline__ long long cells(int direction, int s) const {
        return (static_cast<long long>(direction) * steps + time(direction, s)) * rows;
    }
    __device__ __forceinline__ long long kept() const { return static_cast<long long>(KEPT) * hidden; }
};

__device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

/// A warp takes one hidden unit and 8 rows: the products of the unit's four rows of w_hh with each
/// h of the step before, 32 sums. Then lane 8·gate + row holds one, and activates it.
template <bool WHOLE>
__device__ __forceinline__ void step(float* kept, const float* __restrict__ w_hh, Sizes sizes,
                                     int s) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, hidden = sizes.hidden;
    const int direction = blockIdx.y, first_row = blockIdx.z * ROWS;
    const int first_unit = blockIdx.x * WARPS, unit = first_unit + warp;
    const int gate = lane / ROWS, own = lane % ROWS, row = first_row + own;
    const bool valid = unit < hidden && row < sizes.rows;
    const long long width = sizes.kept();
    float* now = kept + sizes.cells(direction, s) * width;
    const float* before = s > 0 ? kept + sizes.cells(direction, s - 1) * width : nullptr;
    float z = valid ? now[row * width + static_cast<long long>(GATES + gate) * hidden + unit] : 0.0f;
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

    // Out by way of [6, ROWS, WARPS], so that neighbouring units are written together.
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

/// A block takes 8 columns of w_hh and 8 rows: dh = Σ over the 4H gates. Two lanes hold four
/// columns each of a row of w_hh, 128 pairs of them every 128th row.
template <bool WHOLE>
__device__ __forceinline__ void carry(const float* __restrict__ kept,
                                      const float* __restrict__ w_hh, float* __restrict__ dh,
                                      Sizes sizes, int s) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, hidden = sizes.hidden;
    const int direction = blockIdx.y, first_row = blockIdx.z * ROWS;
    const int column = blockIdx.x * 8 + threadIdx.x % 2 * 4;
    const long long width = sizes.kept();
    const float* gates = kept + sizes.cells(direction, s) * width + GATES * hidden;
    float sums[4 * ROWS];
#pragma unroll
    for (int i = 0; i < 4 * ROWS; i++) sums[i] = 0.0f;
    if (column < hidden) {
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
    __syncwarp();
    // Over the 16 pairs of a warp: lane l is left with values l & ~1 and l | 1, of row l / 4.
    scatter_sums<2>(sums, lane);
    // Then over the warps, [WARPS, ROWS, 8].
    float* shared = shared_floats();
    const int at = warp * ROWS * 8 + lane / 4 * 8 + lane % 2 * 4 + (lane & 2);
    shared[at] = sums[0];
    shared[at + 1] = sums[1];
    __syncthreads();
    const int row = first_row + threadIdx.x / 8, to = blockIdx.x * 8 + threadIdx.x % 8;
    if (threadIdx.x < ROWS * 8 && row < sizes.rows && to < hidden) {
        float sum = 0.0f;
        for (int w = 0; w < WARPS; w++) sum += shared[w * ROWS * 8 + threadIdx.x];
        dh[(static_cast<long long>(direction) * sizes.rows + row) * hidden + to] = sum;
    }
}

/// `c` elements from each row of `from` to those of `to`, rows so far apart.
template <bool WHOLE>
__device__ __forceinline__ void copy(const float* __restrict__ from, long long from_width,
                                     float* __restrict__ to, long long to_width, long long rows,
                                     int c) {
    each_group(rows, c, [=](long long row, int column, int valid) {
        const Four v = load<WHOLE>(from + row * from_width + column, valid);
        store<WHOLE>(to + row * to_width + column, v, valid);
    });
}

}  // namespace

/// `gates` [D, T, B, 4H], products of the inputs plus biases, into their places in `kept`.
extern "C" __global__ void __launch_bounds__(256) lstm_spread(const float* gates, float* kept,
                                                              long long cells, int hidden) {
    const long long width = static_cast<long long>(hidden) * KEPT;
    float* to = kept + static_cast<long long>(hidden) * GATES;
    BY_ALIGNMENT(whole_groups(hidden, gates, kept),
                 copy<WHOLE>(gates, 4LL * hidden, to, width, cells, 4 * hidden));
}

/// h [D, T, B, H] out of `kept`.
extern "C" __global__ void __launch_bounds__(256) lstm_gather(const float* kept, float* h,
                                                              long long cells, int hidden) {
    const long long width = static_cast<long long>(hidden) * KEPT;
    BY_ALIGNMENT(whole_groups(hidden, kept, h),
                 copy<WHOLE>(kept, width, h, hidden, cells, hidden));
}

/// The s-th step of every direction: h of the step before times `w_hh` [D, 4H, H] is added to the
/// gates, they are activated, c and h filled in.
extern "C" __global__ void __launch_bounds__(256) lstm_step(float* kept, const float* w_hh,
                                                            int directions, int steps, int rows,
                                                            int hidden, int s) {
    const Sizes sizes = {steps, rows, hidden};
    BY_ALIGNMENT(whole_groups(hidden, kept, w_hh), step<WHOLE>(kept, w_hh, sizes, s));
}

/// Backward through the s-th step of every direction: gates become their gradients before
/// activation. `grad` [D, T, B, H] is that of h, `dh` [D, B, H] what the step after added to it
/// and `dc` [D, B, H] that of c, carried on to the step before.
extern "C" __global__ void __launch_bounds__(256) lstm_grad_cells(
    float* __restrict__ kept, const float* __restrict__ grad, const float* __restrict__ dh,
    float* __restrict__ dc, int directions, int steps, int rows, int hidden, int s) {
    const Sizes sizes = {steps, rows, hidden};
    const long long width = sizes.kept(), each = static_cast<long long>(rows) * hidden;
    const long long n = blockIdx.x * static_cast<long long>(blockDim.x) + threadIdx.x;
    if (n >= directions * each) return;
    const int direction = static_cast<int>(n / each);
    const int row = static_cast<int>(n % each / hidden), j = static_cast<int>(n % hidden);
    const long long cell = sizes.cells(direction, s) + row;
    float* at = kept + cell * width + j;
    float before = 0.0f;
    if (s > 0) before = kept[(sizes.cells(direction, s - 1) + row) * width + hidden + j];

    const long long h = hidden;
    const float d = dh[n] + grad[cell * h + j];
    const float tc = tanhf(at[h]), i = at[2 * h], f = at[3 * h], g = at[4 * h], o = at[5 * h];
    const float dcell = dc[n] + d * o * (1.0f - tc * tc);
    at[2 * h] = dcell * g * i * (1.0f - i);
    at[3 * h] = dcell * f * (1.0f - f) * before;
    at[4 * h] = dcell * i * (1.0f - g * g);
    at[5 * h] = d * tc * o * (1.0f - o);
    dc[n] = dcell * f;
}

/// The gradient of h of the step before the s-th, s > 0: `dh` = gradients of the gates · w_hh.
extern "C" __global__ void __launch_bounds__(256, 2) lstm_grad_carry(
    const float* kept, const float* w_hh, float* dh, int directions, int steps, int rows,
    int hidden, int s) {
    const Sizes sizes = {steps, rows, hidden};
    BY_ALIGNMENT(whole_groups(hidden, w_hh), carry<WHOLE>(kept, w_hh, dh, sizes, s));
}
