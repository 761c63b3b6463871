// Enough of CUDA to run the kernels on the CPU: every thread of a block is a fiber, and they take
// turns at barriers and shuffles. A kernel is run twice, its blocks and threads in order and in
// reverse, so that what depends on the order shows. Shared memory starts as NaN in every block.
#pragma once
#define EMULATED

#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>

#define __global__
#define __device__
#define __shared__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))

using std::min;

constexpr unsigned SHARED = 64 * 1024, SHARED_GUARD = 1024;
alignas(16) unsigned char shared_memory[SHARED + SHARED_GUARD];

struct Index {
    unsigned x, y, z;
};
static Index threadIdx, blockIdx, blockDim, gridDim;

// The rounding of each operation is what the compiler does without contraction.
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fsqrt_rn(float a) { return sqrtf(a); }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }

template <class To, class From>
inline To bits(From from) {
    static_assert(sizeof(To) == sizeof(From), "");
    To to;
    memcpy(&to, &from, sizeof to);
    return to;
}

struct __half {
    uint16_t bits;
};
struct __nv_bfloat16 {
    uint16_t bits;
};

inline float __half2float(__half h) {
    const unsigned exponent = h.bits >> 10 & 31, fraction = h.bits & 1023;
    const float sign = h.bits >> 15 ? -1.0f : 1.0f;
    if (exponent == 31) return fraction ? NAN : sign * INFINITY;
    if (exponent == 0) return sign * ldexpf(float(fraction), -24);
    return sign * ldexpf(float(1024 + fraction), int(exponent) - 25);
}
inline __half __float2half_rn(float x) {
    const uint16_t sign = bits<uint32_t>(x) >> 16 & 0x8000;
    const float a = fabsf(x);
    if (std::isnan(x)) return {0x7fff};
    if (a >= 65520.0f) return {uint16_t(sign | 0x7c00)};
    // In units of the last place, rounded to even by nearbyintf.
    const int exponent = std::max(a > 0.0f ? ilogbf(a) : -14, -14);
    const unsigned units = unsigned(nearbyintf(ldexpf(a, 10 - exponent)));
    return {uint16_t(sign | (units + (unsigned(exponent + 14) << 10)))};
}
inline float __bfloat162float(__nv_bfloat16 h) { return bits<float>(uint32_t(h.bits) << 16); }
inline __nv_bfloat16 __float2bfloat16_rn(float x) {
    if (std::isnan(x)) return {0x7fff};
    const uint32_t b = bits<uint32_t>(x);
    return {uint16_t((b + 0x7fff + (b >> 16 & 1)) >> 16)};
}

namespace emulation {

enum State { READY, AT_BARRIER, AT_WARP, DONE };

struct Fiber {
    std::unique_ptr<char[]> stack;
    bool started = false;
    ucontext_t begin;
    jmp_buf at;
    State state;
    Index index;
    unsigned lane;
    /// Who is waited for, what is given to a shuffle and, once all have, what lanes gave.
    const char* what;
    float gives, given;
};

constexpr unsigned WARP = 32, MOST = 1024, STACK = 64 * 1024;
static Fiber fibers[MOST];
static Fiber* current;
static jmp_buf scheduler;
static void (*kernel)();
static void** arguments;

static void pause(State state, const char* what) {
    current->state = state;
    current->what = what;
    if (_setjmp(current->at) == 0) _longjmp(scheduler, 1);
}

static void fiber() {
    for (;;) {
        kernel();
        pause(DONE, "the end");
    }
}

static void resume(Fiber& f) {
    current = &f;
    threadIdx = f.index;
    if (_setjmp(scheduler) != 0) return;
    if (f.started) _longjmp(f.at, 1);
    f.started = true;
    if (!f.stack) f.stack.reset(new char[STACK]);
    getcontext(&f.begin);
    f.begin.uc_stack.ss_sp = f.stack.get();
    f.begin.uc_stack.ss_size = STACK;
    f.begin.uc_link = nullptr;
    makecontext(&f.begin, fiber, 0);
    setcontext(&f.begin);
}

/// Runs a warp until all its lanes are at the block's barrier or at the end.
static const char* run_warp(Fiber* lanes, unsigned count, bool reverse) {
    for (;;) {
        for (unsigned i = 0; i < count; i++) {
            Fiber& f = lanes[reverse ? count - 1 - i : i];
            if (f.state == READY) resume(f);
        }
        unsigned waiting = 0;
        for (unsigned i = 0; i < count; i++) waiting += lanes[i].state == AT_WARP;
        if (waiting == 0) return nullptr;
        for (unsigned i = 0; i < count; i++) {
            if (lanes[i].state != AT_WARP || lanes[i].what != lanes[0].what || count != WARP)
                return "lanes of a warp diverge at a shuffle or __syncwarp";
            lanes[i].state = READY;
            lanes[i].given = lanes[i].gives;
        }
    }
}

static const char* run_block(unsigned threads, bool reverse) {
    const unsigned warps = (threads + WARP - 1) / WARP;
    for (unsigned i = 0; i < threads; i++) fibers[i].state = READY;
    for (;;) {
        for (unsigned w = 0; w < warps; w++) {
            const unsigned first = (reverse ? warps - 1 - w : w) * WARP;
            const char* error = run_warp(fibers + first, min(WARP, threads - first), reverse);
            if (error) return error;
        }
        unsigned done = 0;
        for (unsigned i = 0; i < threads; i++) done += fibers[i].state == DONE;
        if (done == threads) return nullptr;
        if (done > 0) return "some threads of a block end before a __syncthreads of others";
        for (unsigned i = 0; i < threads; i++) fibers[i].state = READY;
    }
}

static const char* run(const unsigned* grid, const unsigned* block, unsigned shared, int reverse,
                       void** args, void (*body)()) {
    const unsigned threads = block[0] * block[1] * block[2];
    if (threads > MOST || shared > SHARED) return "too many threads or too much shared memory";
    kernel = body;
    arguments = args;
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {block[0], block[1], block[2]};
    for (unsigned i = 0; i < threads; i++) {
        fibers[i].index = {i % block[0], i / block[0] % block[1], i / block[0] / block[1]};
        fibers[i].lane = i % WARP;
    }
    const unsigned blocks = grid[0] * grid[1] * grid[2];
    for (unsigned i = 0; i < blocks; i++) {
        const unsigned b = reverse ? blocks - 1 - i : i;
        blockIdx = {b % grid[0], b / grid[0] % grid[1], b / grid[0] / grid[1]};
        memset(shared_memory, 0xff, shared + SHARED_GUARD);
        if (const char* error = run_block(threads, reverse)) {
            // The fibers that are left inside the kernel begin anew.
            for (Fiber& f : fibers) f.started = false;
            return error;
        }
        for (unsigned g = 0; g < SHARED_GUARD; g++)
            if (shared_memory[shared + g] != 0xff) return "write past the shared memory";
    }
    return nullptr;
}

template <class... A, size_t... I>
inline void call(void (*f)(A...), std::index_sequence<I...>) {
    f(*static_cast<A*>(arguments[I])...);
}
template <class... A>
inline void call(void (*f)(A...)) {
    call(f, std::index_sequence_for<A...>());
}

inline float shuffle(const char* what, float x, unsigned from) {
    Fiber* warp = current - current->lane;
    current->gives = x;
    pause(AT_WARP, what);
    return warp[from % WARP].given;
}

}  // namespace emulation

#define __syncthreads() emulation::pause(emulation::AT_BARRIER, "__syncthreads")
#define __syncwarp() emulation::pause(emulation::AT_WARP, "__syncwarp")
#define __shfl_sync(mask, x, lane) emulation::shuffle("__shfl_sync", x, lane)
#define __shfl_xor_sync(mask, x, lanes) \
    emulation::shuffle("__shfl_xor_sync", x, emulation::current->lane ^ (lanes))
