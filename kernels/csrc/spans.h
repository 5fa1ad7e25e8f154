/* The units of attention: at decode a row's positions are cut into spans, in a prompt its queries into blocks. */

#ifndef LORALOOP_SPANS_H
#define LORALOOP_SPANS_H

#include "state.h"

/* Puts the parts that units computed over spans of positions together. */
static void merge(const run *r, int64_t token, float *to) {
    const shape *s = &r->m->attention;
    const int64_t row = r->row_of[token], group = group_of(r), dim = s->head_dim;
    const int64_t spans = (r->units_of[row + 1] - r->units_of[row]) / s->kv_heads;
    const int64_t tokens = r->first_of[row + 1] - r->first_of[row];
    for (int64_t head = 0; head < s->heads; head++) {
        const int64_t lane = (token - r->first_of[row]) * group + head % group, size = dim + 2;
        const float *parts = r->partial + r->partial_of[row] * size + (head / group * spans * tokens * group + lane) * size;
        const int64_t stride = tokens * group * size;
        float top = -INFINITY, total = 0;
        for (int64_t span = 0; span < spans; span++) top = fmaxf(top, parts[span * stride + dim]);
        for (int64_t i = 0; i < dim; i += WIDTH) store_f(to + head * dim + i, splat(0));
        for (int64_t span = 0; span < spans; span++) {
            const float *p = parts + span * stride;
            if (p[dim] == -INFINITY) continue;
            const float factor = expf(p[dim] - top);
            total += factor * p[dim + 1];
            for (int64_t i = 0; i < dim; i += WIDTH)
                store_f(to + head * dim + i, load_f(to + head * dim + i) + factor * load_f(p + i));
        }
        for (int64_t i = 0; i < dim; i += WIDTH) store_f(to + head * dim + i, load_f(to + head * dim + i) / total);
    }
}

/* A head's query or key, normalized if there is a norm, and rotated if there are angles. */
static void turn(const float *x, const float *norm, float eps, const float *cos, const float *sin, int64_t dim, float *to) {
    float normal[MOST_HEAD];
    if (norm) {
        normalize(x, norm, dim, eps, normal);
        x = normal;
    }
    const int64_t half = dim / 2;
    if (!cos) memcpy(to, x, sizeof(float) * (size_t)dim);
    for (int64_t i = 0; cos && i < half; i++) {
        to[i] = x[i] * cos[i] + x[half + i] * sin[i];
        to[half + i] = x[half + i] * cos[half + i] + x[i] * sin[half + i];
    }
}

/* Rotates a token's queries and key; appends key and value. */
static void place_token(worker *w, int64_t token) {
    run *r = state(w);
    const shape *s = &r->m->attention;
    const layer *l = r->m->layer + here.layer;
    const int64_t dim = s->head_dim, position = r->position_of[token];
    const float *cos = l->rotated ? r->ask->cos + position * dim : NULL, *sin = r->ask->sin + position * dim;
    const float *q = r->qkv + token * (s->heads + 2 * s->kv_heads) * dim, *k = q + s->heads * dim, *v = k + s->kv_heads * dim;
    float turned[MOST_HEAD];
    for (int64_t head = 0; head < s->heads; head++) {
        turn(q + head * dim, l->q_norm, r->m->eps, cos, sin, dim, turned);
        for (int64_t i = 0; i < dim; i += WIDTH) store_f(r->q + (token * s->heads + head) * dim + i, load_f(turned + i) * s->scale);
    }
    const cache *c = &r->ask->rows[r->row_of[token]].cache;
    for (int64_t head = 0; head < s->kv_heads; head++) {
        turn(k + head * dim, l->k_norm, r->m->eps, cos, sin, dim, turned);
        append(c, s, here.layer, head, position, turned, v + head * dim);
    }
}

static void attention_unit(worker *w, int index) {
    run *r = state(w);
    const shape *s = &r->m->attention;
    const int64_t dim = s->head_dim, group = group_of(r);
    int64_t number = 0;
    while (index >= r->units_of[number + 1]) number++;
    const int64_t unit = index - r->units_of[number], first = r->first_of[number], tokens = r->first_of[number + 1] - first;
    const row *x = r->ask->rows + number;
    query queries[SPLIT * MOST_GROUP];
    float tops[QUERIES + MOST_GROUP], totals[QUERIES + MOST_GROUP];
    if (few(tokens)) {
        const int64_t spans = (r->units_of[number + 1] - r->units_of[number]) / s->kv_heads;
        const int64_t head = unit / spans, from = unit % spans * SPAN, to = least(from + SPAN, x->cache.length + tokens);
        float *to_part = r->partial + (r->partial_of[number] + unit * tokens * group) * (dim + 2);
        for (int64_t i = 0; i < tokens * group; i++, to_part += dim + 2) {
            const int64_t token = first + i / group;
            queries[i] = (query){r->q + (token * s->heads + head * group + i % group) * dim, to_part, to_part + dim,
                                 to_part + dim + 1, r->position_of[token]};
            for (int64_t d = 0; d < dim; d += WIDTH) store_f(to_part + d, splat(0));
            to_part[dim] = -INFINITY;
            to_part[dim + 1] = 0;
        }
        attend(&x->cache, s, here.layer, head, from, to, queries, tokens * group);
        return;
    }
    const int64_t step = tokens_a_unit(r), blocks = ceil_div(tokens, step);
    const int64_t head = unit / blocks, block = blocks - 1 - unit % blocks;   /* a head's one after the other, the longest first */
    const int64_t start = first + block * step, end = least(start + step, first + tokens);
    int64_t count = 0;
    for (int64_t token = start; token < end; token++)
        for (int64_t i = 0; i < group; i++, count++) {
            float *out = r->attended + (token * s->heads + head * group + i) * dim;
            tops[count] = -INFINITY;
            totals[count] = 0;
            for (int64_t d = 0; d < dim; d += WIDTH) store_f(out + d, splat(0));
            queries[count] = (query){r->q + (token * s->heads + head * group + i) * dim, out, tops + count, totals + count,
                                     r->position_of[token]};
        }
    const int64_t behind = s->window ? most(0, r->position_of[start] - s->window + 1) / LANES * LANES : 0;
    attend(&x->cache, s, here.layer, head, behind, r->position_of[end - 1] + 1, queries, count);
    for (int64_t i = 0; i < count; i++)
        for (int64_t d = 0; d < dim; d += WIDTH) store_f(queries[i].out + d, load_f(queries[i].out + d) / totals[i]);
}

#endif
