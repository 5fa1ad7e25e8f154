/* Low-rank updates: y += (x A^T) B^T for the rows that use a pair, x in bf16, all else in fp32. */

#ifndef LORALOOP_LORA_H
#define LORALOOP_LORA_H

#include "linear.h"

#define MOST_BLOCKS 3
#define RANKS 8        /* of one unit of work */

typedef struct {
    const bf16 *shrink;   /* [rank][inputs] */
    const bf16 *expand;   /* the blocks' values; a block's begin where its first row would in a matrix [rank][outputs] */
    int64_t rank, inputs, outputs, blocks;
    int64_t block[MOST_BLOCKS][4];   /* ranks from, to; columns from, to: of the blocks on the diagonal, else one block */
} pair;

/* What a run of rows adds to a tile. `middle` has a row for each of them. */
typedef struct {
    const pair *pair;
    const float *middle;
    int64_t from, count;
} addend;

#define SHARED 4       /* tokens that share one reading of a matrix */

/* to[t * stride] = a . x[t] for m tokens, whose columns stand apart (`inputs`). */
INLINE void shrink_one(const bf16 *a, int64_t inputs, const float *x, const int m, float *to, int64_t stride) {
    vf even[SHARED], odd[SHARED];
    UNROLL for (int t = 0; t < m; t++) even[t] = odd[t] = splat(0);
    for (int64_t at = 0; at < inputs; at += 2 * WIDTH) {
        const vi both = load_i(a + at);
        UNROLL for (int t = 0; t < m; t++) {
            even[t] = fma_v(low_half(both), load_f(x + t * inputs + at), even[t]);
            odd[t] = fma_v(high_half(both), load_f(x + t * inputs + at + WIDTH), odd[t]);
        }
    }
    UNROLL for (int t = 0; t < m; t++) to[t * stride] = sum_lanes(even[t] + odd[t]);
}

/* middle[token][rank] = A[rank] . x[token], for a few ranks and tokens. One rank after another, so that the matrix is read in order. */
static void shrink(const pair *p, const inputs *in, int64_t first, int64_t tokens, int64_t rank, int64_t ranks, float *middle,
                   int64_t stride) {
    for (int64_t r = rank; r < rank + ranks; r++) {
        const bf16 *a = p->shrink + r * p->inputs;
        int64_t t = first;
        for (; t + SHARED <= first + tokens; t += SHARED)
            shrink_one(a, p->inputs, in->apart + t * p->inputs, SHARED, middle + t * stride + r, stride);
        for (; t < first + tokens; t++) shrink_one(a, p->inputs, in->apart + t * p->inputs, 1, middle + t * stride + r, stride);
    }
}

/* Where 16 columns of a block begin; all ranks stand together, in pairs. NULL outside of the block. */
INLINE const bf16 *block_at(const pair *p, const int64_t *b, int64_t column) {
    return column < b[2] || column >= b[3] ? NULL : p->expand + b[0] * p->outputs + (column - b[2]) * (b[1] - b[0]);
}

/* Asks for the values that `expand` will read. */
static void fetch(const addend *u, int64_t column, int64_t tiles) {
    const pair *p = u->pair;
    for (int64_t number = 0; number < p->blocks; number++) {
        const int64_t *b = p->block[number], size = (b[1] - b[0]) * LANES;
        const bf16 *from = block_at(p, b, column);
        for (int64_t at = 0; from && at < tiles * size; at += 32) __builtin_prefetch(from + at, 0, 2);
    }
}

/* y[t] [16] += B . middle[t] for m tokens and 16 columns of a block. */
INLINE void expand_tile(const bf16 *b, int64_t ranks, const float *middle, int64_t stride, const int m, float (*y)[LANES]) {
    for (int lane = 0; lane < LANES; lane += WIDTH) {
        vf even[SHARED], odd[SHARED];
        UNROLL for (int t = 0; t < m; t++) even[t] = load_f(y[t] + lane), odd[t] = splat(0);
        int64_t r = 0;
        for (; r + 2 <= ranks; r += 2) {
            const vi both = load_i(b + r * LANES + 2 * lane);
            UNROLL for (int t = 0; t < m; t++) {
                even[t] = fma_v(low_half(both), splat(middle[t * stride + r]), even[t]);
                odd[t] = fma_v(high_half(both), splat(middle[t * stride + r + 1]), odd[t]);
            }
        }
        const vf last = r < ranks ? load_bf16(b + r * LANES + lane) : splat(0);
        UNROLL for (int t = 0; t < m; t++) {
            if (r < ranks) odd[t] = fma_v(last, splat(middle[t * stride + r]), odd[t]);
            store_f(y[t] + lane, even[t] + odd[t]);
        }
    }
}

/* y[tile][token] += B . middle[token] for `tiles` tiles from `column` on; a tile has `room` tokens in y. */
static void expand(const addend *u, int64_t stride, int64_t column, int64_t tiles, int64_t room, float (*y)[LANES]) {
    const pair *p = u->pair;
    for (int64_t number = 0; number < p->blocks; number++) {
        const int64_t *b = p->block[number];
        for (int64_t tile = 0; tile < tiles; tile++) {
            const bf16 *from = block_at(p, b, column + tile * LANES);
            if (!from) continue;
            float(*to)[LANES] = y + tile * room + u->from;
            const float *middle = u->middle + b[0];
            int64_t t = 0;
            for (; t + SHARED <= u->count; t += SHARED)
                expand_tile(from, b[1] - b[0], middle + t * stride, stride, SHARED, to + t);
            for (; t < u->count; t++) expand_tile(from, b[1] - b[0], middle + t * stride, stride, 1, to + t);
        }
    }
}

#endif
