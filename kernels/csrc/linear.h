/* Products of a few or many rows with packed weights.

   A weight is cut into tiles of 16 output rows; a lane of 32 bits is an output row:

     int4   per 32 columns: 4 x 64 bytes of codes, then 16 x (scale, zero) in bf16. A lane's 32 bits are eight codes: code 2j in nibble j
            of the low half, code 2j + 1 in nibble j of the high half. A value is (code - 8) * scale + zero.
     int8   per 8 columns 2 x 64 bytes: of each lane columns 0 4 1 5, then 2 6 3 7; after all columns 16 scales in fp32.
     bf16   per 2 columns 64 bytes.

   Activations are rounded to 8-bit whole numbers with a scale for each group of 32 columns, so that the products of the quantized forms
   within a group are exact in whole numbers. A row's result is the same whatever other rows there are. */

#ifndef LORALOOP_LINEAR_H
#define LORALOOP_LINEAR_H

#include "simd.h"

enum { INT4, INT8, BF16 };

#define GROUP 32
#define INT4_GROUP_BYTES 320
#define AHEAD 12     /* groups that are asked for before they are read: what a core multiplies while memory answers */
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

/* Activations of `rows` rows, in the forms that products read. `whole`, `steps` and `sums` stand in blocks of 8 rows (the last may be
   smaller), in a block the rows' values side by side: a product reads one stream. */
typedef struct {
    int8_t *whole;   /* [width / 4][rows of the block][4]; eight columns stand in the order 0 4 1 5, 2 6 3 7, as in a lane of int4 codes */
    float *steps;    /* [width / 32][rows of the block]: the value that 1 of `whole` stands for */
    float *sums;     /* [width / 32][rows of the block]: the sum of a group's rounded values */
    bf16 *brief;     /* [rows][width]; NULL where nothing reads it */
    int64_t width, rows;
} inputs;

INLINE int64_t tile_bytes(int64_t kind, int64_t width) {
    return kind == INT4 ? width / GROUP * INT4_GROUP_BYTES : kind == INT8 ? width * LANES + 4 * LANES : width * LANES * 2;
}

/* Rounds x [width] into row `row`. */
static void quantize(const inputs *in, int64_t row, const float *x) {
    const int64_t width = in->width;
    const vf magic = splat(12582912.0f);
    const int64_t first = row / BLOCK * BLOCK, lane = row - first, beside = in->rows - first < BLOCK ? in->rows - first : BLOCK;
    int8_t *whole = in->whole + first * width + 4 * lane;
    float *steps = in->steps + first * (width / GROUP) + lane, *sums = in->sums + first * (width / GROUP) + lane;
    for (int64_t group = 0; group < width / GROUP; group++) {
        const float *values = x + group * GROUP;
        vf most = splat(0);
        UNROLL for (int at = 0; at < GROUP; at += WIDTH) most = max_v(most, abs_v(load_f(values + at)));
        const float peak = max_lanes(most), factor = peak > 0 ? 127.0f / peak : 0.0f, step = peak / 127.0f;
        int8_t rounded[GROUP];
        vi total = splat_i(0);
        UNROLL for (int at = 0; at < GROUP; at += WIDTH) {
            const vi n = (vi)(load_f(values + at) * factor + magic) - (vi)magic;
            const vb narrowed = __builtin_convertvector(n, vb);
            memcpy(rounded + at, &narrowed, sizeof narrowed);
            total += n;
        }
        UNROLL for (int eight = 0; eight < GROUP; eight += 8) {
            const int8_t *r = rounded + eight;
            const int8_t words[8] = {r[0], r[4], r[1], r[5], r[2], r[6], r[3], r[7]};
            memcpy(whole, words, 4);
            memcpy(whole + 4 * beside, words + 4, 4);
            whole += 8 * beside;
        }
        steps[group * beside] = step;
        sums[group * beside] = step * sum_lanes(to_float(total));
    }
    if (in->brief)
        for (int64_t at = 0; at < width; at += WIDTH) store_bf16(in->brief + row * width + at, load_f(x + at));
}

/* y[m] = tile . x[row + m], for WIDTH lanes of a tile (w and y begin at the first of them) and m rows of a block of `beside`; both are known
   where it is inlined. `row` is the block's first row, or in its second half. */
INLINE void int4_tile(const uint8_t *w, const inputs *in, int64_t row, const int m, const int beside, float (*y)[LANES]) {
    const int64_t groups = in->width / GROUP;
    const int chains = m == 1 ? 4 : m == 2 ? 2 : 1;
    const int64_t first = row / BLOCK * BLOCK;
    const int8_t *x = in->whole + first * in->width + (row - first) * 4;
    const float *steps = in->steps + first * groups + (row - first), *sums = in->sums + first * groups + (row - first);
    vf acc[BLOCK];
    UNROLL for (int t = 0; t < m; t++) acc[t] = splat(0);
    for (int64_t group = 0; group < groups; group++, w += INT4_GROUP_BYTES, x += GROUP * beside, steps += beside, sums += beside) {
        vi dots[BLOCK * 4];
        UNROLL for (int t = 0; t < m * chains; t++) dots[t] = splat_i(0);
        UNROLL for (int line = 0; line < INT4_GROUP_BYTES; line += 64) __builtin_prefetch(w + AHEAD * INT4_GROUP_BYTES + line);
        UNROLL for (int quarter = 0; quarter < 4; quarter++) {
            const vi codes = load_i(w + 64 * quarter);
            const int chain = quarter % chains;
            UNROLL for (int half = 0; half < 2; half++) {
                const vi four = (codes >> (4 * half)) & 0x0f0f0f0f;
                UNROLL for (int t = 0; t < m; t++)
                    dots[t * chains + chain] =
                        dot_codes(dots[t * chains + chain], four, load_pair(x + ((quarter * 2 + half) * beside + t) * 4));
            }
        }
        const vi both = load_i(w + 256);
        const vf scale = low_half(both), zero = high_half(both) - 8.0f * scale;
        UNROLL for (int t = 0; t < m; t++) {
            vi dot = codes_total(dots[t * chains]);
            UNROLL for (int chain = 1; chain < chains; chain++) dot += codes_total(dots[t * chains + chain]);
            acc[t] += to_float(dot) * steps[t] * scale + zero * sums[t];
        }
    }
    UNROLL for (int t = 0; t < m; t++) store_f(y[t], acc[t]);
}

INLINE void int8_tile(const int8_t *w, const float *scales, const inputs *in, int64_t row, const int m, const int beside, float (*y)[LANES]) {
    const int64_t groups = in->width / GROUP;
    const int chains = m == 1 ? 4 : m == 2 ? 2 : 1;
    const int64_t first = row / BLOCK * BLOCK;
    const int8_t *x = in->whole + first * in->width + (row - first) * 4;
    const float *steps = in->steps + first * groups + (row - first), *sums = in->sums + first * groups + (row - first);
    vf acc[BLOCK];
    UNROLL for (int t = 0; t < m; t++) acc[t] = splat(0);
    for (int64_t group = 0; group < groups; group++, w += GROUP * LANES, x += GROUP * beside, steps += beside, sums += beside) {
        vi dots[BLOCK * 4];
        UNROLL for (int t = 0; t < m * chains; t++) dots[t] = splat_i(0);
        UNROLL for (int eight = 0; eight < 4; eight++)
            UNROLL for (int half = 0; half < 2; half++) {
                const vi four = signed_bytes(load_i(w + (8 * eight + 4 * half) * LANES));
                const int chain = (2 * eight + half) % chains;
                UNROLL for (int t = 0; t < m; t++)
                    dots[t * chains + chain] =
                        dot_signed(dots[t * chains + chain], four, load_pair(x + ((2 * eight + half) * beside + t) * 4));
            }
        UNROLL for (int line = 0; line < GROUP * LANES; line += 64) __builtin_prefetch(w + 1024 + line);
        UNROLL for (int t = 0; t < m; t++) {
            vi dot = dots[t * chains];
            UNROLL for (int chain = 1; chain < chains; chain++) dot += dots[t * chains + chain];
            acc[t] += to_float(dot) * steps[t] - SIGNED_OFFSET * sums[t];
        }
    }
    const vf scale = load_f(scales);
    UNROLL for (int t = 0; t < m; t++) store_f(y[t], acc[t] * scale);
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
        else if (p->kind == INT8) int8_tile((const int8_t *)w + 4 * lane, scales + lane, in, row, m, beside, to);
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
