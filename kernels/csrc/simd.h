/* Vectors of the processor's own width, in the compiler's vector types: the same source serves AVX-512, AVX2, NEON and SSE. Only
   products name instructions. bfloat16 travels as uint16_t. */

#ifndef LORALOOP_SIMD_H
#define LORALOOP_SIMD_H

#include <math.h>
#include <stdint.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#if defined(__AVX512F__)
#define WIDTH 16      /* lanes of 32 bits in a vector */
#define MANY 1        /* 32 registers rather than 16 */
#elif defined(__AVX2__)
#define WIDTH 8
#define MANY 0
#else
#define WIDTH 4
#define MANY 0
#endif
#define LANES 16      /* of a tile, whatever the processor: output rows of a weight, positions of a cache */

/* The class of processors that the library was built for. */
#if defined(__AVX512VNNI__)
#define PROCESSOR "AVX-512 with VNNI"
#elif defined(__AVX512BW__)
#define PROCESSOR "AVX-512"
#elif defined(__AVXVNNI__)
#define PROCESSOR "AVX2 with VNNI"
#elif defined(__AVX2__)
#define PROCESSOR "AVX2"
#elif defined(__ARM_FEATURE_DOTPROD)
#define PROCESSOR "NEON with dot products"
#elif defined(__ARM_NEON)
#define PROCESSOR "NEON"
#else
#define PROCESSOR "no vector instructions of its own"
#endif

#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 32")
#endif
#define INLINE static inline __attribute__((always_inline))

typedef uint16_t bf16;
typedef float vf __attribute__((vector_size(4 * WIDTH)));
typedef int32_t vi __attribute__((vector_size(4 * WIDTH)));
typedef uint32_t vu __attribute__((vector_size(4 * WIDTH)));
typedef int16_t vs __attribute__((vector_size(4 * WIDTH)));     /* twice as many */
typedef uint16_t vh __attribute__((vector_size(2 * WIDTH)));

INLINE vf load_f(const float *from) { vf v; memcpy(&v, from, sizeof v); return v; }
INLINE vi load_i(const void *from) { vi v; memcpy(&v, from, sizeof v); return v; }
INLINE void store_f(float *to, vf v) { memcpy(to, &v, sizeof v); }
INLINE vf splat(float x) { return x - (vf){0}; }   /* 0 + x would be an addition: it makes 0 of -0 */
INLINE vi splat_i(int32_t x) { return (vi){0} + x; }
INLINE vf to_float(vi v) { return __builtin_convertvector(v, vf); }
INLINE vf low_half(vi pairs) { return (vf)(pairs << 16); }
INLINE vf high_half(vi pairs) { return (vf)(pairs & (int32_t)0xffff0000); }
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

INLINE vf load_bf16(const bf16 *from) {
    vh half;
    memcpy(&half, from, sizeof half);
    return (vf)(__builtin_convertvector(half, vu) << 16);
}

INLINE void store_bf16(bf16 *to, vf v) {
#if defined(__AVX512BF16__)
    const __m256bh half = _mm512_cvtneps_pbh((__m512)v);
#else
    vu bits = (vu)v;
    vh half = __builtin_convertvector((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16, vh);
#endif
    memcpy(to, &half, sizeof half);
}

INLINE vf max_v(vf a, vf b) {
#if defined(__AVX512F__)
    return (vf)_mm512_max_ps((__m512)a, (__m512)b);
#else
    vi greater = a > b;
    return (vf)(((vi)a & greater) | ((vi)b & ~greater));
#endif
}

typedef float vq __attribute__((vector_size(16)));
typedef int32_t vqi __attribute__((vector_size(16)));
INLINE vq max_q(vq a, vq b) { const vqi greater = a > b; return (vq)(((vqi)a & greater) | ((vqi)b & ~greater)); }

INLINE float sum_lanes(vf v) {
    vq q[WIDTH / 4];
    memcpy(q, &v, sizeof q);
    UNROLL for (int half = WIDTH / 8; half; half /= 2) UNROLL for (int i = 0; i < half; i++) q[i] += q[i + half];
    return (q[0][0] + q[0][2]) + (q[0][1] + q[0][3]);
}

INLINE float max_lanes(vf v) {
    vq q[WIDTH / 4];
    memcpy(q, &v, sizeof q);
    UNROLL for (int half = WIDTH / 8; half; half /= 2) UNROLL for (int i = 0; i < half; i++) q[i] = max_q(q[i], q[i + half]);
    const float even = q[0][0] > q[0][2] ? q[0][0] : q[0][2], odd = q[0][1] > q[0][3] ? q[0][1] : q[0][3];
    return even > odd ? even : odd;
}

INLINE vf abs_v(vf v) { return (vf)((vi)v & 0x7fffffff); }

/* a * b + c, rounded once where the processor can. */
#if defined(__AVX512F__)
#define FUSED 1
INLINE vf fma_v(vf a, vf b, vf c) { return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c); }
#elif defined(__FMA__) && defined(__AVX2__)
#define FUSED 1
INLINE vf fma_v(vf a, vf b, vf c) { return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c); }
#elif defined(__ARM_NEON) && defined(__aarch64__)
#define FUSED 1
INLINE vf fma_v(vf a, vf b, vf c) { return (vf)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b); }
#else
#define FUSED 0
INLINE vf fma_v(vf a, vf b, vf c) { return a * b + c; }
#endif

/* Sums of whole numbers begin at the bits of MAGIC, a float whose last bit counts 1: the bits of a sum between -2^22 and 2^22 are those of
   the float MAGIC + sum. `scaled` makes sum * step of it, rounded once, for a step whose last two bits are 0, so that MAGIC * step is exact. */
#define MAGIC 12582912.0f
#define MAGIC_BITS 0x4b400000
INLINE vf scaled(vi sum, float step, float shift) {
#if FUSED
    return fma_v((vf)sum, splat(step), splat(shift));   /* shift = -MAGIC * step */
#else
    (void)shift;
    return ((vf)sum - MAGIC) * step;
#endif
}

/* A step whose last two bits are 0. */
INLINE float short_step(float step) {
    uint32_t bits;
    memcpy(&bits, &step, 4);
    bits &= ~3u;
    memcpy(&step, &bits, 4);
    return step;
}

/* Products of four bytes a lane with the four signed bytes of x, added to the lane.

   `dot_codes` takes bytes of 0 to 15 and begins at CODES_BEGIN. Where there is no instruction for four bytes, its sums are of 16 bits until
   `codes_total` widens them and adds what they begin at: a group's eight products of two are at most 8 * 2 * 15 * 127 < 2^15. `dot_signed`
   takes what `signed_bytes` made of signed bytes; its sum is too large by SIGNED_OFFSET times the sum of x, and so begins at less. */
#if defined(__AVX512VNNI__) || defined(__AVXVNNI__)
#if defined(__AVX512VNNI__)
INLINE vi dot_codes(vi acc, vi w, int32_t x) { return (vi)_mm512_dpbusd_epi32((__m512i)acc, (__m512i)w, _mm512_set1_epi32(x)); }
#else
INLINE vi dot_codes(vi acc, vi w, int32_t x) { return (vi)_mm256_dpbusd_avx_epi32((__m256i)acc, (__m256i)w, _mm256_set1_epi32(x)); }
#endif
#define CODES_BEGIN MAGIC_BITS
#define SIGNED_OFFSET 128
INLINE vi codes_total(vi acc, int32_t begin) { (void)begin; return acc; }
INLINE vi signed_bytes(vi w) { return w ^ (int32_t)0x80808080; }
INLINE vi dot_signed(vi acc, vi w, int32_t x) { return dot_codes(acc, w, x); }
#else
#define SIGNED_OFFSET 0
INLINE vi signed_bytes(vi w) { return w; }
/* acc[lane] += a[2 lane] * b[2 lane] + a[2 lane + 1] * b[2 lane + 1], in whole numbers of 16 bits. */
INLINE vi dot_i16(vi acc, vi a, vi b) {
#if defined(__AVX512BW__)
    return acc + (vi)_mm512_madd_epi16((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
    return acc + (vi)_mm256_madd_epi16((__m256i)a, (__m256i)b);
#elif defined(__SSE2__)
    return acc + (vi)_mm_madd_epi16((__m128i)a, (__m128i)b);
#else
    return acc + ((a << 16) >> 16) * ((b << 16) >> 16) + (a >> 16) * (b >> 16);
#endif
}
INLINE vi even_bytes(vi w) { return (vi)(((vs)w << 8) >> 8); }
INLINE vi odd_bytes(vi w) { return (vi)((vs)w >> 8); }
#if defined(__AVX512BW__)
#define CODES_BEGIN 0
INLINE vi dot_codes(vi acc, vi w, int32_t x) {
    return (vi)_mm512_add_epi16((__m512i)acc, _mm512_maddubs_epi16((__m512i)w, _mm512_set1_epi32(x)));
}
INLINE vi codes_total(vi acc, int32_t begin) { return dot_i16(splat_i(begin), acc, splat_i(0x00010001)); }
#elif defined(__AVX2__)
#define CODES_BEGIN 0
INLINE vi dot_codes(vi acc, vi w, int32_t x) {
    return (vi)_mm256_add_epi16((__m256i)acc, _mm256_maddubs_epi16((__m256i)w, _mm256_set1_epi32(x)));
}
INLINE vi codes_total(vi acc, int32_t begin) { return dot_i16(splat_i(begin), acc, splat_i(0x00010001)); }
#elif defined(__ARM_FEATURE_DOTPROD)
#define CODES_BEGIN MAGIC_BITS
INLINE vi dot_codes(vi acc, vi w, int32_t x) { return (vi)vdotq_s32((int32x4_t)acc, (int8x16_t)w, (int8x16_t)splat_i(x)); }
INLINE vi codes_total(vi acc, int32_t begin) { (void)begin; return acc; }
#else
#define CODES_BEGIN MAGIC_BITS
INLINE vi dot_codes(vi acc, vi w, int32_t x) {
    const vi all = splat_i(x);
    return dot_i16(dot_i16(acc, even_bytes(w), even_bytes(all)), odd_bytes(w), odd_bytes(all));
}
INLINE vi codes_total(vi acc, int32_t begin) { (void)begin; return acc; }
#endif
INLINE vi dot_signed(vi acc, vi w, int32_t x) {
#if defined(__AVX512BW__)
    const __m512i all = _mm512_set1_epi32(x);
    const __m512i signs = _mm512_mask_sub_epi8(all, _mm512_movepi8_mask((__m512i)w), _mm512_setzero_si512(), all);
    return dot_i16(acc, (vi)_mm512_maddubs_epi16(_mm512_abs_epi8((__m512i)w), signs), splat_i(0x00010001));
#elif defined(__AVX2__)
    const __m256i signs = _mm256_sign_epi8(_mm256_set1_epi32(x), (__m256i)w);
    return dot_i16(acc, (vi)_mm256_maddubs_epi16(_mm256_abs_epi8((__m256i)w), signs), splat_i(0x00010001));
#elif defined(__ARM_FEATURE_DOTPROD)
    return dot_codes(acc, w, x);
#else
    const vi all = splat_i(x);
    return dot_i16(dot_i16(acc, even_bytes(w), even_bytes(all)), odd_bytes(w), odd_bytes(all));
#endif
}
#endif

/* e^x for x <= 0 within 2 units in the last place; 0 below -87. */
INLINE vf exp_v(vf x) {
    const vf lowest = splat(-87.0f), magic = splat(MAGIC);
    vi under = x < lowest;
    x = max_v(x, lowest);
    const vf whole = x * 1.44269504f + magic, n = whole - magic;
    vf r = x - n * 0.693359375f + n * 2.12194440e-4f;
    vf p = splat(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    return (vf)(((vi)p + ((vi)whole << 23)) & ~under);   /* the last bits of `whole` are n, and go where the exponent is */
}

#endif
