// Shared kernel code: element types, channels in groups of four, sums.
//
// A kernel whose name ends in _f32, _f16 or _bf16 works on elements of that type. It computes in float;
// parameters and their gradients are always float. Channels are the last dimension. Threads work on them
// in groups of four, the last group of a row being partial if the row is no multiple of four. No atomic
// additions: the same input gives the same bits.
#pragma once

// The tests compile the kernels for the CPU, with their own definitions of all this.
#ifndef EMULATED
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#endif

#define FOR_EACH_TYPE(DEFINE) \
    DEFINE(float, _f32)       \
    DEFINE(__half, _f16)      \
    DEFINE(__nv_bfloat16, _bf16)

/// Dynamic shared memory, of the launch's size.
extern __shared__ __align__(16) unsigned char shared_memory[];

__device__ __forceinline__ float* shared_floats() {
    return reinterpret_cast<float*>(shared_memory);
}

__device__ __forceinline__ float widen(float x) { return x; }
__device__ __forceinline__ float widen(__half x) { return __half2float(x); }
__device__ __forceinline__ float widen(__nv_bfloat16 x) { return __bfloat162float(x); }

template <class T>
__device__ __forceinline__ T narrow(float x);
template <>
__device__ __forceinline__ float narrow<float>(float x) {
    return x;
}
template <>
__device__ __forceinline__ __half narrow<__half>(float x) {
    return __float2half_rn(x);
}
template <>
__device__ __forceinline__ __nv_bfloat16 narrow<__nv_bfloat16>(float x) {
    return __float2bfloat16_rn(x);
}

/// A group of four channels.
struct Four {
    float v[4];
};

/// A group for a single load or store.
template <class T>
struct alignas(4 * sizeof(T)) Packed {
    T v[4];
};

__device__ __forceinline__ Four zeros() { return Four{{0.0f, 0.0f, 0.0f, 0.0f}}; }

template <class T>
__device__ __forceinline__ bool aligned(const T* p) {
    return reinterpret_cast<unsigned long long>(p) % (4 * sizeof(T)) == 0;
}

/// Whether rows of `c` elements at these addresses consist of aligned whole groups, one load each.
template <class... P>
__device__ __forceinline__ bool whole_groups(int c, P... p) {
    bool all = c % 4 == 0;
    bool each[] = {aligned(p)...};
    for (bool a : each) all = all && a;
    return all;
}

/// Loads the group at `p`. If it may be partial (not WHOLE): its first `valid` elements one by one, then
/// zeros.
template <bool WHOLE, class T>
__device__ __forceinline__ Four load(const T* __restrict__ p, int valid) {
    Four to = zeros();
    if (WHOLE) {
        const Packed<T> from = *reinterpret_cast<const Packed<T>*>(p);
#pragma unroll
        for (int q = 0; q < 4; q++) to.v[q] = widen(from.v[q]);
    } else {
#pragma unroll
        for (int q = 0; q < 4; q++)
            if (q < valid) to.v[q] = widen(p[q]);
    }
    return to;
}

/// The reverse of `load`.
template <bool WHOLE, class T>
__device__ __forceinline__ void store(T* __restrict__ p, const Four& from, int valid) {
    if (WHOLE) {
        Packed<T> to;
#pragma unroll
        for (int q = 0; q < 4; q++) to.v[q] = narrow<T>(from.v[q]);
        *reinterpret_cast<Packed<T>*>(p) = to;
    } else {
#pragma unroll
        for (int q = 0; q < 4; q++)
            if (q < valid) p[q] = narrow<T>(from.v[q]);
    }
}

/// Calls f(row, column, elements left in the row) for every group of `rows` rows of `c` elements, over
/// all threads of a one-dimensional grid. Divides twice per thread, not per group.
template <class F>
__device__ __forceinline__ void each_group(long long rows, int c, F f) {
    const int groups = (c + 3) / 4;
    const long long first = blockIdx.x * static_cast<long long>(blockDim.x) + threadIdx.x;
    const long long threads = gridDim.x * static_cast<long long>(blockDim.x);
    const long long row_step = threads / groups;
    const int group_step = static_cast<int>(threads - row_step * groups);
    long long row = first / groups;
    int group = static_cast<int>(first - row * groups);
    while (row < rows) {
        f(row, 4 * group, c - 4 * group);
        row += row_step;
        group += group_step;
        if (group >= groups) {
            group -= groups;
            row += 1;
        }
    }
}

/// Runs a body that is a template over WHOLE groups, with `whole` selecting the instance.
#define BY_ALIGNMENT(whole, ...)            \
    do {                                    \
        if (whole) {                        \
            constexpr bool WHOLE = true;    \
            __VA_ARGS__;                    \
        } else {                            \
            constexpr bool WHOLE = false;   \
            __VA_ARGS__;                    \
        }                                   \
    } while (0)

/// First row of part `part` of `parts`.
__device__ __forceinline__ long long part_begin(long long rows, int part, int parts) {
    return rows / parts * part + min(static_cast<long long>(part), rows % parts);
}

/// Memory order of a map's rows, one per pixel: as they are, or if `s` > 0 in the order of patches of
/// s×s pixels and of the pixels in each. `w`: pixels in a row of the map.
struct Places {
    int w, s;

    __device__ __forceinline__ long long of(long long row) const {
        if (s == 0) return row;
        const long long y = row / w;
        const int x = static_cast<int>(row - y * w), in_y = static_cast<int>(y % s);
        return ((y / s * (w / s) + x / s) * s + in_y) * s + x % s;
    }
};

/// Sums M values per column over the rows of part blockIdx.y into `partial` [parts, M, C]. f(first
/// element, column, elements left in the row, sums) adds a row's group to the sums. Blocks of 8 groups ×
/// 32 rows, 4 KiB of shared memory.
template <int M, class F>
__device__ __forceinline__ void sum_columns(float* partial, long long rows, int c, int parts, F f) {
    constexpr int COLUMNS = 32, ROWS = 32;
    const int part = blockIdx.y, column = blockIdx.x * COLUMNS + 4 * threadIdx.x;
    Four sums[M];
#pragma unroll
    for (int m = 0; m < M; m++) sums[m] = zeros();
    if (column < c) {
        const long long end = part_begin(rows, part + 1, parts);
#pragma unroll 4
        for (long long row = part_begin(rows, part, parts) + threadIdx.y; row < end; row += ROWS)
            f(row * c + column, column, c - column, sums);
    }
    float* shared = shared_floats();
    const int thread = threadIdx.y * blockDim.x + threadIdx.x;
    const int own = blockIdx.x * COLUMNS + thread;
#pragma unroll
    for (int m = 0; m < M; m++) {
        if (m > 0) __syncthreads();
        store<true>(shared + threadIdx.y * COLUMNS + 4 * threadIdx.x, sums[m], 4);
        __syncthreads();
        if (thread < COLUMNS && own < c) {
            float sum = 0.0f;
            for (int row = 0; row < ROWS; row++) sum += shared[row * COLUMNS + thread];
            partial[(static_cast<long long>(part) * M + m) * c + own] = sum;
        }
    }
}

/// Sums M values over the lanes of a warp; all lanes get the sums.
template <int M>
__device__ __forceinline__ void warp_sums(float (&v)[M]) {
#pragma unroll
    for (int lanes = 16; lanes > 0; lanes /= 2)
#pragma unroll
        for (int m = 0; m < M; m++) v[m] += __shfl_xor_sync(0xffffffffu, v[m], lanes);
}

/// Sums 32 values over the lanes of a warp that differ in bits of at least LAST: each lane gives away
/// half of its values and gets the other half's, until it holds LAST sums. Lane l ends up with the sums
/// of the values from l & -LAST on.
template <int LAST>
__device__ __forceinline__ void scatter_sums(float (&v)[32], int lane) {
#pragma unroll
    for (int half = 16; half >= LAST; half /= 2) {
        const bool upper = (lane & half) != 0;
#pragma unroll
        for (int i = 0; i < half; i++) {
            const float keep = upper ? v[i + half] : v[i];
            const float give = upper ? v[i] : v[i + half];
            v[i] = keep + __shfl_xor_sync(0xffffffffu, give, half);
        }
    }
}
