/* Low-rank updates: y += weight * (x A^T) B^T for the rows that use a pair, x in bf16, sums in fp32. */

#ifndef LORALOOP_LORA_H
#define LORALOOP_LORA_H

#include "linear.h"

#define MOST_BLOCKS 3
#define MEMBERS 8      /* skills that a row mixes at most */
#define RANKS 8        /* of one unit of work */

typedef struct {
    const bf16 *shrink;   /* [rank][inputs] */
    const bf16 *expand;   /* [rank][outputs] */
    int64_t rank, inputs, outputs, blocks;
    int64_t block[MOST_BLOCKS][4];   /* ranks from, to; columns from, to: where the expand matrix may differ from zero */
} pair;

/* middle[token][rank] = weight * A[rank] . x[token], for a few ranks and tokens. */
static void shrink(const pair *p, float weight, const inputs *in, int64_t first, int64_t tokens, int64_t rank, int64_t ranks,
                   float *middle, int64_t stride) {
    for (int64_t t = 0; t < tokens; t++) {
        const bf16 *x = in->brief + (first + t) * in->width;
        float *out = middle + (first + t) * stride;
        int64_t r = rank;
        for (; r + 4 <= rank + ranks; r += 4) {
            const bf16 *a = p->shrink + r * p->inputs;
            v16f sums[4] = {splat(0), splat(0), splat(0), splat(0)};
            for (int64_t at = 0; at < p->inputs; at += 2 * LANES) {
                const v16i right = load_i(x + at);
                UNROLL for (int i = 0; i < 4; i++) sums[i] = dot_lanes(sums[i], load_i(a + i * p->inputs + at), right);
            }
            for (int i = 0; i < 4; i++) out[r + i] = weight * sum_lanes(sums[i]);
        }
        for (; r < rank + ranks; r++) {
            const bf16 *a = p->shrink + r * p->inputs;
            v16f sum = splat(0);
            for (int64_t at = 0; at < p->inputs; at += 2 * LANES) sum = dot_lanes(sum, load_i(a + at), load_i(x + at));
            out[r] = weight * sum_lanes(sum);
        }
    }
}

/* y[token] (16 columns from `column`) += B . middle[token]. */
static void expand(const pair *p, const float *middle, int64_t stride, int64_t tokens, int64_t column, v16f *y) {
    for (int64_t block = 0; block < p->blocks; block++) {
        const int64_t *b = p->block[block];
        if (column < b[2] || column >= b[3]) continue;
        const bf16 *from = p->expand + column;
        for (int64_t t = 0; t < tokens; t++) {
            const float *m = middle + t * stride;
            v16f even = splat(0), odd = splat(0);
            int64_t r = b[0];
            for (; r + 2 <= b[1]; r += 2) {
                even += m[r] * load_bf16(from + r * p->outputs);
                odd += m[r + 1] * load_bf16(from + (r + 1) * p->outputs);
            }
            if (r < b[1]) even += m[r] * load_bf16(from + r * p->outputs);
            y[t] += even + odd;
        }
    }
}

#endif
