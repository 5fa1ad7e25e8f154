/* Sixteen lanes at a time, in the compiler's own vector types: the same source serves AVX-512, AVX2, NEON and plain C. Only the
   two pair products name instructions. bfloat16 travels as uint16_t. */

#ifndef LORALOOP_SIMD_H
#define LORALOOP_SIMD_H

#include <math.h>
#include <stdint.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define LANES 16
#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 32")
#endif
#define INLINE static inline __attribute__((always_inline))

typedef uint16_t bf16;
typedef float v16f __attribute__((vector_size(64)));
typedef int32_t v16i __attribute__((vector_size(64)));
typedef uint32_t v16u __attribute__((vector_size(64)));
typedef int16_t v32h __attribute__((vector_size(64)));
typedef int16_t v16s __attribute__((vector_size(32)));
typedef int8_t v32c __attribute__((vector_size(32)));
typedef uint16_t v16h __attribute__((vector_size(32)));
typedef float v8f __attribute__((vector_size(32)));
typedef float v4f __attribute__((vector_size(16)));

INLINE v16f load_f(const float *from) { v16f v; memcpy(&v, from, sizeof v); return v; }
INLINE v16i load_i(const void *from) { v16i v; memcpy(&v, from, sizeof v); return v; }
INLINE void store_f(float *to, v16f v) { memcpy(to, &v, sizeof v); }
INLINE v16f splat(float x) { return (v16f){0} + x; }
INLINE v16i splat_i(int32_t x) { return (v16i){0} + x; }
INLINE v16f to_float(v16i v) { return __builtin_convertvector(v, v16f); }
INLINE v16f low_half(v16i pairs) { return (v16f)(pairs << 16); }
INLINE v16f high_half(v16i pairs) { return (v16f)(pairs & (int32_t)0xffff0000); }
INLINE int32_t load_pair(const void *from) { int32_t v; memcpy(&v, from, 4); return v; }

INLINE float widen(bf16 value) {
    uint32_t bits = (uint32_t)value << 16;
    float wide;
    memcpy(&wide, &bits, 4);
    return wide;
}

INLINE bf16 narrow(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return (bf16)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

INLINE v16f load_bf16(const bf16 *from) {
    v16h half;
    memcpy(&half, from, sizeof half);
    return (v16f)(__builtin_convertvector(half, v16u) << 16);
}

INLINE void store_bf16(bf16 *to, v16f v) {
    v16u bits = (v16u)v;
    v16h half = __builtin_convertvector((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16, v16h);
    memcpy(to, &half, sizeof half);
}

INLINE float sum_lanes(v16f v) {
    v8f a, b;
    memcpy(&a, &v, 32);
    memcpy(&b, (char *)&v + 32, 32);
    a += b;
    v4f c, d;
    memcpy(&c, &a, 16);
    memcpy(&d, (char *)&a + 16, 16);
    c += d;
    return (c[0] + c[2]) + (c[1] + c[3]);
}

INLINE v16f max_v(v16f a, v16f b) {
#if defined(__AVX512F__)
    return (v16f)_mm512_max_ps((__m512)a, (__m512)b);
#else
    v16i greater = a > b;
    return (v16f)(((v16i)a & greater) | ((v16i)b & ~greater));
#endif
}

INLINE float max_lanes(v16f v) {
    float most = v[0];
    for (int lane = 1; lane < LANES; lane++) most = v[lane] > most ? v[lane] : most;
    return most;
}

INLINE v16f abs_v(v16f v) { return (v16f)((v16i)v & 0x7fffffff); }

/* acc[lane] += w[2 lane] * x[0] + w[2 lane + 1] * x[1], in whole numbers of 16 bits. */
INLINE v16i dot_i16(v16i acc, v16i w, int32_t x) {
#if defined(__AVX512VNNI__)
    return (v16i)_mm512_dpwssd_epi32((__m512i)acc, (__m512i)w, _mm512_set1_epi32(x));
#elif defined(__AVX512BW__)
    return acc + (v16i)_mm512_madd_epi16((__m512i)w, _mm512_set1_epi32(x));
#elif defined(__AVX2__)
    union { v16i v; __m256i half[2]; } sum = {acc}, left = {w};
    __m256i right = _mm256_set1_epi32(x);
    for (int i = 0; i < 2; i++) sum.half[i] = _mm256_add_epi32(sum.half[i], _mm256_madd_epi16(left.half[i], right));
    return sum.v;
#else
    return acc + ((w << 16) >> 16) * (int32_t)(int16_t)x + (w >> 16) * (x >> 16);
#endif
}

/* The same in bfloat16. */
INLINE v16f dot_bf16(v16f acc, v16i w, int32_t x) {
#if defined(__AVX512BF16__)
    return (v16f)_mm512_dpbf16_ps((__m512)acc, (__m512bh)w, (__m512bh)_mm512_set1_epi32(x));
#else
    acc += low_half(w) * widen((bf16)x);
    return acc + high_half(w) * widen((bf16)((uint32_t)x >> 16));
#endif
}

/* acc[lane] += a[2 lane] * b[2 lane] + a[2 lane + 1] * b[2 lane + 1] in bfloat16. */
INLINE v16f dot_lanes(v16f acc, v16i a, v16i b) {
#if defined(__AVX512BF16__)
    return (v16f)_mm512_dpbf16_ps((__m512)acc, (__m512bh)a, (__m512bh)b);
#else
    acc += low_half(a) * low_half(b);
    return acc + high_half(a) * high_half(b);
#endif
}

/* e^x for x <= 0 within 2 units in the last place; 0 below -87. */
INLINE v16f exp_v(v16f x) {
    const v16f lowest = splat(-87.0f), magic = splat(12582912.0f);
    v16i under = x < lowest;
    x = max_v(x, lowest);
    v16f n = (x * 1.44269504f + magic) - magic;
    v16f r = x - n * 0.693359375f + n * 2.12194440e-4f;
    v16f p = splat(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    v16i power = (__builtin_convertvector(n, v16i) + 127) << 23;
    return (v16f)((v16i)(p * (v16f)power) & ~under);
}

#endif
