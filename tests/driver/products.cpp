// The parts of cuBLAS and cuRAND that candle calls. Products are summed in float for any compute type.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <vector>

#include "../it/kernels/emulate.h"
#include "driver.h"

using namespace driver;

namespace {

enum Status { OK = 0, BAD_HANDLE = 1, BAD_VALUE = 7, NOT_SUPPORTED = 15 };
enum Type { R_32F = 0, R_16F = 2, R_16BF = 14 };

struct Handle {
    void* stream = nullptr;
};

size_t bytes_of(int type) { return type == R_32F ? 4 : 2; }

float number(const void* from, int type) {
    if (type == R_32F) return *static_cast<const float*>(from);
    const uint16_t b = *static_cast<const uint16_t*>(from);
    return type == R_16F ? __half2float(__half{b}) : __bfloat162float(__nv_bfloat16{b});
}

void store(void* to, int type, float x) {
    if (type == R_32F) *static_cast<float*>(to) = x;
    else if (type == R_16F) *static_cast<uint16_t*>(to) = __float2half_rn(x).bits;
    else *static_cast<uint16_t*>(to) = __float2bfloat16_rn(x).bits;
}

/// A matrix whose columns, or with `transposed` rows, are `ld` apart.
struct Matrix {
    const char* at;
    int type;
    long long ld;
    bool transposed;
    float operator()(long long row, long long column) const {
        const long long i = transposed ? column + row * ld : row + column * ld;
        return number(at + i * bytes_of(type), type);
    }
};

constexpr int ROWS = 16, COLUMNS = 6, DEPTH = 256;
typedef float Eight __attribute__((vector_size(32), aligned(4)));

/// c[column][row] += Σ a[k][row] · b[k][column], for one tile.
void tile(const float* a, const float* b, int depth, float* c) {
    Eight sums[COLUMNS][2] = {};
    for (int k = 0; k < depth; k++) {
        const Eight low = *reinterpret_cast<const Eight*>(a + k * ROWS);
        const Eight high = *reinterpret_cast<const Eight*>(a + k * ROWS + 8);
        for (int j = 0; j < COLUMNS; j++) {
            sums[j][0] += low * b[k * COLUMNS + j];
            sums[j][1] += high * b[k * COLUMNS + j];
        }
    }
    for (int j = 0; j < COLUMNS; j++) {
        *reinterpret_cast<Eight*>(c + j * ROWS) += sums[j][0];
        *reinterpret_cast<Eight*>(c + j * ROWS + 8) += sums[j][1];
    }
}

/// A product in f32, as tiles of ROWS × COLUMNS in the order [column tile][row tile].
std::vector<float> multiply(const Matrix& a, const Matrix& b, int m, int n, int k) {
    const int rows = (m + ROWS - 1) / ROWS, columns = (n + COLUMNS - 1) / COLUMNS;
    std::vector<float> out(size_t(rows) * columns * ROWS * COLUMNS), packed(ROWS * DEPTH),
        others(size_t(columns) * COLUMNS * DEPTH);
    for (int from = 0; from < k; from += DEPTH) {
        const int depth = std::min(DEPTH, k - from);
        for (int c = 0; c < columns * COLUMNS; c++)
            for (int i = 0; i < depth; i++)
                others[(size_t(c / COLUMNS) * DEPTH + i) * COLUMNS + c % COLUMNS] =
                    c < n ? b(from + i, c) : 0.0f;
        for (int r = 0; r < rows; r++) {
            for (int i = 0; i < depth; i++)
                for (int q = 0; q < ROWS; q++)
                    packed[i * ROWS + q] = r * ROWS + q < m ? a(r * ROWS + q, from + i) : 0.0f;
            for (int c = 0; c < columns; c++)
                tile(packed.data(), &others[size_t(c) * DEPTH * COLUMNS], depth,
                     &out[(size_t(c) * rows + r) * ROWS * COLUMNS]);
        }
    }
    return out;
}

/// Bytes from the first matrix of a batch to the end of the last.
size_t extent(long long rows, long long columns, long long ld, long long stride, int batch, int type) {
    return size_t((batch - 1) * stride + (columns - 1) * ld + rows) * bytes_of(type);
}

/// Number of products until one fails, and its status; 0: none fails.
long until_failure;
int failure;

}  // namespace

/// For tests: makes the n-th product from now fail with this cuBLAS status.
API void driver_fail_product(long n, int status) {
    LOCK;
    until_failure = n;
    failure = status;
}

API int cublasCreate_v2(void** to) {
    LOCK;
    *to = new Handle;
    return OK;
}

API int cublasDestroy_v2(void* handle) {
    delete static_cast<Handle*>(handle);
    return OK;
}

API int cublasSetStream_v2(void* handle, void* stream) {
    static_cast<Handle*>(handle)->stream = stream;
    return OK;
}

/// Version 13.0.0.
API int cublasGetProperty(int type, int* value) {
    *value = type == 0 ? 13 : 0;
    return OK;
}

API int cublasSetWorkspace_v2(void*, void*, size_t) { return OK; }

API int cublasGemmStridedBatchedEx(void* handle, int transa, int transb, int m, int n, int k,
                                   const void* alpha, const void* a, int a_type, int lda,
                                   long long stride_a, const void* b, int b_type, int ldb,
                                   long long stride_b, const void* beta, void* c, int c_type, int ldc,
                                   long long stride_c, int batch, int compute, int) {
    LOCK;
    const char* call = "cublasGemmStridedBatchedEx";
    if (!handle) return BAD_HANDLE;
    if (until_failure > 0 && --until_failure == 0) return failure;
    Stream& stream = stream_of(static_cast<Handle*>(handle)->stream, call);
    for (int type : {a_type, b_type, c_type})
        if (type != R_32F && type != R_16F && type != R_16BF)
            fail("%s: values of type %d are not known here", call, type);
    if (a_type != b_type || (c_type != a_type && c_type != R_32F)) return NOT_SUPPORTED;
    const int rows_a = transa ? k : m, rows_b = transb ? n : k;
    if (m < 0 || n < 0 || k < 0 || batch < 0 || lda < std::max(1, rows_a) ||
        ldb < std::max(1, rows_b) || ldc < std::max(1, m))
        fail("%s: m %d, n %d, k %d, batch %d, lda %d, ldb %d, ldc %d", call, m, n, k, batch, lda, ldb,
             ldc);
    if (m == 0 || n == 0 || k == 0 || batch == 0) return OK;
    // CUBLAS_COMPUTE_16F takes alpha and beta as f16, the others take f32.
    const int scale = compute == 64 || compute == 65 ? R_16F : R_32F;
    const float times = number(alpha, scale), before = number(beta, scale);
    auto check = [&](const void* at, int type, int rows, int columns, int ld, long long stride,
                     Use how, const char* name) -> Allocation& {
        const uint64_t address = uint64_t(at);
        if (address % bytes_of(type)) fail("%s: %s is not aligned to its values", call, name);
        Allocation& of =
            inside(address, extent(rows, columns, ld, stride, batch, type), call, name);
        use(of, stream, how, call, name);
        return of;
    };
    begin(stream);
    check(a, a_type, rows_a, transa ? m : k, lda, stride_a, READ, "A");
    check(b, b_type, rows_b, transb ? k : n, ldb, stride_b, READ, "B");
    check(c, c_type, m, n, ldc, stride_c, WRITE, "C");
    if (counting()) {
        char shape[96];
        snprintf(shape, sizeof shape, "%d x %d x %d, %d of them, type %d", m, n, k, batch, a_type);
        count_product(shape, 2.0 * m * n * k * batch);
        count(call,
              extent(rows_a, transa ? m : k, lda, stride_a, batch, a_type) +
                  extent(rows_b, transb ? k : n, ldb, stride_b, batch, b_type),
              extent(m, n, ldc, stride_c, batch, c_type));
        return OK;
    }
    for (int i = 0; i < batch; i++) {
        const Matrix left = {static_cast<const char*>(a) + i * stride_a * bytes_of(a_type), a_type,
                             lda, transa != 0};
        const Matrix right = {static_cast<const char*>(b) + i * stride_b * bytes_of(b_type), b_type,
                              ldb, transb != 0};
        char* out = static_cast<char*>(c) + i * stride_c * bytes_of(c_type);
        const std::vector<float> sums = multiply(left, right, m, n, k);
        const int rows = (m + ROWS - 1) / ROWS;
        for (int column = 0; column < n; column++)
            for (int row = 0; row < m; row++) {
                const size_t in_tile = size_t(column % COLUMNS) * ROWS + row % ROWS;
                const size_t of_tile = size_t(column / COLUMNS) * rows + row / ROWS;
                char* to = out + (row + size_t(column) * ldc) * bytes_of(c_type);
                const float x = times * sums[of_tile * ROWS * COLUMNS + in_tile];
                store(to, c_type, before == 0.0f ? x : x + before * number(to, c_type));
            }
    }
    return OK;
}

API int cublasGemmEx(void* handle, int transa, int transb, int m, int n, int k, const void* alpha,
                     const void* a, int a_type, int lda, const void* b, int b_type, int ldb,
                     const void* beta, void* c, int c_type, int ldc, int compute, int algorithm) {
    return cublasGemmStridedBatchedEx(handle, transa, transb, m, n, k, alpha, a, a_type, lda, 0, b,
                                      b_type, ldb, 0, beta, c, c_type, ldc, 0, 1, compute, algorithm);
}

// cuRAND: candle creates a generator for each device and draws no numbers from it.
API int curandCreateGenerator(void** to, int) {
    static int generator;
    *to = &generator;
    return 0;
}
API int curandSetStream(void*, void*) { return 0; }
API int curandSetPseudoRandomGeneratorSeed(void*, unsigned long long) { return 0; }
API int curandDestroyGenerator(void*) { return 0; }
