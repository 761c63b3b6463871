// Enough of CUDA to run the kernels on the CPU. The threads of a block run one after another on one
// stack; a thread that reaches a barrier or shuffle keeps that stack until the others get there. The
// tests run a kernel twice, with blocks and threads in order and in reverse, to find results that depend
// on the order. Shared memory starts as NaN in every block.
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
#include <vector>
#ifdef __F16C__
#include <immintrin.h>
#endif

#ifndef __global__
#define __global__
#endif
#define __device__
#ifndef __shared__
#define __shared__
#endif
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))

using std::min;

constexpr unsigned SHARED = 227 * 1024, SHARED_GUARD = 1024;
alignas(16) unsigned char shared_memory[SHARED + SHARED_GUARD];

struct Index {
    unsigned x, y, z;
};
static Index threadIdx, blockIdx, blockDim, gridDim;

// Each operation is rounded because the compiler does not contract.
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

// candle's kernels need more of the narrow types: see tests/driver/host.
#ifndef NARROW_TYPES
struct __half {
    uint16_t bits;
};
struct __nv_bfloat16 {
    uint16_t bits;
};
#endif

inline float __half2float(__half h) {
#ifdef __F16C__
    return _cvtsh_ss(h.bits);
#endif
    const unsigned exponent = h.bits >> 10 & 31, fraction = h.bits & 1023;
    const float sign = h.bits >> 15 ? -1.0f : 1.0f;
    if (exponent == 31) return fraction ? NAN : sign * INFINITY;
    if (exponent == 0) return sign * ldexpf(float(fraction), -24);
    return sign * ldexpf(float(1024 + fraction), int(exponent) - 25);
}
inline __half __float2half_rn(float x) {
#ifdef __F16C__
    if (!std::isnan(x)) return {_cvtss_sh(x, _MM_FROUND_TO_NEAREST_INT)};
#endif
    const uint16_t sign = bits<uint32_t>(x) >> 16 & 0x8000;
    const float a = fabsf(x);
    if (std::isnan(x)) return {0x7fff};
    if (a >= 65520.0f) return {uint16_t(sign | 0x7c00)};
    // In units of the last place; nearbyintf rounds half to even.
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

struct Stack;

struct Thread {
    State state;
    Index index;
    unsigned lane;
    /// Name of the barrier or shuffle, the value given to the shuffle, and the value received.
    const char* what;
    double gives, given;
    /// Stack and position where it waits; null before it starts.
    Stack* stack;
    jmp_buf at;
};

struct Stack {
    std::unique_ptr<char[]> memory;
    bool started = false;
    ucontext_t begin;
    jmp_buf idle;
};

constexpr unsigned WARP = 32, MOST = 1024, STACK = 64 * 1024;
static Thread threads[MOST];
static Thread* current;
static std::vector<Stack*> idle_stacks;
static jmp_buf scheduler;
static void (*kernel)();
static void** arguments;

/// The running warp, and how many of its lanes have been called.
static Thread* lanes_now;
static unsigned lanes_count, lanes_called;
static bool lanes_reverse;

static Thread* next_ready() {
    while (lanes_called < lanes_count) {
        const unsigned i = lanes_called++;
        Thread& t = lanes_now[lanes_reverse ? lanes_count - 1 - i : i];
        if (t.state == READY) return &t;
    }
    return nullptr;
}

static void begin(Thread& t, Stack* stack) {
    current = &t;
    t.stack = stack;
    threadIdx = t.index;
}

static void go_on(Thread& t) {
    current = &t;
    threadIdx = t.index;
    _longjmp(t.at, 1);
}

/// Suspends the thread and resumes the next one of the warp.
static void pause(State state, const char* what) {
    current->state = state;
    current->what = what;
    if (_setjmp(current->at) == 0) {
        Thread* next = next_ready();
        if (next && next->stack) go_on(*next);
        if (next) lanes_called--;
        _longjmp(scheduler, 1);
    }
}

/// Runs a thread to its end, then the following threads of the warp that have not started.
static void run_stack() {
    for (;;) {
        kernel();
        current->state = DONE;
        Stack* stack = current->stack;
        Thread* next = lanes_called < lanes_count ? next_ready() : nullptr;
        if (next && !next->stack) {
            begin(*next, stack);
            continue;
        }
        if (next) lanes_called--;
        idle_stacks.push_back(stack);
        if (_setjmp(stack->idle) == 0) _longjmp(scheduler, 1);
    }
}

static void resume(Thread& t) {
    if (_setjmp(scheduler) != 0) return;
    if (t.stack) go_on(t);
    if (idle_stacks.empty()) idle_stacks.push_back(new Stack);
    Stack* stack = idle_stacks.back();
    idle_stacks.pop_back();
    begin(t, stack);
    if (stack->started) _longjmp(stack->idle, 1);
    stack->started = true;
    stack->memory.reset(new char[STACK]);
    getcontext(&stack->begin);
    stack->begin.uc_stack.ss_sp = stack->memory.get();
    stack->begin.uc_stack.ss_size = STACK;
    stack->begin.uc_link = nullptr;
    makecontext(&stack->begin, run_stack, 0);
    setcontext(&stack->begin);
}

/// Runs a warp until all its lanes are at the block's barrier or have ended.
static const char* run_warp(Thread* lanes, unsigned count, bool reverse) {
    for (;;) {
        lanes_now = lanes;
        lanes_count = count;
        lanes_called = 0;
        lanes_reverse = reverse;
        while (Thread* t = next_ready()) resume(*t);
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

static const char* run_block(unsigned count, bool reverse) {
    const unsigned warps = (count + WARP - 1) / WARP;
    for (unsigned i = 0; i < count; i++) {
        threads[i].state = READY;
        threads[i].stack = nullptr;
    }
    for (;;) {
        for (unsigned w = 0; w < warps; w++) {
            const unsigned first = (reverse ? warps - 1 - w : w) * WARP;
            const char* error = run_warp(threads + first, min(WARP, count - first), reverse);
            if (error) return error;
        }
        unsigned done = 0;
        for (unsigned i = 0; i < count; i++) done += threads[i].state == DONE;
        if (done == count) return nullptr;
        if (done > 0) return "some threads of a block end before a __syncthreads of others";
        for (unsigned i = 0; i < count; i++) threads[i].state = READY;
    }
}

static const char* run(const unsigned* grid, const unsigned* block, unsigned shared, int reverse,
                       void** args, void (*body)()) {
    const unsigned count = block[0] * block[1] * block[2];
    if (count > MOST || shared > SHARED) return "too many threads or too much shared memory";
    kernel = body;
    arguments = args;
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {block[0], block[1], block[2]};
    for (unsigned i = 0; i < count; i++) {
        threads[i].index = {i % block[0], i / block[0] % block[1], i / block[0] / block[1]};
        threads[i].lane = i % WARP;
    }
    const unsigned blocks = grid[0] * grid[1] * grid[2];
    for (unsigned i = 0; i < blocks; i++) {
        const unsigned b = reverse ? blocks - 1 - i : i;
        blockIdx = {b % grid[0], b / grid[0] % grid[1], b / grid[0] / grid[1]};
        memset(shared_memory, 0xff, shared + SHARED_GUARD);
        // On an error, the stacks of threads inside the kernel are leaked.
        if (const char* error = run_block(count, reverse)) return error;
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

template <class T>
inline T shuffle(const char* what, T x, unsigned from) {
    Thread* warp = current - current->lane;
    current->gives = double(x);
    pause(AT_WARP, what);
    return T(warp[from % WARP].given);
}

}  // namespace emulation

#define __syncthreads() emulation::pause(emulation::AT_BARRIER, "__syncthreads")
#define __syncwarp() emulation::pause(emulation::AT_WARP, "__syncwarp")
#define __shfl_sync(mask, x, lane) emulation::shuffle("__shfl_sync", x, lane)
// A fourth argument is the width, always the warp's.
#define __shfl_xor_sync(mask, x, lanes, ...) \
    emulation::shuffle("__shfl_xor_sync", x, emulation::current->lane ^ (lanes))
