// Operations on whole maps: windows as rows, means over pixels.
#include "common.cuh"

namespace {

/// Copies windows `first` .. `first + count` of 3×3 pixels, each to a row, from maps of h×w pixels of
/// `c` channels with a border of zeros; stride 2.
template <bool WHOLE, class T>
__device__ __forceinline__ void windows(const T* __restrict__ map, T* __restrict__ out,
                                        long long first, long long count, int h, int w, int c) {
    const int across = w / 2, down = h / 2;
    each_group(count * 9, c, [=](long long row, int column, int valid) {
        const long long window = first + row / 9;
        const int at = static_cast<int>(row % 9);
        const long long line = window / across, image = line / down;
        const int y = 2 * static_cast<int>(line % down) + at / 3 - 1;
        const int x = 2 * static_cast<int>(window % across) + at % 3 - 1;
        Four v = zeros();
        // No window reaches beyond the last row and column.
        if (y >= 0 && x >= 0) v = load<WHOLE>(map + ((image * h + y) * w + x) * c + column, valid);
        store<WHOLE>(out + row * c + column, v, valid);
    });
}

/// Adds to each of `pixels` pixels of the maps its values in the windows' rows.
template <bool WHOLE, class T>
__device__ __forceinline__ void add_windows(const T* __restrict__ rows, T* __restrict__ map,
                                            long long first, long long count, long long pixels,
                                            int h, int w, int c) {
    const int across = w / 2, down = h / 2;
    each_group(pixels, c, [=](long long pixel, int column, int valid) {
        const int x = static_cast<int>(pixel % w), y = static_cast<int>(pixel / w % h);
        const long long image = pixel / w / h;
        Four sum = load<WHOLE>(map + pixel * c + column, valid);
        for (int i = 0; i < 3; i++)
            for (int j = 0; j < 3; j++) {
                // Window (wy, wx) has pixel (2·wy + i - 1, 2·wx + j - 1) at (i, j).
                const int wy = y + 1 - i, wx = x + 1 - j;
                if (wy < 0 || wx < 0 || wy % 2 || wx % 2 || wy / 2 >= down || wx / 2 >= across)
                    continue;
                const long long window = (image * down + wy / 2) * across + wx / 2 - first;
                if (window < 0 || window >= count) continue;
                const Four v = load<WHOLE>(rows + (window * 9 + 3 * i + j) * c + column, valid);
#pragma unroll
                for (int q = 0; q < 4; q++) sum.v[q] += v.v[q];
            }
        store<WHOLE>(map + pixel * c + column, sum, valid);
    });
}

template <bool WHOLE>
__device__ __forceinline__ void mean(const float* __restrict__ map, float* __restrict__ out,
                                     long long n, int pixels, int c) {
    each_group(n, c, [=](long long image, int column, int valid) {
        Four sum = zeros();
        const float* from = map + image * pixels * c + column;
#pragma unroll 4
        for (int p = 0; p < pixels; p++) {
            const Four v = load<WHOLE>(from + static_cast<long long>(p) * c, valid);
#pragma unroll
            for (int q = 0; q < 4; q++) sum.v[q] += v.v[q];
        }
#pragma unroll
        for (int q = 0; q < 4; q++) sum.v[q] /= pixels;
        store<WHOLE>(out + image * c + column, sum, valid);
    });
}

template <bool WHOLE, class T>
__device__ __forceinline__ void spread(const float* __restrict__ g, float* __restrict__ map,
                                       T* __restrict__ copy, long long n, int pixels, int c) {
    each_group(n * pixels, c, [=](long long pixel, int column, int valid) {
        Four v = load<WHOLE>(g + pixel / pixels * c + column, valid);
#pragma unroll
        for (int q = 0; q < 4; q++) v.v[q] /= pixels;
        store<WHOLE>(map + pixel * c + column, v, valid);
        if (copy) store<WHOLE>(copy + pixel * c + column, v, valid);
    });
}

}  // namespace

/// Maps [n, h, w, c] → windows [count, 3, 3, c].
#define WINDOWS(T, SUFFIX)                                                                       \
    extern "C" __global__ void __launch_bounds__(256) windows##SUFFIX(                           \
        const T* map, T* out, long long first, long long count, int h, int w, int c) {           \
        BY_ALIGNMENT(whole_groups(c, map, out),                                                  \
                     windows<WHOLE>(map, out, first, count, h, w, c));                           \
    }
FOR_EACH_TYPE(WINDOWS)

/// The reverse: adds windows to maps; overlapping windows add up.
#define ADD_WINDOWS(T, SUFFIX)                                                                   \
    extern "C" __global__ void __launch_bounds__(256) add_windows##SUFFIX(                       \
        const T* rows, T* map, long long first, long long count, long long pixels, int h, int w, \
        int c) {                                                                                 \
        BY_ALIGNMENT(whole_groups(c, rows, map),                                                 \
                     add_windows<WHOLE>(rows, map, first, count, pixels, h, w, c));              \
    }
FOR_EACH_TYPE(ADD_WINDOWS)

/// [n, pixels, c] → its means [n, c].
extern "C" __global__ void __launch_bounds__(256) pool_forward(const float* map, float* out,
                                                               long long n, int pixels, int c) {
    BY_ALIGNMENT(whole_groups(c, map, out), mean<WHOLE>(map, out, n, pixels, c));
}

/// The gradient of the map, given that of the means; also a copy if that pointer is not null.
#define POOL_GRAD(T, SUFFIX)                                                                     \
    extern "C" __global__ void __launch_bounds__(256) pool_grad##SUFFIX(                         \
        const float* g, float* map, T* copy, long long n, int pixels, int c) {                   \
        BY_ALIGNMENT(whole_groups(c, g, map, copy), spread<WHOLE>(g, map, copy, n, pixels, c));  \
    }
FOR_EACH_TYPE(POOL_GRAD)
