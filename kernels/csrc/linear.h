/* Products of a few or many rows with packed weights.

   A weight is cut into tiles of 16 output rows; a lane is an output row, and each 32-bit lane of a step holds two neighbouring columns:

     int4   per 32 columns: 4 x 64 bytes of codes, then 16 x (scale, zero) in bf16. A lane's 32 bits are eight codes: code 2j in nibble j
            of the low half, code 2j + 1 in nibble j of the high half. A value is (code - 8) * scale + zero.
     int8   per 2 columns 32 bytes; after all columns 16 scales in fp32.
     bf16   per 2 columns 64 bytes.

   Activations are rounded to 16-bit whole numbers with one scale a row (1 / 32 767 of the largest, finer than bf16), so that the products
   of the quantized forms are exact in whole numbers. A row's result is the same whatever other rows there are. */

#ifndef LORALOOP_LINEAR_H
#define LORALOOP_LINEAR_H

#include "simd.h"

enum { INT4, INT8, BF16 };

#define GROUP 32
#define INT4_GROUP_BYTES 320
#define AHEAD 12     /* groups that are asked for before they are read: what a core multiplies while memory answers */
#define FLUSH 256    /* columns of int8 x int16 products that a 32-bit sum holds: 256 * 127 * 32767 < 2^31 */
#define BLOCK 8      /* rows whose activations stand together */
#define TOGETHER (MANY ? 8 : 4)   /* rows that share one reading of a tile, as many as there are registers for */

typedef struct {
    const void *data;
    int64_t rows;   /* a multiple of 16 */
    int64_t kind;
} part;

typedef struct {
    part parts[3];
    int64_t count, inputs, outputs;
    const float *bias;   /* [outputs], or NULL */
} linear;

/* Activations of `rows` rows, in the forms that products read. `whole` and `sums` stand in blocks of 8 rows (the last may be smaller), in
   a block the rows' values side by side: a product reads one stream. */
typedef struct {
    int16_t *whole;  /* [width / 2][rows of the block][2] */
    float *sums;     /* [width / 32][rows of the block], of groups of `whole` */
    float *scales;   /* [rows] */
    bf16 *brief;     /* [rows][width]; NULL where nothing reads it */
    int64_t width, rows;
} inputs;

INLINE int64_t tile_bytes(int64_t kind, int64_t width) {
    return kind == INT4 ? width / GROUP * INT4_GROUP_BYTES : kind == INT8 ? width * LANES + 4 * LANES : width * LANES * 2;
}

/* Rounds x [width] into row `row`. */
static void quantize(const inputs *in, int64_t row, const float *x) {
    const int64_t width = in->width;
    vf most = splat(0);
    for (int64_t at = 0; at < width; at += WIDTH) most = max_v(most, abs_v(load_f(x + at)));
    const float peak = max_lanes(most), step = peak > 0 ? 32767.0f / peak : 0.0f;
    const vf magic = splat(12582912.0f);
    const int64_t first = row / BLOCK * BLOCK, lane = row - first, beside = in->rows - first < BLOCK ? in->rows - first : BLOCK;
    int32_t *whole = (int32_t *)(in->whole + first * width) + lane;
    float *sums = in->sums + first * (width / GROUP) + lane;
    for (int64_t group = 0; group < width / GROUP; group++) {
        vi total = splat_i(0);
        for (int64_t at = group * GROUP; at < (group + 1) * GROUP; at += WIDTH) {
            const vi n = (vi)(load_f(x + at) * step + magic) - (vi)magic;
            int32_t pairs[WIDTH / 2];
            const vs_half narrowed = __builtin_convertvector(n, vs_half);
            memcpy(pairs, &narrowed, sizeof narrowed);
            for (int i = 0; i < WIDTH / 2; i++) whole[(at / 2 + i) * beside] = pairs[i];
            total += n;
        }
        sums[group * beside] = sum_lanes(to_float(total));
    }
    in->scales[row] = peak / 32767.0f;
    if (in->brief)
        for (int64_t at = 0; at < width; at += WIDTH) store_bf16(in->brief + row * width + at, load_f(x + at));
}

/* y[m] = tile . x[row + m], for WIDTH lanes of a tile (w and y begin at the first of them) and m rows of a block of `beside`; both are known
   where it is inlined. `row` is the block's first row, or in its second half. */
INLINE void int4_tile(const uint8_t *w, const inputs *in, int64_t row, const int m, const int beside, float (*y)[LANES]) {
    const int64_t groups = in->width / GROUP;
    const int chains = m == 1 ? 4 : m == 2 ? 2 : 1;
    const int64_t first = row / BLOCK * BLOCK;
    const int16_t *x = in->whole + first * in->width + (row - first) * 2;
    const float *sums = in->sums + first * groups + (row - first);
    vf acc[BLOCK];
    UNROLL for (int t = 0; t < m; t++) acc[t] = splat(0);
    for (int64_t group = 0; group < groups; group++, w += INT4_GROUP_BYTES, x += GROUP * beside, sums += beside) {
        vi dots[BLOCK * 4];
        UNROLL for (int t = 0; t < m * chains; t++) dots[t] = splat_i(0);
        UNROLL for (int line = 0; line < INT4_GROUP_BYTES; line += 64) __builtin_prefetch(w + AHEAD * INT4_GROUP_BYTES + line);
        UNROLL for (int quarter = 0; quarter < 4; quarter++) {
            const vi codes = load_i(w + 64 * quarter);
            UNROLL for (int step = 0; step < 4; step++) {
                const vi pair = (codes >> (4 * step)) & 0x000f000f;
                const int chain = quarter % chains;
                UNROLL for (int t = 0; t < m; t++)
                    dots[t * chains + chain] =
                        dot_i16(dots[t * chains + chain], pair, load_pair(x + ((quarter * 4 + step) * beside + t) * 2));
            }
        }
        const vi both = load_i(w + 256);
        const vf scale = low_half(both), zero = high_half(both) - 8.0f * scale;
        UNROLL for (int t = 0; t < m; t++) {
            vi dot = dots[t * chains];
            UNROLL for (int chain = 1; chain < chains; chain++) dot += dots[t * chains + chain];
            acc[t] += to_float(dot) * scale + zero * sums[t];
        }
    }
    UNROLL for (int t = 0; t < m; t++) store_f(y[t], acc[t] * in->scales[row + t]);
}

INLINE vi widen_codes(const int8_t *from) {
    vc codes;
    memcpy(&codes, from, sizeof codes);
    return (vi)__builtin_convertvector(codes, vs);
}

INLINE void int8_tile(const int8_t *w, const float *scales, const inputs *in, int64_t row, const int m, const int beside, float (*y)[LANES]) {
    const int64_t width = in->width;
    const int chains = m == 1 ? 4 : m == 2 ? 2 : 1;
    const int64_t first = row / BLOCK * BLOCK;
    const int16_t *x = in->whole + first * width + (row - first) * 2;
    vf acc[BLOCK];
    UNROLL for (int t = 0; t < m; t++) acc[t] = splat(0);
    for (int64_t start = 0; start < width; start += FLUSH) {
        const int64_t end = start + FLUSH < width ? start + FLUSH : width;
        vi dots[BLOCK * 4];
        UNROLL for (int t = 0; t < m * chains; t++) dots[t] = splat_i(0);
        for (int64_t at = start; at < end; at += 8, x += 8 * beside) { /* widths are multiples of 32 */
            UNROLL for (int step = 0; step < 4; step++) {
                const vi pair = widen_codes(w + (at + 2 * step) * LANES);
                UNROLL for (int t = 0; t < m; t++)
                    dots[t * chains + step % chains] =
                        dot_i16(dots[t * chains + step % chains], pair, load_pair(x + (step * beside + t) * 2));
            }
            __builtin_prefetch(w + at * LANES + 1024);
            __builtin_prefetch(w + at * LANES + 1088);
        }
        UNROLL for (int t = 0; t < m; t++) {
            vi dot = dots[t * chains];
            UNROLL for (int chain = 1; chain < chains; chain++) dot += dots[t * chains + chain];
            acc[t] += to_float(dot);
        }
    }
    const vf scale = load_f(scales);
    UNROLL for (int t = 0; t < m; t++) store_f(y[t], acc[t] * scale * in->scales[row + t]);
}

INLINE void bf16_tile(const bf16 *w, const inputs *in, int64_t row, const int m, float (*y)[LANES]) {
    const int64_t width = in->width;
    const int chains = 2;   /* whatever m: sums of floats depend on their order */
    const bf16 *x[BLOCK];
    vf acc[BLOCK * 4];
    UNROLL for (int t = 0; t < m; t++) x[t] = in->brief + (row + t) * width;
    UNROLL for (int t = 0; t < m * chains; t++) acc[t] = splat(0);
    for (int64_t at = 0; at < width; at += 8) {
        UNROLL for (int step = 0; step < 4; step++) {
            const vi pair = load_i(w + (at + 2 * step) * LANES);
            UNROLL for (int t = 0; t < m; t++)
                acc[t * chains + step % chains] =
                    dot_bf16(acc[t * chains + step % chains], pair, load_pair(x[t] + at + 2 * step));
        }
    }
    UNROLL for (int t = 0; t < m; t++) {
        store_f(y[t], acc[t * chains] + acc[t * chains + 1]);
    }
}

INLINE void any_tile(const part *p, int64_t tile, const inputs *in, int64_t row, const int m, const int beside, float (*y)[LANES]) {
    const uint8_t *w = (const uint8_t *)p->data + tile * tile_bytes(p->kind, in->width);
    const float *scales = (const float *)(w + in->width * LANES);
    for (int lane = 0; lane < LANES; lane += WIDTH) {
        float (*to)[LANES] = (float (*)[LANES])(y[0] + lane);
        if (p->kind == INT4) int4_tile(w + 4 * lane, in, row, m, beside, to);
        else if (p->kind == INT8) int8_tile((const int8_t *)w + 2 * lane, scales + lane, in, row, m, beside, to);
        else bf16_tile((const bf16 *)w + 2 * lane, in, row, m, to);
    }
}

INLINE void whole_block(const part *p, int64_t tile, const inputs *in, int64_t row, const int m, float (*y)[LANES]) {
    const int some = m < TOGETHER ? m : TOGETHER;
    any_tile(p, tile, in, row, some, m, y);
    if (m > TOGETHER) any_tile(p, tile, in, row + some, m - some, m, y + some);
}

/* y [count][16] = tile of a matrix . x[row ... row + count), a block. */
static void multiply(const linear *matrix, int64_t tile, const inputs *in, int64_t row, int64_t count, float (*y)[LANES]) {
    const part *p = matrix->parts;
    const int64_t column = tile * LANES;
    while (tile * LANES >= p->rows) tile -= p++->rows / LANES;
    switch (count) {
        case 1: whole_block(p, tile, in, row, 1, y); break;
        case 2: whole_block(p, tile, in, row, 2, y); break;
        case 3: whole_block(p, tile, in, row, 3, y); break;
        case 4: whole_block(p, tile, in, row, 4, y); break;
        case 5: whole_block(p, tile, in, row, 5, y); break;
        case 6: whole_block(p, tile, in, row, 6, y); break;
        case 7: whole_block(p, tile, in, row, 7, y); break;
        default: whole_block(p, tile, in, row, 8, y);
    }
    if (matrix->bias)
        for (int64_t t = 0; t < count; t++)
            for (int64_t lane = 0; lane < LANES; lane++) y[t][lane] += matrix->bias[column + lane];
}

#endif
