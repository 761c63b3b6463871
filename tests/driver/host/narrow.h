// f16, bf16 and fp8 as candle's kernels use them, computed in float and rounded, and the other
// declarations that nvcc provides implicitly. Every CUDA header that the kernels include is this file.
#pragma once
#define NARROW_TYPES
#define __CUDA_ARCH__ 800
#define __CUDACC_VER_MAJOR__ 13
#define __CUDACC_VER_MINOR__ 0
#define __host__
// Shared arrays belong to a block, not to a thread.
#define __shared__ static
#include <cassert>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

template <class Kind>
struct Narrow {
    uint16_t bits;
    Narrow() = default;
    // From the bits that emulate.h's own conversions return.
    struct Bits { uint16_t bits; };
    Narrow(Bits b) : bits(b.bits) {}
    template <class T, class = typename std::enable_if<std::is_arithmetic<T>::value>::type>
    Narrow(T x) : bits(Kind::bits(float(x))) {}
    operator float() const { return Kind::number(bits); }
    Narrow& operator+=(Narrow o) { return *this = Narrow(float(*this) + float(o)); }
    Narrow& operator*=(float o) { return *this = Narrow(float(*this) * o); }
};
struct HalfKind { static uint16_t bits(float); static float number(uint16_t); };
struct BrainKind { static uint16_t bits(float); static float number(uint16_t); };
typedef Narrow<HalfKind> __half;
typedef Narrow<BrainKind> __nv_bfloat16;
template <class K> Narrow<K> operator+(Narrow<K> a, Narrow<K> b) { return float(a) + float(b); }
template <class K> Narrow<K> operator-(Narrow<K> a, Narrow<K> b) { return float(a) - float(b); }
template <class K> Narrow<K> operator*(Narrow<K> a, Narrow<K> b) { return float(a) * float(b); }
template <class K> Narrow<K> operator/(Narrow<K> a, Narrow<K> b) { return float(a) / float(b); }
template <class K> Narrow<K> operator-(Narrow<K> a) { return -float(a); }

#define __half2float half_to_float_of_emulation
#define __float2half_rn float_to_half_of_emulation
#define __bfloat162float bfloat_to_float_of_emulation
#define __float2bfloat16_rn float_to_bfloat_of_emulation
#define __half HalfBits
#define __nv_bfloat16 BrainBits
struct HalfBits { uint16_t bits; };
struct BrainBits { uint16_t bits; };
#include "../../it/kernels/emulate.h"
#undef __half
#undef __nv_bfloat16
#undef __half2float
#undef __float2half_rn
#undef __bfloat162float
#undef __float2bfloat16_rn

inline uint16_t HalfKind::bits(float x) { return float_to_half_of_emulation(x).bits; }
inline float HalfKind::number(uint16_t b) { return half_to_float_of_emulation({b}); }
inline uint16_t BrainKind::bits(float x) { return float_to_bfloat_of_emulation(x).bits; }
inline float BrainKind::number(uint16_t b) { return bfloat_to_float_of_emulation({b}); }
inline float __half2float(__half h) { return h; }
inline __half __float2half(float x) { return x; }
inline __half __float2half_rn(float x) { return x; }
inline float __bfloat162float(__nv_bfloat16 h) { return h; }
inline __nv_bfloat16 __float2bfloat16(float x) { return x; }
inline __nv_bfloat16 __float2bfloat16_rn(float x) { return x; }

#define NARROW_FUNCTION(NAME, EXPRESSION) \
    template <class K> Narrow<K> NAME(Narrow<K> a) { const float x = a; return EXPRESSION; }
NARROW_FUNCTION(hsqrt, sqrtf(x))
NARROW_FUNCTION(hcos, cosf(x))
NARROW_FUNCTION(hsin, sinf(x))
NARROW_FUNCTION(hlog, logf(x))
NARROW_FUNCTION(hexp, expf(x))
NARROW_FUNCTION(__habs, fabsf(x))
template <class K> bool __hisnan(Narrow<K> a) { return std::isnan(float(a)); }
template <class K> Narrow<K> __hmax_nan(Narrow<K> a, Narrow<K> b) {
    return __hisnan(a) || float(a) > float(b) ? a : b;
}
template <class K> Narrow<K> __hmin_nan(Narrow<K> a, Narrow<K> b) {
    return __hisnan(a) || float(a) < float(b) ? a : b;
}
inline unsigned short __half_as_ushort(__half h) { return h.bits; }
inline __half __ushort_as_half(unsigned short b) { return __half(__half::Bits{b}); }

struct __nv_bfloat162 { __nv_bfloat16 x, y; };
inline __nv_bfloat162 __hadd2(__nv_bfloat162 a, __nv_bfloat162 b) { return {a.x + b.x, a.y + b.y}; }
inline __nv_bfloat162 __hmul2(__nv_bfloat162 a, __nv_bfloat162 b) { return {a.x * b.x, a.y * b.y}; }

// No fp8 kernel is launched: the type exists so that their source compiles.
struct __nv_fp8_e4m3 {
    uint8_t __x;
    __nv_fp8_e4m3() = default;
    template <class T> explicit __nv_fp8_e4m3(T) { assert(!"fp8 is not implemented here"); }
};
constexpr int __NV_E4M3 = 0;
inline __half __nv_cvt_fp8_to_halfraw(uint8_t, int) { assert(!"fp8 is not implemented here"); return 0.0f; }

struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) float2 { float x, y; };
inline float2 make_float2(float x, float y) { return {x, y}; }

using std::isnan;
using std::max;
using std::signbit;
inline size_t min(size_t a, unsigned b) { return a < b ? a : b; }
inline int64_t max(int64_t a, int b) { return a > b ? a : b; }
inline float normcdff(float x) { return 0.5f * erfcf(-x * 0.70710678118654752f); }
inline double normcdf(double x) { return 0.5 * erfc(-x * 0.70710678118654752); }
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }

// Threads switch only at barriers, so atomics can be plain operations here.
template <class T, class V> T atomicAdd(T* to, V x) { T old = *to; *to = T(old + T(x)); return old; }
template <class T, class V> T atomicMin(T* to, V x) {
    T old = *to;
    if (T(x) < old) *to = T(x);
    return old;
}
template <class T, class V> T atomicMax(T* to, V x) {
    T old = *to;
    if (T(x) > old) *to = T(x);
    return old;
}
template <class T> T atomicCAS(T* to, T expected, T x) {
    T old = *to;
    if (old == expected) *to = x;
    return old;
}
inline float __uint_as_float(unsigned x) { return bits<float>(x); }
inline unsigned __float_as_uint(float x) { return bits<unsigned>(x); }
inline float __int_as_float(int x) { return bits<float>(x); }
inline int __float_as_int(float x) { return bits<int>(x); }
inline double __longlong_as_double(long long x) { return bits<double>(x); }
inline long long __double_as_longlong(double x) { return bits<long long>(x); }
