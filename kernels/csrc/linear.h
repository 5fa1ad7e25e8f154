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
#define RUNS (LANES / WIDTH)   /* vectors of a tile's lanes */
#define AHEAD 12     /* groups of int4 that are asked for before they are read: what a core multiplies while memory answers */
#define STREAMED (RUNS == 1 ? 2 : 0)   /* rows up to which asking ahead makes reading slower: whole cache lines are fetched ahead anyway */
#define BLOCK 16     /* rows whose activations stand together */
#define TOGETHER (MANY ? 16 : 4)  /* rows that share one reading of a tile, as many as there are registers for their sums of bytes */
#define SUMS 16   /* vectors of sums at most: RUNS of TOGETHER rows, or the chains of one row or two */

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

/* Activations of `rows` rows, in the forms that products read. `whole` and `groups` stand in blocks of 16 rows (the last may be smaller), in
   a block the rows' values side by side: a product reads two streams. */
typedef struct {
    int8_t *whole;   /* [width / 4][rows of the block][4]; eight columns stand in the order 0 4 1 5, 2 6 3 7, as in a lane of int4 codes */
    float *groups;   /* [width / 32][FIGURES][rows of the block]: the value that 1 of `whole` stands for, -MAGIC times it, the sum of the
                        group's rounded values, and as bits of a whole number what sums of products with `signed_bytes` begin at */
    float *apart;    /* [rows][width]: rounded to bf16; of 2 WIDTH columns first the even ones, then the odd. NULL where nothing reads it */
    int64_t width, rows;
} inputs;

enum { STEP, SHIFT, SUM, BEGIN, FIGURES };   /* of a group */

INLINE int64_t tile_bytes(int64_t kind, int64_t width) {
    return kind == INT4 ? width / GROUP * INT4_GROUP_BYTES : kind == INT8 ? width * LANES + 4 * LANES : width * LANES * 2;
}

/* x [width] as `apart` of inputs. */
static void part_columns(const float *x, int64_t width, float *apart) {
    bf16 brief[2 * WIDTH];
    for (int64_t at = 0; at < width; at += 2 * WIDTH) {
        store_bf16(brief, load_f(x + at));
        store_bf16(brief + WIDTH, load_f(x + at + WIDTH));
        store_f(apart + at, low_half(load_i(brief)));
        store_f(apart + at + WIDTH, high_half(load_i(brief)));
    }
}

/* Rounds 32 values to whole numbers; returns their sum. */
INLINE int32_t round_group(const float *x, float factor, int32_t *rounded) {
    const vf magic = splat(MAGIC);
    vi total = splat_i(0);
    UNROLL for (int at = 0; at < GROUP; at += WIDTH) {
        const vi n = (vi)(load_f(x + at) * factor + magic) - (vi)magic;
        memcpy(rounded + at, &n, sizeof n);
        total += n;
    }
    return (int32_t)sum_lanes(to_float(total));
}

/* Eight whole numbers as two words of bytes: 0 4 1 5 and 2 6 3 7. */
INLINE void pack_eight(const int32_t *n, int8_t *first, int8_t *second) {
    vqi low, high;
    memcpy(&low, n, sizeof low);
    memcpy(&high, n + 4, sizeof high);
    const vqi pairs = (low & 255) | (high & 255) << 8;
    uint64_t fours[2];
    memcpy(fours, &pairs, sizeof fours);
    for (int i = 0; i < 2; i++) fours[i] |= fours[i] >> 16;
    memcpy(first, fours, 4);
    memcpy(second, fours + 1, 4);
}

/* Rounds x [width] into row `row`. */
static void quantize(const inputs *in, int64_t row, const float *x) {
    const int64_t width = in->width;
    const int64_t first = row / BLOCK * BLOCK, lane = row - first, beside = in->rows - first < BLOCK ? in->rows - first : BLOCK;
    int8_t *whole = in->whole + first * width + 4 * lane;
    float *to = in->groups + first * (width / GROUP) * FIGURES + lane;
    for (int64_t group = 0; group < width / GROUP; group++, to += FIGURES * beside) {
        vf most = splat(0);
        UNROLL for (int at = 0; at < GROUP; at += WIDTH) most = max_v(most, abs_v(load_f(x + group * GROUP + at)));
        const float peak = max_lanes(most), step = short_step(peak / 127.0f);
        int32_t rounded[GROUP];
        const int32_t sum = round_group(x + group * GROUP, peak > 0 ? 127.0f / peak : 0.0f, rounded);
        const int32_t begin = MAGIC_BITS - SIGNED_OFFSET * sum;
        UNROLL for (int at = 0; at < GROUP; at += 8, whole += 8 * beside) pack_eight(rounded + at, whole, whole + 4 * beside);
        to[STEP * beside] = step;
        to[SHIFT * beside] = -MAGIC * step;
        to[SUM * beside] = step * (float)sum;
        memcpy(to + BEGIN * beside, &begin, sizeof begin);
    }
    if (in->apart) part_columns(x, width, in->apart + row * width);
}

/* Where a product finds its rows' figures of a group: those of `row`, and of its neighbours behind them. */
INLINE const float *figures_of(const inputs *in, int64_t row) {
    return in->groups + row / BLOCK * BLOCK * (in->width / GROUP) * FIGURES + row % BLOCK;
}

INLINE const int8_t *whole_of(const inputs *in, int64_t row) {
    return in->whole + row / BLOCK * BLOCK * in->width + row % BLOCK * 4;
}

/* y[m] = tile . x[row + m] for m rows of a block of `beside`; m is known where it is inlined. Each row has RUNS sums, one for WIDTH lanes of the
   tile: sum i is of row i / RUNS and of the lanes from WIDTH * (i % RUNS). So each line of the tile is read once, whatever the vectors' width. */
#define EACH_SUM UNROLL for (int i = 0; i < m * RUNS; i++)

INLINE void int4_tile(const uint8_t *w, const inputs *in, int64_t row, const int m, int64_t beside, float (*y)[LANES]) {
    const int chains = m == 1 ? 4 : m == 2 ? 2 : 1;
    const int8_t *x = whole_of(in, row);
    const float *figures = figures_of(in, row);
    vf acc[SUMS];
    EACH_SUM acc[i] = splat(0);
    for (int64_t group = in->width / GROUP; group; group--, w += INT4_GROUP_BYTES, figures += FIGURES * beside) {
        vi dots[SUMS];
        UNROLL for (int i = 0; i < m * RUNS * chains; i++) dots[i] = splat_i(i % chains ? 0 : CODES_BEGIN);
        if (m > STREAMED)
            UNROLL for (int line = 0; line < INT4_GROUP_BYTES; line += 64) __builtin_prefetch(w + AHEAD * INT4_GROUP_BYTES + line);
        UNROLL for (int quarter = 0; quarter < 4; quarter++) {
            const int chain = quarter % chains;
            UNROLL for (int half = 0; half < 2; half++) {
                vi four[RUNS];
                UNROLL for (int k = 0; k < RUNS; k++) four[k] = (load_i(w + 64 * quarter + 4 * WIDTH * k) >> (4 * half)) & 0x0f0f0f0f;
                EACH_SUM dots[i * chains + chain] = dot_codes(dots[i * chains + chain], four[i % RUNS], load_pair(x + 4 * (i / RUNS)));
                x += 4 * beside;
            }
        }
        vf scale[RUNS], zero[RUNS];
        UNROLL for (int k = 0; k < RUNS; k++) {
            const vi both = load_i(w + 256 + 4 * WIDTH * k);
            scale[k] = low_half(both);
            zero[k] = high_half(both) - 8.0f * scale[k];
        }
        EACH_SUM {
            const float *of = figures + i / RUNS;
            vi dot = codes_total(dots[i * chains], MAGIC_BITS);
            UNROLL for (int chain = 1; chain < chains; chain++) dot += codes_total(dots[i * chains + chain], 0);
            acc[i] = fma_v(scaled(dot, of[STEP * beside], of[SHIFT * beside]), scale[i % RUNS], acc[i]);
            acc[i] = fma_v(zero[i % RUNS], splat(of[SUM * beside]), acc[i]);
        }
    }
    EACH_SUM store_f(y[0] + i * WIDTH, acc[i]);
}

INLINE void int8_tile(const int8_t *w, const inputs *in, int64_t row, const int m, int64_t beside, float (*y)[LANES]) {
    const int chains = m == 1 ? 4 : m == 2 ? 2 : 1;
    const int8_t *x = whole_of(in, row);
    const float *figures = figures_of(in, row);
    vf acc[SUMS];
    EACH_SUM acc[i] = splat(0);
    for (int64_t group = in->width / GROUP; group; group--, w += GROUP * LANES, figures += FIGURES * beside) {
        vi dots[SUMS];
        UNROLL for (int i = 0; i < m * RUNS * chains; i++)
            dots[i] = splat_i(i % chains ? 0 : load_pair(figures + BEGIN * beside + i / chains / RUNS));
        UNROLL for (int word = 0; word < 8; word++) {
            vi four[RUNS];
            UNROLL for (int k = 0; k < RUNS; k++) four[k] = signed_bytes(load_i(w + 4 * LANES * word + 4 * WIDTH * k));
            const int chain = word % chains;
            EACH_SUM dots[i * chains + chain] = dot_signed(dots[i * chains + chain], four[i % RUNS], load_pair(x + 4 * (i / RUNS)));
            x += 4 * beside;
        }
        if (m > STREAMED)
            UNROLL for (int line = 0; line < GROUP * LANES; line += 64) __builtin_prefetch(w + 1024 + line);
        EACH_SUM {
            vi dot = dots[i * chains];
            UNROLL for (int chain = 1; chain < chains; chain++) dot += dots[i * chains + chain];
            acc[i] = fma_v((vf)dot - MAGIC, splat(figures[STEP * beside + i / RUNS]), acc[i]);
        }
    }
    EACH_SUM store_f(y[0] + i * WIDTH, acc[i] * load_f((const float *)w + i % RUNS * WIDTH));
}

INLINE void bf16_tile(const bf16 *w, const inputs *in, int64_t row, const int m, float (*y)[LANES]) {
    const float *x = in->apart + row * in->width;
    vf even[SUMS], odd[SUMS];   /* columns, whatever m: sums of floats depend on their order */
    EACH_SUM even[i] = odd[i] = splat(0);
    for (int64_t at = 0; at < in->width; at += 2 * WIDTH)
        UNROLL for (int64_t pair = at; pair < at + WIDTH; pair++, w += 2 * LANES)
            EACH_SUM {
                const vi both = load_i(w + 2 * WIDTH * (i % RUNS));
                const float *of = x + i / RUNS * in->width + pair;
                even[i] = fma_v(low_half(both), splat(of[0]), even[i]);
                odd[i] = fma_v(high_half(both), splat(of[WIDTH]), odd[i]);
            }
    EACH_SUM store_f(y[0] + i * WIDTH, even[i] + odd[i]);
}

INLINE void any_tile(const part *p, int64_t tile, const inputs *in, int64_t row, const int m, int64_t beside, float (*y)[LANES]) {
    const uint8_t *w = (const uint8_t *)p->data + tile * tile_bytes(p->kind, in->width);
    if (p->kind == INT4) int4_tile(w, in, row, m, beside, y);
    else if (p->kind == INT8) int8_tile((const int8_t *)w, in, row, m, beside, y);
    else bf16_tile((const bf16 *)w, in, row, m, y);
}

/* y [count][16] = tile of a matrix . x[row ... row + count), a block. */
static void multiply(const linear *matrix, int64_t tile, const inputs *in, int64_t row, int64_t count, float (*y)[LANES]) {
    const part *p = matrix->parts;
    const int64_t column = tile * LANES;
    while (tile * LANES >= p->rows) tile -= p++->rows / LANES;
    for (int64_t t = 0, m; t < count; t += m) {
        m = count - t >= TOGETHER ? TOGETHER : count - t < 8 ? count - t : 8;
        switch (m) {
            case 1: any_tile(p, tile, in, row + t, 1, count, y + t); break;
            case 2: any_tile(p, tile, in, row + t, 2, count, y + t); break;
            case 3: any_tile(p, tile, in, row + t, 3, count, y + t); break;
#if MANY
            case 4: any_tile(p, tile, in, row + t, 4, count, y + t); break;
            case 5: any_tile(p, tile, in, row + t, 5, count, y + t); break;
            case 6: any_tile(p, tile, in, row + t, 6, count, y + t); break;
            case 7: any_tile(p, tile, in, row + t, 7, count, y + t); break;
            case 8: any_tile(p, tile, in, row + t, 8, count, y + t); break;
#endif
            default:
                if (count == BLOCK) any_tile(p, tile, in, row + t, TOGETHER, BLOCK, y + t);   /* faster where it is known */
                else any_tile(p, tile, in, row + t, TOGETHER, count, y + t);
        }
    }
    if (matrix->bias)
        for (int64_t t = 0; t < count; t++)
            for (int64_t lane = 0; lane < LANES; lane++) y[t][lane] += matrix->bias[column + lane];
}

#endif
