/* Attention over a cache in bf16, with fp32 sums and an online softmax (FlashAttention, arXiv 2205.14135; split over positions at decode
   as in Flash-Decoding).

   A cache is a table of pages of PAGE positions, which several caches may share. A page holds, for each layer, keys and then values; for
   each key-value head, blocks of 16 positions: keys as [D / 2][16 positions][2], values as [8 pairs of positions][D][2]. A lane of 32 bits
   is two dimensions of a key, or two positions of a value. */

#ifndef LORALOOP_ATTENTION_H
#define LORALOOP_ATTENTION_H

#include "simd.h"

#define CHUNK 256      /* positions of one softmax update */
#define PAGE 128       /* positions that lie together; adapters/base/decoder/native_cache.py says the same */
#define PIECES (CHUNK / PAGE + 1) /* pages that one update may touch */
#define FEW (MANY ? 8 : 4) /* queries that share one reading of the keys, as many as there are registers for */
#define MOST_HEAD 256  /* of head_dim */

typedef struct {
    bf16 *const *pages;
    int64_t length;   /* positions held; the pages have room for those of the forward as well */
} cache;

typedef struct {
    const bf16 *keys, *values;   /* of one layer and head, in one page */
    int64_t blocks;              /* of 16 positions */
} piece;

typedef struct {
    int64_t heads, kv_heads, head_dim, window;   /* window: 0 for none */
    float scale;
} shape;

typedef struct {
    const float *q;      /* [head_dim], times the scale */
    float *out;          /* [head_dim] */
    float *most, *total; /* running maximum and sum */
    int64_t position;
} query;

INLINE bf16 *cache_at(const cache *c, const shape *s, int64_t layer, int values, int64_t head, int64_t position) {
    const int64_t block = LANES * s->head_dim, plane = (layer * 2 + values) * s->kv_heads + head;
    return c->pages[position / PAGE] + (plane * (PAGE / LANES) + position % PAGE / LANES) * block;
}

static void append(const cache *c, const shape *s, int64_t layer, int64_t head, int64_t position, const float *k, const float *v) {
    const int64_t dim = s->head_dim, lane = position % LANES;
    bf16 *keys = cache_at(c, s, layer, 0, head, position), *values = cache_at(c, s, layer, 1, head, position);
    for (int64_t i = 0; i < dim; i++) {
        keys[(i / 2 * LANES + lane) * 2 + i % 2] = narrow(k[i]);
        values[(lane / 2 * dim + i) * 2 + lane % 2] = narrow(v[i]);
    }
}

/* scores[t][v * WIDTH ...] = q[t] . k[v] for m queries and v vectors of positions. */
INLINE void score_some(const bf16 *const *k, const bf16 *const *ahead, const int v, float (*q)[MOST_HEAD], const int m, int64_t dim,
                       float (*scores)[CHUNK]) {
    vf sums[FEW][2];
    UNROLL for (int t = 0; t < m; t++) UNROLL for (int i = 0; i < v; i++) sums[t][i] = splat(0);
    for (int64_t at = 0; at < dim; at += 2) {
        vi both[2];
        UNROLL for (int i = 0; i < v; i++) both[i] = load_i(k[i] + at * LANES), __builtin_prefetch(ahead[i] + at * LANES);
        UNROLL for (int t = 0; t < m; t++)
            UNROLL for (int i = 0; i < v; i++) sums[t][i] = fma_v(low_half(both[i]), splat(q[t][at]), sums[t][i]);
        UNROLL for (int t = 0; t < m; t++)
            UNROLL for (int i = 0; i < v; i++) sums[t][i] = fma_v(high_half(both[i]), splat(q[t][at + 1]), sums[t][i]);
    }
    UNROLL for (int t = 0; t < m; t++) UNROLL for (int i = 0; i < v; i++) store_f(scores[t] + i * WIDTH, sums[t][i]);
}

/* scores[m][positions] = q . k for the positions of a piece. */
INLINE void score(const piece *p, const bf16 *next, float (*q)[MOST_HEAD], const int m, int64_t dim, float (*scores)[CHUNK]) {
    for (int64_t at = 0; at < p->blocks * LANES; at += 2 * WIDTH) {
        const bf16 *k[2], *ahead[2];
        for (int64_t i = 0, of = at; i < 2; i++, of += WIDTH) {
            const int64_t place = of / LANES * LANES * dim + of % LANES * 2;
            k[i] = p->keys + place, ahead[i] = next + place;
        }
        float(*to)[CHUNK] = (float (*)[CHUNK])(scores[0] + at);
        if (at + WIDTH < p->blocks * LANES) score_some(k, ahead, 2, q, m, dim, to);
        else score_some(k, ahead, 1, q, m, dim, to);
    }
}

/* out[m][dim] += p . v; p [m][positions]. */
INLINE void gather(const piece *pieces, int64_t count, float (*p)[CHUNK], const query *q, const int m, int64_t dim) {
    for (int64_t i = 0; i < dim; i += 2 * WIDTH) {
        vf left[FEW], right[FEW];
        UNROLL for (int t = 0; t < m; t++) left[t] = load_f(q[t].out + i), right[t] = load_f(q[t].out + i + WIDTH);
        for (int64_t n = 0, at = 0; n < count; at += pieces[n++].blocks * LANES) {
            const bf16 *v = pieces[n].values + i * 2, *ahead = n + 1 < count ? pieces[n + 1].values + i * 2 : v;
            for (int64_t pair = 0; pair < pieces[n].blocks * LANES; pair += 2, v += 2 * dim, ahead += 2 * dim) {
                __builtin_prefetch(ahead);
                __builtin_prefetch(ahead + 2 * WIDTH);
                const vi v0 = load_i(v), v1 = load_i(v + 2 * WIDTH);
                UNROLL for (int t = 0; t < m; t++) {
                    left[t] = fma_v(low_half(v0), splat(p[t][at + pair]), left[t]);
                    right[t] = fma_v(low_half(v1), splat(p[t][at + pair]), right[t]);
                }
                UNROLL for (int t = 0; t < m; t++) {
                    left[t] = fma_v(high_half(v0), splat(p[t][at + pair + 1]), left[t]);
                    right[t] = fma_v(high_half(v1), splat(p[t][at + pair + 1]), right[t]);
                }
            }
        }
        UNROLL for (int t = 0; t < m; t++) {
            store_f(q[t].out + i, left[t]);
            store_f(q[t].out + i + WIDTH, right[t]);
        }
    }
}

/* One softmax update of m queries with the positions [from, to), from on a block's edge, at most CHUNK of them. */
INLINE void update(const piece *pieces, int64_t count, int64_t from, int64_t to, query *q, const int m, const shape *s) {
    float scores[FEW][CHUNK] __attribute__((aligned(64))), near[FEW][MOST_HEAD] __attribute__((aligned(64)));
    const int64_t dim = s->head_dim, blocks = (to - from + LANES - 1) / LANES;
    for (int t = 0; t < m; t++)
        for (int64_t i = 0; i < dim; i += WIDTH) store_f(near[t] + i, load_f(q[t].q + i));
    for (int64_t n = 0, at = 0; n < count; at += pieces[n++].blocks * LANES)
        score(pieces + n, n + 1 < count ? pieces[n + 1].keys : pieces[0].values, near, m, dim, (float (*)[CHUNK])(scores[0] + at));
    for (int t = 0; t < m; t++) {
        const int64_t last = q[t].position + 1 < to ? q[t].position + 1 : to;
        const int64_t first = s->window && q[t].position - s->window + 1 > from ? q[t].position - s->window + 1 : from;
        for (int64_t at = last > from ? last - from : 0; at < blocks * LANES; at++) scores[t][at] = -INFINITY;
        for (int64_t at = 0; at < first - from && at < blocks * LANES; at++) scores[t][at] = -INFINITY;
        vf top = splat(-INFINITY);
        for (int64_t at = 0; at < blocks * LANES; at += WIDTH) top = max_v(top, load_f(scores[t] + at));
        const float most = fmaxf(max_lanes(top), *q[t].most);
        vf total = splat(0);
        for (int64_t at = 0; at < blocks * LANES; at += WIDTH) {
            const vf e = most == -INFINITY ? splat(0) : exp_v(load_f(scores[t] + at) - most);
            total += e;
            store_f(scores[t] + at, e);
        }
        const float keep = *q[t].most == -INFINITY ? 0.0f : expf(*q[t].most - most);
        *q[t].total = *q[t].total * keep + sum_lanes(total);
        *q[t].most = most;
        if (keep != 1.0f)
            for (int64_t i = 0; i < dim; i += WIDTH) store_f(q[t].out + i, load_f(q[t].out + i) * keep);
    }
    gather(pieces, count, scores, q, m, dim);
}

INLINE void update_few(const piece *pieces, int64_t n, int64_t from, int64_t to, query *q, int64_t count, const shape *s) {
    switch (count) {
        case 1: update(pieces, n, from, to, q, 1, s); break;
        case 2: update(pieces, n, from, to, q, 2, s); break;
        case 3: update(pieces, n, from, to, q, 3, s); break;
#if MANY
        case 4: update(pieces, n, from, to, q, 4, s); break;
        case 5: update(pieces, n, from, to, q, 5, s); break;
        case 6: update(pieces, n, from, to, q, 6, s); break;
        case 7: update(pieces, n, from, to, q, 7, s); break;
#endif
        default: update(pieces, n, from, to, q, FEW, s);
    }
}

/* Queries that share a key-value head attend to the positions [from, to). */
static void attend(const cache *c, const shape *s, int64_t layer, int64_t head, int64_t from, int64_t to, query *q, int64_t count) {
    for (int64_t at = from; at < to; at += CHUNK) {
        const int64_t end = at + CHUNK < to ? at + CHUNK : to;
        piece pieces[PIECES];
        int64_t touched = 0;
        for (int64_t first = at, next; first < end; first = next) {
            next = (first / PAGE + 1) * PAGE < end ? (first / PAGE + 1) * PAGE : end;
            pieces[touched++] = (piece){cache_at(c, s, layer, 0, head, first), cache_at(c, s, layer, 1, head, first),
                                        (next - first + LANES - 1) / LANES};
        }
        for (int64_t few = 0; few < count; few += FEW) {
            const int64_t n = count - few < FEW ? count - few : FEW;
            int seen = 0;
            for (int64_t t = few; t < few + n; t++)
                seen |= q[t].position >= at && (!s->window || q[t].position - s->window < end);
            if (seen) update_few(pieces, touched, at, end, q + few, n, s);
        }
    }
}

#endif
