/* Low-rank updates: y += (x A^T) B^T for the rows that use a pair, x in bf16, sums in fp32. */

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
    const bf16 *middle;
    int64_t from, count;
} addend;

/* A[rank] . x. One rank after another, so that the matrix is read in order. */
INLINE float shrink_one(const bf16 *a, int64_t inputs, const bf16 *x) {
    vf even = splat(0), odd = splat(0);
    int64_t at = 0;
    for (; at + 4 * WIDTH <= inputs; at += 4 * WIDTH) {
        even = dot_lanes(even, load_i(a + at), load_i(x + at));
        odd = dot_lanes(odd, load_i(a + at + 2 * WIDTH), load_i(x + at + 2 * WIDTH));
    }
    for (; at < inputs; at += 2 * WIDTH) even = dot_lanes(even, load_i(a + at), load_i(x + at));
    return sum_lanes(even + odd);
}

/* middle[token][rank] = A[rank] . x[token], for a few ranks and tokens. */
static void shrink(const pair *p, const inputs *in, int64_t first, int64_t tokens, int64_t rank, int64_t ranks, bf16 *middle,
                   int64_t stride) {
    for (int64_t t = 0; t < tokens; t++) {
        const bf16 *x = in->brief + (first + t) * in->width;
        bf16 *out = middle + (first + t) * stride;
        for (int64_t r = rank; r < rank + ranks; r++) out[r] = narrow(shrink_one(p->shrink + r * p->inputs, p->inputs, x));
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

/* y [16] += B . middle, for 16 columns of a block. */
INLINE void expand_tile(const bf16 *b, int64_t ranks, const bf16 *middle, float *y) {
    for (int lane = 0; lane < LANES; lane += WIDTH) {
        const bf16 *from = b + 2 * lane;
        vf even = load_f(y + lane), odd = splat(0);
        int64_t r = 0;
        for (; r + 4 <= ranks; r += 4) {
            even = dot_bf16(even, load_i(from + r * LANES), load_pair(middle + r));
            odd = dot_bf16(odd, load_i(from + (r + 2) * LANES), load_pair(middle + r + 2));
        }
        for (; r + 2 <= ranks; r += 2) even = dot_bf16(even, load_i(from + r * LANES), load_pair(middle + r));
        if (r < ranks) odd += widen(middle[r]) * load_bf16(b + r * LANES + lane);
        store_f(y + lane, even + odd);
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
            for (int64_t t = 0; t < u->count; t++)
                expand_tile(from, b[1] - b[0], u->middle + t * stride + b[0], y[tile * room + u->from + t]);
        }
    }
}

#endif
