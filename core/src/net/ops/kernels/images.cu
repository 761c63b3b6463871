// Converts bytes to 0..1 and mixes them with a partner's.
#include "common.cuh"

namespace {

/// x / 255, correctly rounded for every byte: a product with the reciprocal, refined once.
__device__ __forceinline__ float level(unsigned char byte) {
    constexpr float RECIPROCAL = 1.0f / 255.0f;
    const float x = byte, q = __fmul_rn(x, RECIPROCAL);
    return __fmaf_rn(__fmaf_rn(-255.0f, q, x), RECIPROCAL, q);
}

template <bool WHOLE, class T>
__device__ __forceinline__ void convert(const unsigned char* __restrict__ own,
                                        const unsigned char* __restrict__ partner, float share,
                                        float other_share, T* __restrict__ out, long long n,
                                        int row, int part, int side) {
    const long long first = blockIdx.x * static_cast<long long>(blockDim.x) + threadIdx.x;
    const long long threads = gridDim.x * static_cast<long long>(blockDim.x);
    for (long long i = 4 * first; i < n; i += 4 * threads) {
        const int left = static_cast<int>(min(4LL, n - i));
        Packed<unsigned char> a = {}, b = {};
        if (WHOLE) {
            a = *reinterpret_cast<const Packed<unsigned char>*>(own + i);
            if (partner) b = *reinterpret_cast<const Packed<unsigned char>*>(partner + i);
        } else {
#pragma unroll
            for (int q = 0; q < 4; q++) {
                if (q < left) a.v[q] = own[i + q];
                if (q < left && partner) b.v[q] = partner[i + q];
            }
        }
        Four to;
#pragma unroll
        for (int q = 0; q < 4; q++) {
            to.v[q] = __fmul_rn(level(a.v[q]), share);
            if (partner) to.v[q] = __fadd_rn(to.v[q], __fmul_rn(level(b.v[q]), other_share));
        }
        long long at = i;
        if (side > 0) {
            const long long y = i / row;
            const int in_row = static_cast<int>(i - y * row), x = in_row / part;
            at = ((y / side * (row / part) + x) * side + y % side) * part + in_row % part;
        }
        store<WHOLE>(out + at, to, left);
    }
}

}  // namespace

/// out = own / 255 · share + partner / 255 · other_share, or only the first term if `partner` is null;
/// each operation rounded as on the CPU. With `side` > 0, out is in the order of patches of side²
/// pixels: `row` values per row of the map, `part` of them in a patch, a multiple of 4.
#define IMAGES(T, SUFFIX)                                                                        \
    extern "C" __global__ void __launch_bounds__(256) images##SUFFIX(                            \
        const unsigned char* own, const unsigned char* partner, float share, float other_share,  \
        T* out, long long n, int row, int part, int side) {                                      \
        BY_ALIGNMENT(                                                                            \
            n % 4 == 0 && whole_groups(0, own, partner, out),                                    \
            convert<WHOLE>(own, partner, share, other_share, out, n, row, part, side));          \
    }
FOR_EACH_TYPE(IMAGES)
