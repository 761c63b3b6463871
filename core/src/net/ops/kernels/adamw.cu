// AdamW over all tensors in one launch, and the sums of squares before it.
//
// A block works on one piece, 2^15 elements of a tensor. `pieces` [pieces, 2] lists tensor and piece in
// it. The operations, their order and rounding are the CPU's: no multiplication and addition is
// contracted.
#include "common.cuh"

namespace {

constexpr long long PIECE = 1 << 15;

/// Range of this block's piece.
struct Piece {
    int tensor;
    long long begin, end;

    __device__ __forceinline__ Piece(const long long* sizes, const int* pieces)
        : tensor(pieces[2 * blockIdx.x]),
          begin(pieces[2 * blockIdx.x + 1] * PIECE),
          end(min(begin + PIECE, sizes[tensor])) {}
};

struct Update {
    float decay, one_minus_beta1, beta2, one_minus_beta2, step_size, correction2, eps;

    __device__ __forceinline__ void apply(float& p, float& m, float& v, float g) const {
        p = __fmul_rn(p, decay);
        m = __fadd_rn(m, __fmul_rn(__fsub_rn(g, m), one_minus_beta1));
        v = __fadd_rn(__fmul_rn(v, beta2), __fmul_rn(__fmul_rn(g, g), one_minus_beta2));
        const float root = __fadd_rn(__fdiv_rn(__fsqrt_rn(v), correction2), eps);
        p = __fsub_rn(p, __fdiv_rn(__fmul_rn(step_size, m), root));
    }
};

template <bool WHOLE>
__device__ __forceinline__ void update(float* __restrict__ p, float* __restrict__ m,
                                       float* __restrict__ v, const float* __restrict__ g,
                                       const Piece& piece, const Update& update, float scale) {
    for (long long i = piece.begin + 4 * threadIdx.x; i < piece.end; i += 4 * blockDim.x) {
        const int left = static_cast<int>(piece.end - i);
        Four param = load<WHOLE>(p + i, left), first = load<WHOLE>(m + i, left);
        Four second = load<WHOLE>(v + i, left);
        const Four grad = load<WHOLE>(g + i, left);
#pragma unroll
        for (int q = 0; q < 4; q++)
            update.apply(param.v[q], first.v[q], second.v[q], __fmul_rn(grad.v[q], scale));
        store<WHOLE>(p + i, param, left);
        store<WHOLE>(m + i, first, left);
        store<WHOLE>(v + i, second, left);
    }
}

template <bool WHOLE>
__device__ __forceinline__ double squares(const float* __restrict__ g, const Piece& piece) {
    double sum = 0.0;
#pragma unroll 4
    for (long long i = piece.begin + 4 * threadIdx.x; i < piece.end; i += 4 * blockDim.x) {
        const Four v = load<WHOLE>(g + i, static_cast<int>(piece.end - i));
#pragma unroll
        for (int q = 0; q < 4; q++) sum += static_cast<double>(v.v[q]) * v.v[q];
    }
    return sum;
}

}  // namespace

/// Σ g² of each piece, not finite if a value is not; `grads` holds addresses of float.
extern "C" __global__ void __launch_bounds__(256) grad_squares(
    const unsigned long long* __restrict__ grads, const long long* __restrict__ sizes,
    const int* __restrict__ pieces, double* __restrict__ out) {
    const Piece piece(sizes, pieces);
    const float* g = reinterpret_cast<const float*>(grads[piece.tensor]);
    const int count = static_cast<int>(piece.end - piece.begin);
    double sum;
    BY_ALIGNMENT(whole_groups(count, g), sum = squares<WHOLE>(g, piece));
    double* shared = reinterpret_cast<double*>(shared_memory);
    shared[threadIdx.x] = sum;
    for (int half = blockDim.x / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) shared[threadIdx.x] += shared[threadIdx.x + half];
    }
    if (threadIdx.x == 0) out[blockIdx.x] = shared[0];
}

/// One step. `grads` [tensors] holds the gradients' addresses, `updated` [tensors, 3] those of
/// parameter, first and second moment. The gradients are multiplied by `inverse_scale` first.
extern "C" __global__ void __launch_bounds__(256) adamw(
    const unsigned long long* __restrict__ grads, const unsigned long long* __restrict__ updated,
    const long long* __restrict__ sizes, const int* __restrict__ pieces, float decay,
    float one_minus_beta1, float beta2, float one_minus_beta2, float step_size, float correction2,
    float eps, float inverse_scale) {
    const Piece piece(sizes, pieces);
    const unsigned long long* at = updated + 3LL * piece.tensor;
    float* p = reinterpret_cast<float*>(at[0]);
    float* m = reinterpret_cast<float*>(at[1]);
    float* v = reinterpret_cast<float*>(at[2]);
    const float* g = reinterpret_cast<const float*>(grads[piece.tensor]);
    const Update constants = {decay,     one_minus_beta1, beta2, one_minus_beta2,
                              step_size, correction2,     eps};
    const int count = static_cast<int>(piece.end - piece.begin);
    BY_ALIGNMENT(whole_groups(count, p, m, v, g),
                 update<WHOLE>(p, m, v, g, piece, constants, inverse_scale));
}
