// The part of a head between its two products: bias, BatchNorm, dropout, LeakyReLU. A block has 32
// columns and 32 threads per column, each of which works on every 32nd row. All values are float.
#include "common.cuh"

namespace {

constexpr int COLUMNS = 32, ROWS = 32;

/// Sums a value over the threads of a column; all of them get the sum.
__device__ __forceinline__ float column_total(float value) {
    float* shared = shared_floats();
    shared[threadIdx.y * COLUMNS + threadIdx.x] = value;
    __syncthreads();
    float sum = 0.0f;
    for (int row = 0; row < ROWS; row++) sum += shared[row * COLUMNS + threadIdx.x];
    __syncthreads();
    return sum;
}

}  // namespace

/// y = LeakyReLU(mask · ((x + bias - mean) / sqrt(var + eps) · weight + shift)), rows of `c`. `mask` may
/// be null. If `statistics` [4, c] is not null, mean and var are those of the rows, and it receives
/// mean, 1 / sqrt(var + eps), and the running mean and variance updated with `momentum`. If it is null,
/// mean and var are the running ones.
extern "C" __global__ void __launch_bounds__(1024) head_forward(
    const float* __restrict__ x, const float* __restrict__ bias, const float* __restrict__ weight,
    const float* __restrict__ shift, const float* __restrict__ mask,
    const float* __restrict__ running_mean, const float* __restrict__ running_var,
    float* __restrict__ y, float* __restrict__ statistics, int rows, int c, float momentum,
    float eps, float slope) {
    const int column = blockIdx.x * COLUMNS + threadIdx.x;
    const bool is_column = column < c;
    const float b = is_column ? bias[column] : 0.0f;
    float mean = 0.0f, var = 0.0f;
    if (is_column && !statistics) {
        mean = running_mean[column];
        var = running_var[column];
    }
    if (statistics) {
        float sum = 0.0f;
        if (is_column) {
#pragma unroll 4
            for (int row = threadIdx.y; row < rows; row += ROWS)
                sum += x[static_cast<long long>(row) * c + column] + b;
        }
        mean = column_total(sum) / rows;
        sum = 0.0f;
        if (is_column) {
#pragma unroll 4
            for (int row = threadIdx.y; row < rows; row += ROWS) {
                const float d = x[static_cast<long long>(row) * c + column] + b - mean;
                sum += d * d;
            }
        }
        sum = column_total(sum);
        var = sum / rows;
        if (is_column && threadIdx.y == 0) {
            statistics[column] = mean;
            statistics[c + column] = 1.0f / sqrtf(var + eps);
            const float kept = 1.0f - momentum;
            statistics[2 * c + column] = kept * running_mean[column] + momentum * mean;
            // PyTorch's running variance is unbiased.
            statistics[3 * c + column] =
                kept * running_var[column] + momentum * (sum / (rows - 1));
        }
    }
    if (!is_column) return;
    const float scale = 1.0f / sqrtf(var + eps), w = weight[column], s = shift[column];
#pragma unroll 4
    for (int row = threadIdx.y; row < rows; row += ROWS) {
        const long long at = static_cast<long long>(row) * c + column;
        float v = (x[at] + b - mean) * scale * w + s;
        if (mask) v *= mask[at];
        y[at] = v > 0.0f ? v : v * slope;
    }
}

/// The backward pass of `head_forward` with the rows' statistics, and of the following product with
/// `out` [c]. From `g` [rows], the gradient of the logits: `dx`, and `grads` [4, c], the gradients of
/// bias, weight, shift and out.
extern "C" __global__ void __launch_bounds__(1024) head_grad(
    const float* __restrict__ x, const float* __restrict__ bias, const float* __restrict__ weight,
    const float* __restrict__ shift, const float* __restrict__ mask,
    const float* __restrict__ statistics, const float* __restrict__ out,
    const float* __restrict__ g, float* __restrict__ dx, float* __restrict__ grads, int rows, int c,
    float slope) {
    const int column = blockIdx.x * COLUMNS + threadIdx.x;
    const bool is_column = column < c;
    float b = 0.0f, w = 0.0f, s = 0.0f, mean = 0.0f, scale = 0.0f, o = 0.0f;
    if (is_column) {
        b = bias[column];
        w = weight[column];
        s = shift[column];
        mean = statistics[column];
        scale = statistics[c + column];
        o = out[column];
    }
    // The normalised value, and from it the gradient of the value after weight and shift.
    const auto normal = [=](long long at) { return (x[at] + b - mean) * scale; };
    const auto value = [=](long long at, float n) { return (n * w + s) * (mask ? mask[at] : 1.0f); };
    const auto grad = [=](long long at, int row, float v) {
        return g[row] * o * (v > 0.0f ? 1.0f : slope) * (mask ? mask[at] : 1.0f);
    };
    float of_weight = 0.0f, of_shift = 0.0f, of_out = 0.0f;
    if (is_column) {
#pragma unroll 4
        for (int row = threadIdx.y; row < rows; row += ROWS) {
            const long long at = static_cast<long long>(row) * c + column;
            const float n = normal(at), v = value(at, n), d = grad(at, row, v);
            of_weight += d * n;
            of_shift += d;
            of_out += g[row] * (v > 0.0f ? v : v * slope);
        }
    }
    of_weight = column_total(of_weight);
    of_shift = column_total(of_shift);
    of_out = column_total(of_out);
    float of_bias = 0.0f;
    if (is_column) {
#pragma unroll 4
        for (int row = threadIdx.y; row < rows; row += ROWS) {
            const long long at = static_cast<long long>(row) * c + column;
            const float n = normal(at), d = grad(at, row, value(at, n));
            const float to = (d - of_shift / rows - n * (of_weight / rows)) * (w * scale);
            dx[at] = to;
            of_bias += to;
        }
    }
    of_bias = column_total(of_bias);
    if (!is_column || threadIdx.y > 0) return;
    grads[column] = of_bias;
    grads[c + column] = of_weight;
    grads[2 * c + column] = of_shift;
    grads[3 * c + column] = of_out;
}
