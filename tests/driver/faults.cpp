// Makes calls that would fail on a GPU, one fault per run: faults NAME. The driver must end the process
// with the matching message; `faults none` makes the same calls correctly and succeeds. The script
// `check` in this folder runs all.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

typedef unsigned long long Address;
extern "C" {
int cuInit(unsigned);
int cuDevicePrimaryCtxRetain(void**, int);
int cuCtxSetCurrent(void*);
int cuStreamCreate(void**, unsigned);
int cuStreamSynchronize(void*);
int cuStreamWaitEvent(void*, void*, unsigned);
int cuEventCreate(void**, unsigned);
int cuEventRecord(void*, void*);
int cuMemAllocAsync(Address*, size_t, void*);
int cuMemFreeAsync(Address, void*);
int cuMemcpyHtoDAsync_v2(Address, const void*, size_t, void*);
int cuMemcpyDtoHAsync_v2(void*, Address, size_t, void*);
int cuMemcpyDtoDAsync_v2(Address, Address, size_t, void*);
int cuMemsetD8Async(Address, unsigned char, size_t, void*);
int cuModuleLoadData(void**, const void*);
int cuModuleGetFunction(void**, void*, const char*);
int cuLaunchKernel(void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void*,
                   void**, void**);
int cublasCreate_v2(void**);
int cublasSetStream_v2(void*, void*);
int cublasGemmStridedBatchedEx(void*, int, int, int, int, int, const float*, Address, int, int, long long,
                               Address, int, int, long long, const float*, Address, int, int,
                               long long, int, int, int);
}

static std::string fault;
static bool is(const char* name) { return fault == name; }
static void ok(int code) {
    if (code != 0) {
        printf("a call returned %d\n", code);
        exit(1);
    }
}

constexpr int ROWS = 33, C = 20;

/// y = x + b by the program's kernel add_bias_f32(x, b, y, wide, long long rows, int c).
static void add_bias(void* stream, Address x, Address b, Address y) {
    // The parameters as nvcc writes them; one has another size if that is the fault.
    std::string ptx = "//\n.version 9.0\n.target sm_80\n.visible .entry add_bias_f32(\n";
    for (int i = 0; i < 5; i++) ptx += ".param .u64 p,\n";
    ptx += std::string(".param ") + (is("parameter size") ? ".u64" : ".u32") + " p,\n";
    if (is("parameter count")) ptx += ".param .u32 p\n";
    ptx += ")\n.maxntid 256, 1, 1\n{\n}\n";
    void *module, *function;
    ok(cuModuleLoadData(&module, ptx.c_str()));
    ok(cuModuleGetFunction(&function, module, "add_bias_f32"));
    long long rows = ROWS;
    int c = C;
    Address wide = 0;
    void* args[] = {&x, &b, &y, &wide, &rows, &c};
    if (is("swapped arguments")) std::swap(args[1], args[2]);
    if (is("number for pointer")) args[0] = &rows;
    if (is("missing argument")) args[5] = nullptr;
    const unsigned threads = is("threads") ? 512 : 256, shared = is("shared memory") ? 49153 : 0;
    const unsigned blocks = is("grid") ? 0 : 3;
    ok(cuLaunchKernel(function, blocks, 1, 1, threads, 1, 1, shared, stream, args, nullptr));
}

int main(int count, char** names) {
    fault = count > 1 ? names[1] : "none";
    ok(cuInit(0));
    void* context;
    ok(cuDevicePrimaryCtxRetain(&context, 0));
    ok(cuCtxSetCurrent(context));
    void *stream, *other, *event;
    // Both non-blocking, as cudarc creates them.
    ok(cuStreamCreate(&stream, 1));
    ok(cuStreamCreate(&other, 1));
    ok(cuEventCreate(&event, 0));

    std::vector<float> x(ROWS * C, 1.0f), b(C, 2.0f), y(ROWS * C);
    const size_t bytes = x.size() * 4;
    Address dx, db, dy;
    ok(cuMemAllocAsync(&dx, bytes, stream));
    ok(cuMemAllocAsync(&db, C * 4, stream));
    ok(cuMemAllocAsync(&dy, is("short buffer") ? bytes - 4 : bytes, stream));
    ok(cuMemcpyHtoDAsync_v2(is("foreign pointer") ? Address(&y[0]) : dx, x.data(), bytes, stream));
    ok(cuMemcpyHtoDAsync_v2(db, b.data(), is("long copy") ? C * 4 + 4 : C * 4, stream));
    if (is("freed argument")) ok(cuMemFreeAsync(db, stream));

    // Run the kernel on one stream and copy back on another.
    add_bias(stream, is("misaligned pointer") ? dx + 2 : dx, db, dy);
    if (!is("missing event")) {
        ok(cuEventRecord(event, stream));
        ok(cuStreamWaitEvent(other, event, 0));
    }
    ok(cuMemcpyDtoHAsync_v2(y.data(), dy, bytes, other));
    for (float v : y)
        if (v != 3.0f) return printf("a wrong sum\n"), 1;

    // The copy back is complete, because its target is not pinned; a memset is not.
    ok(cuMemsetD8Async(dx, 0, bytes, other));
    if (!is("missing synchronisation")) ok(cuStreamSynchronize(other));
    ok(cuMemcpyDtoDAsync_v2(dy, dx, bytes, stream));

    // Multiply what is left in dx and dy, [C, ROWS] times the transpose of the same shape.
    void* blas;
    ok(cublasCreate_v2(&blas));
    ok(cublasSetStream_v2(blas, stream));
    Address dz;
    ok(cuMemAllocAsync(&dz, C * C * 4, stream));
    const float one = 1.0f, zero = 0.0f;
    const int k = is("product's extent") ? ROWS + 1 : ROWS;
    ok(cublasGemmStridedBatchedEx(blas, 0, 1, C, C, k, &one, dx, 0, C, 0, dy, 0, C, 0, &zero, dz, 0,
                                  C, 0, 1, 68, -1));
    ok(cuMemFreeAsync(dx, stream));
    if (is("freed twice")) ok(cuMemFreeAsync(dx, stream));
    if (is("host reads")) printf("%f\n", *reinterpret_cast<float*>(dx));
    printf("none\n");
    return 0;
}
