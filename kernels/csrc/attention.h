/* Attention over a cache in bf16, with fp32 sums and an online softmax (FlashAttention, arXiv 2205.14135; split over positions at decode
   as in Flash-Decoding).

   A cache holds, for each layer, keys and then values; for each key-value head, blocks of 16 positions: keys as [D / 2][16 positions][2],
   values as [8 pairs of positions][D][2]. Both put the two factors of a pair product side by side. */

#ifndef LORALOOP_ATTENTION_H
#define LORALOOP_ATTENTION_H

#include "simd.h"

#define CHUNK 256      /* positions of one softmax update */
#define FEW (MANY ? 8 : 4) /* queries that share one reading of the keys, as many as there are registers for */
#define MOST_HEAD 256  /* of head_dim */

typedef struct {
    bf16 *data;
    int64_t length, blocks;   /* positions held; blocks of 16 there is room for */
} cache;

typedef struct {
    int64_t heads, kv_heads, head_dim, window;   /* window: 0 for none */
    float scale;
} shape;

typedef struct {
    const bf16 *q;       /* [head_dim] */
    float *out;          /* [head_dim] */
    float *most, *total; /* running maximum and sum */
    int64_t position;
} query;

INLINE bf16 *cache_at(const cache *c, const shape *s, int64_t layer, int values, int64_t head, int64_t position) {
    const int64_t block = LANES * s->head_dim;
    return c->data + (((layer * 2 + values) * s->kv_heads + head) * c->blocks + position / LANES) * block;
}

static void append(const cache *c, const shape *s, int64_t layer, int64_t head, int64_t position, const float *k, const float *v) {
    const int64_t dim = s->head_dim, lane = position % LANES;
    bf16 *keys = cache_at(c, s, layer, 0, head, position), *values = cache_at(c, s, layer, 1, head, position);
    for (int64_t i = 0; i < dim; i++) {
        keys[(i / 2 * LANES + lane) * 2 + i % 2] = narrow(k[i]);
        values[(lane / 2 * dim + i) * 2 + lane % 2] = narrow(v[i]);
    }
}

/* scores[m][positions] = q . k for blocks of 16 positions. */
INLINE void score(const bf16 *keys, int64_t blocks, const query *q, const int m, int64_t dim, float (*scores)[CHUNK]) {
    for (int64_t at = 0; at < blocks * LANES; at += WIDTH) {
        const bf16 *k = keys + at / LANES * LANES * dim + at % LANES * 2;
        vf sums[FEW * 2];
        UNROLL for (int t = 0; t < m * 2; t++) sums[t] = splat(0);
        for (int64_t i = 0; i < dim / 2; i += 2) {
            const vi k0 = load_i(k + i * 2 * LANES), k1 = load_i(k + (i + 1) * 2 * LANES);
            UNROLL for (int t = 0; t < m; t++) {
                sums[2 * t] = dot_bf16(sums[2 * t], k0, load_pair(q[t].q + 2 * i));
                sums[2 * t + 1] = dot_bf16(sums[2 * t + 1], k1, load_pair(q[t].q + 2 * i + 2));
            }
        }
        UNROLL for (int t = 0; t < m; t++) store_f(scores[t] + at, sums[2 * t] + sums[2 * t + 1]);
    }
}

/* out[m][dim] += p . v; p [m][positions] in bf16. */
INLINE void gather(const bf16 *values, int64_t blocks, bf16 (*p)[CHUNK], const query *q, const int m, int64_t dim) {
    for (int64_t i = 0; i < dim; i += 2 * WIDTH) {
        vf sums[FEW * 2];
        UNROLL for (int t = 0; t < m; t++) {
            sums[2 * t] = load_f(q[t].out + i);
            sums[2 * t + 1] = load_f(q[t].out + i + WIDTH);
        }
        for (int64_t pair = 0; pair < blocks * LANES / 2; pair++) {
            const bf16 *v = values + (pair * dim + i) * 2;
            const vi v0 = load_i(v), v1 = load_i(v + 2 * WIDTH);
            UNROLL for (int t = 0; t < m; t++) {
                const int32_t weight = load_pair(p[t] + 2 * pair);
                sums[2 * t] = dot_bf16(sums[2 * t], v0, weight);
                sums[2 * t + 1] = dot_bf16(sums[2 * t + 1], v1, weight);
            }
        }
        UNROLL for (int t = 0; t < m; t++) {
            store_f(q[t].out + i, sums[2 * t]);
            store_f(q[t].out + i + WIDTH, sums[2 * t + 1]);
        }
    }
}

/* One softmax update of m queries with the positions [from, to), from on a block's edge, at most CHUNK of them. */
INLINE void update(const bf16 *keys, const bf16 *values, int64_t from, int64_t to, query *q, const int m, const shape *s) {
    float scores[FEW][CHUNK] __attribute__((aligned(64)));
    bf16 p[FEW][CHUNK] __attribute__((aligned(64)));
    const int64_t dim = s->head_dim, blocks = (to - from + LANES - 1) / LANES;
    score(keys, blocks, q, m, dim, scores);
    for (int t = 0; t < m; t++) {
        const int64_t last = q[t].position + 1 < to ? q[t].position + 1 : to;
        const int64_t first = s->window && q[t].position - s->window + 1 > from ? q[t].position - s->window + 1 : from;
        for (int64_t at = last > from ? last - from : 0; at < blocks * LANES; at++) scores[t][at] = -INFINITY;
        for (int64_t at = 0; at < first - from && at < blocks * LANES; at++) scores[t][at] = -INFINITY;
        vf top = splat(-INFINITY);
        for (int64_t at = 0; at < blocks * LANES; at += WIDTH) top = max_v(top, load_f(scores[t] + at));
        const float most = fmaxf(max_lanes(top) * s->scale, *q[t].most);
        vf total = splat(0);
        for (int64_t at = 0; at < blocks * LANES; at += WIDTH) {
            const vf e = most == -INFINITY ? splat(0) : exp_v(load_f(scores[t] + at) * s->scale - most);
            total += e;
            store_bf16(p[t] + at, e);
        }
        const float keep = *q[t].most == -INFINITY ? 0.0f : expf(*q[t].most - most);
        *q[t].total = *q[t].total * keep + sum_lanes(total);
        *q[t].most = most;
        if (keep != 1.0f)
            for (int64_t i = 0; i < dim; i += WIDTH) store_f(q[t].out + i, load_f(q[t].out + i) * keep);
    }
    gather(values, blocks, p, q, m, dim);
}

INLINE void update_few(const bf16 *keys, const bf16 *values, int64_t from, int64_t to, query *q, int64_t count, const shape *s) {
    switch (count) {
        case 1: update(keys, values, from, to, q, 1, s); break;
        case 2: update(keys, values, from, to, q, 2, s); break;
        case 3: update(keys, values, from, to, q, 3, s); break;
#if MANY
        case 4: update(keys, values, from, to, q, 4, s); break;
        case 5: update(keys, values, from, to, q, 5, s); break;
        case 6: update(keys, values, from, to, q, 6, s); break;
        case 7: update(keys, values, from, to, q, 7, s); break;
#endif
        default: update(keys, values, from, to, q, FEW, s);
    }
}

/* Queries that share a key-value head attend to the positions [from, to). */
static void attend(const cache *c, const shape *s, int64_t layer, int64_t head, int64_t from, int64_t to, query *q, int64_t count) {
    for (int64_t at = from; at < to; at += CHUNK) {
        const int64_t end = at + CHUNK < to ? at + CHUNK : to;
        const bf16 *keys = cache_at(c, s, layer, 0, head, at), *values = cache_at(c, s, layer, 1, head, at);
        for (int64_t few = 0; few < count; few += FEW) {
            const int64_t n = count - few < FEW ? count - few : FEW;
            int seen = 0;
            for (int64_t t = few; t < few + n; t++)
                seen |= q[t].position >= at && (!s->window || q[t].position - s->window < end);
            if (seen) update_few(keys, values, at, end, q + few, n, s);
        }
    }
}

#endif
