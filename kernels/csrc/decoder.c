/* The forward pass of a Llama-family decoder on a CPU, in one call: any number of rows, each with its own tokens, cache and skills.

   Written for the compiler to vectorise through its own vector types (simd.h); no libraries but the threads'. A row's bits depend on its
   own tokens, cache and skills alone, not on its neighbours or on how many threads there are. */

#include "model.h"

#define PRIVATE BLOCK /* rows up to which every thread rounds the activations for itself rather than waiting for another */
#define TOKENS 16     /* of one unit of work on tokens: neighbours share cache lines, so they stay with one thread */
#define UNIT 64       /* tiles of one unit of a product at most */
#define SOME 64       /* rows up to which units are long */
#define FETCH 32      /* tokens up to which what skills add is asked for ahead: beyond, it comes from a cache anyway */
#define SPLIT 8       /* queries up to which the positions are cut into spans that several threads read */
#define SPAN 256      /* positions that one unit of decode attention reads */
#define QUERIES 32    /* of one unit of prefill attention, roughly */

/* A forward's state. Buffers are [N][...] and live in one workspace. */
typedef struct {
    const request *ask;
    const model *m;
    int64_t n, middle_stride;
    int64_t *row_of, *position_of;   /* [N] */
    int64_t *first_of;               /* [rows + 1]: first token of each row */
    int64_t *units_of, *partial_of;  /* [rows + 1]: first unit of attention, first partial result of each row */
    float *h, *qkv, *attended, *act, *partial;
    bf16 *q, *middle;
    inputs in[MOST_THREADS];         /* of each thread; over the same buffers where there are more than PRIVATE rows */
    float *scratch[MOST_THREADS];
    int adapted;
} run;

INLINE run *state(worker *w) { return (run *)w->work; }

INLINE int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
INLINE int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
INLINE int64_t group_of(const run *r) { return r->m->attention.heads / r->m->attention.kv_heads; }
INLINE int few(const run *r, int64_t tokens) { return tokens * group_of(r) <= SPLIT; }
INLINE int64_t tokens_a_unit(const run *r) { return most(1, QUERIES / group_of(r)); }

static void normalize(const float *x, const float *weight, int64_t width, float eps, float *y) {
    vf squares = splat(0);
    for (int64_t at = 0; at < width; at += WIDTH) squares += load_f(x + at) * load_f(x + at);
    const float factor = 1.0f / sqrtf(sum_lanes(squares) / (float)width + eps);
    for (int64_t at = 0; at < width; at += WIDTH) store_f(y + at, load_f(x + at) * factor * load_f(weight + at));
}

/* --- embeddings ----------------------------------------------------------------------------------------------------------------- */

static void look_up(const linear *table, int64_t token, float *to) {
    const part *p = table->parts;
    const int64_t width = table->inputs, lane = token % LANES;
    const uint8_t *tile = (const uint8_t *)p->data + token / LANES * tile_bytes(p->kind, width);
    if (p->kind == INT8) {
        const int8_t *codes = (const int8_t *)tile;
        const float scale = ((const float *)(codes + width * LANES))[lane];
        for (int64_t i = 0; i < width; i++) to[i] = scale * codes[(i / 2 * LANES + lane) * 2 + i % 2];
    } else {
        const bf16 *values = (const bf16 *)tile;
        for (int64_t i = 0; i < width; i++) to[i] = widen(values[(i / 2 * LANES + lane) * 2 + i % 2]);
    }
}

static void keep(const run *r, int64_t number, int64_t token) {
    const request *a = r->ask;
    for (int64_t k = 0; k < a->kept; k++)
        if (a->keep[k] == number)
            memcpy(a->kept_to[k] + token * r->m->hidden, r->h + token * r->m->hidden, sizeof(float) * (size_t)r->m->hidden);
}

static void embed(worker *w, int64_t token) {
    run *r = state(w);
    float *to = r->h + token * r->m->hidden;
    look_up(&r->m->embedding, r->ask->tokens[token], to);
    if (r->m->embedding_scale != 1.0f)
        for (int64_t i = 0; i < r->m->hidden; i++) to[i] *= r->m->embedding_scale;
    keep(r, 0, token);
}

/* --- inputs of products --------------------------------------------------------------------------------------------------------- */

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

static void make_input(const run *r, int64_t layer_number, int group, int64_t token, const inputs *in, float *scratch) {
    const model *m = r->m;
    const layer *l = m->layer + layer_number;
    const int64_t width = m->attention.heads * m->attention.head_dim;
    const float *x = scratch;
    switch (group) {
        case QKV: normalize(r->h + token * m->hidden, l->attention_norm, m->hidden, m->eps, scratch); break;
        case GATE_UP: normalize(r->h + token * m->hidden, l->mlp_norm, m->hidden, m->eps, scratch); break;
        case O: {
            const int64_t row = r->row_of[token];
            if (few(r, r->first_of[row + 1] - r->first_of[row])) merge(r, token, scratch);
            else x = r->attended + token * width;
            break;
        }
        default: x = r->act + token * m->inner;
    }
    quantize(in, token, x);
}

typedef struct {
    int64_t layer;
    int group;
    const inputs *in;
    int shrinks;   /* units of the phase that compute what the others add */
} place;

static _Thread_local place here;   /* the product that this thread is at */

static int64_t width_of(const model *m, int group) {
    return group == O ? m->attention.heads * m->attention.head_dim : group == DOWN ? m->inner : m->hidden;
}

/* A phase whose units are tokens. */
typedef void (*on_token)(worker *, int64_t);

INLINE void some_tokens(worker *w, int index, on_token run_one) {
    const int64_t end = least(state(w)->n, (index + 1) * (int64_t)TOKENS);
    for (int64_t token = index * (int64_t)TOKENS; token < end; token++) run_one(w, token);
}

static void each_token(worker *w, unit run_some) { each(w, (int)ceil_div(state(w)->n, TOKENS), run_some); }

static void make_one(worker *w, int64_t token) {
    make_input(state(w), here.layer, here.group, token, here.in, state(w)->scratch[w->thread]);
}

static void input_unit(worker *w, int index) { some_tokens(w, index, make_one); }

/* --- low-rank updates ----------------------------------------------------------------------------------------------------------- */

INLINE const pair *pair_at(const row *row, int64_t member, int64_t layer_number, int group) {
    return row->pairs[member][layer_number * GROUPS + group];
}

/* One unit a thread, or one a row where there are more rows: taking a unit costs more than computing a rank. */
INLINE int64_t ranks_a_unit(const run *r, const pair *p) {
    return ceil_div(p->rank, RANKS * (r->ask->count > r->ask->threads ? 1 : r->ask->threads)) * RANKS;
}

static int64_t shrink_units(const run *r, int64_t number) {
    const row *x = r->ask->rows + number;
    int64_t units = 0;
    for (int64_t member = 0; member < x->members; member++) {
        const pair *p = pair_at(x, member, here.layer, here.group);
        if (p) units += ceil_div(p->rank, ranks_a_unit(r, p)) * ceil_div(x->tokens, BLOCK);
    }
    return units;
}

static void shrink_unit(worker *w, int index) {
    run *r = state(w);
    int64_t number = 0, left = index, units;
    while (left >= (units = shrink_units(r, number))) left -= units, number++;
    const row *x = r->ask->rows + number;
    int64_t offset = 0;
    for (int64_t member = 0; member < x->members; member++) {
        const pair *p = pair_at(x, member, here.layer, here.group);
        if (!p) continue;
        const int64_t some = ranks_a_unit(r, p), across = ceil_div(p->rank, some), here_units = across * ceil_div(x->tokens, BLOCK);
        if (left >= here_units) {
            left -= here_units;
            offset += p->rank;
            continue;
        }
        const int64_t rank = left % across * some, block = left / across * BLOCK;
        shrink(p, x->weights[member], here.in, r->first_of[number] + block, least(BLOCK, x->tokens - block), rank,
               least(some, p->rank - rank), r->middle + offset, r->middle_stride);
        return;
    }
}

/* What skills add for the rows to which the tokens [first, first + count) belong. Returns how many. */
static int64_t find_addends(const run *r, int64_t first, int64_t count, addend *found) {
    int64_t n = 0;
    for (int64_t token = first; token < first + count;) {
        const int64_t number = r->row_of[token], end = least(r->first_of[number + 1], first + count);
        const row *x = r->ask->rows + number;
        int64_t offset = 0;
        for (int64_t member = 0; member < x->members; member++) {
            const pair *p = pair_at(x, member, here.layer, here.group);
            if (!p) continue;
            found[n++] = (addend){p, r->middle + token * r->middle_stride + offset, token - first, end - token};
            offset += p->rank;
        }
        token = end;
    }
    return n;
}

/* --- products ------------------------------------------------------------------------------------------------------------------- */

/* Few rows are bound by memory, and a core reads a long run faster than short ones: two units a thread, so that neither waits long. Many
   rows go through a unit's tiles block by block, so its tiles must stay in a cache. */
static int64_t tiles_a_unit(const run *r, int64_t tiles) {
    const int64_t half = ceil_div(tiles, 2 * r->ask->threads);
    return r->n <= BLOCK ? least(UNIT, half) : r->n <= SOME ? least(UNIT / 4, most(2, half)) : least(2, tiles);
}

static int64_t tiles_of(const run *r) {
    const linear *matrix = &r->m->layer[here.layer].groups[here.group];
    return matrix->outputs / LANES / (here.group == GATE_UP ? 2 : 1);
}

INLINE vf silu(vf x) {
    const vf e = exp_v(-abs_v(x)), one = splat(1.0f);
    const vi negative = x < splat(0);
    const vf top = (vf)(((vi)e & negative) | ((vi)one & ~negative));
    return x * top / (one + e);
}

/* y[tile][count]: the products of some tiles for a block of tokens, and what skills add to them. */
static void multiply_tiles(worker *w, const linear *matrix, int64_t tile, int64_t tiles, int64_t first,
                           int64_t count, float (*y)[LANES]) {
    const run *r = state(w);
    addend addends[BLOCK * MEMBERS];
    const int64_t n = here.shrinks ? find_addends(r, first, count, addends) : 0;
    for (int64_t i = 0; i < tiles; i++) {
        if (r->n <= FETCH)
            for (int64_t k = 0; k < n; k++) fetch(addends + k, (tile + i) * LANES, 1);
        multiply(matrix, tile + i, here.in, first, count, y + i * count);
    }
    if (n) await(&this_phase(w)->ready, here.shrinks);
    for (int64_t i = 0; i < n; i++) expand(addends + i, r->middle_stride, tile * LANES, tiles, count, y);
}

/* Puts 16 columns of a token's product where they belong; `up` counts for gate|up only. */
INLINE void finish_tile(const run *r, const linear *matrix, int64_t tile, int64_t token, const float *y, const float *up) {
    const model *m = r->m;
    const int64_t column = tile * LANES;
    float *to = here.group == QKV       ? r->qkv + token * matrix->outputs + column
                : here.group == GATE_UP ? r->act + token * m->inner + column
                                        : r->h + token * m->hidden + column;
    for (int64_t lane = 0; lane < LANES; lane += WIDTH) {
        const vf made = load_f(y + lane);
        if (here.group == QKV) store_f(to + lane, made);
        else if (here.group == GATE_UP) store_f(to + lane, silu(made) * load_f(up + lane));
        else store_f(to + lane, load_f(to + lane) + m->residual_scale * made);
    }
}

static void product_unit(worker *w, int index) {
    run *r = state(w);
    if (index < here.shrinks) {
        shrink_unit(w, index);
        atomic_fetch_add_explicit(&this_phase(w)->ready, 1, memory_order_release);
        return;
    }
    index -= here.shrinks;
    const linear *matrix = &r->m->layer[here.layer].groups[here.group];
    const int64_t all = tiles_of(r), step = tiles_a_unit(r, all), from = index * step, tiles = least(step, all - from);
    float y[UNIT * BLOCK][LANES] __attribute__((aligned(64))), up[UNIT * BLOCK][LANES] __attribute__((aligned(64)));
    for (int64_t first = 0; first < r->n; first += BLOCK) {
        const int64_t count = least(BLOCK, r->n - first);
        multiply_tiles(w, matrix, from, tiles, first, count, y);
        if (here.group == GATE_UP) multiply_tiles(w, matrix, all + from, tiles, first, count, up);
        for (int64_t i = 0; i < tiles; i++)
            for (int64_t t = 0; t < count; t++) finish_tile(r, matrix, from + i, first + t, y[i * count + t], up[i * count + t]);
    }
}

static void product(worker *w, int64_t layer_number, int group) {
    run *r = state(w);
    inputs *in = &r->in[w->thread];
    in->width = width_of(r->m, group);
    here = (place){layer_number, group, in, 0};
    if (r->n > PRIVATE) each_token(w, input_unit);
    else some_tokens(w, 0, make_one);
    if (r->adapted)
        for (int64_t number = 0; number < r->ask->count; number++) here.shrinks += (int)shrink_units(r, number);
    const int64_t tiles = tiles_of(r);
    each(w, here.shrinks + (int)ceil_div(tiles, tiles_a_unit(r, tiles)), product_unit);
}

/* --- attention ------------------------------------------------------------------------------------------------------------------ */

static void turn(const float *x, const float *norm, float eps, const float *cos, const float *sin, int64_t dim, float *to) {
    float normal[MOST_HEAD];
    if (norm) {
        normalize(x, norm, dim, eps, normal);
        x = normal;
    }
    const int64_t half = dim / 2;
    for (int64_t i = 0; i < half; i++) {
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
    const float *cos = r->ask->cos + position * dim, *sin = r->ask->sin + position * dim;
    const float *q = r->qkv + token * (s->heads + 2 * s->kv_heads) * dim, *k = q + s->heads * dim, *v = k + s->kv_heads * dim;
    float turned[MOST_HEAD];
    for (int64_t head = 0; head < s->heads; head++) {
        turn(q + head * dim, l->q_norm, r->m->eps, cos, sin, dim, turned);
        for (int64_t i = 0; i < dim; i += WIDTH) store_bf16(r->q + (token * s->heads + head) * dim + i, load_f(turned + i));
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
    query queries[QUERIES + 64];
    float tops[QUERIES + 64], totals[QUERIES + 64];
    if (few(r, tokens)) {
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
    const int64_t head = unit % s->kv_heads, block = blocks - 1 - unit / s->kv_heads;   /* the longest first */
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

/* --- the whole ------------------------------------------------------------------------------------------------------------------ */

static void finish(worker *w, int64_t token) {
    run *r = state(w);
    normalize(r->h + token * r->m->hidden, r->m->norm, r->m->hidden, r->m->eps, r->ask->hidden + token * r->m->hidden);
}

static void keep_token(worker *w, int64_t token) { keep(state(w), here.layer + 1, token); }

static void embed_unit(worker *w, int index) { some_tokens(w, index, embed); }
static void place_unit(worker *w, int index) { some_tokens(w, index, place_token); }
static void keep_unit(worker *w, int index) { some_tokens(w, index, keep_token); }
static void finish_unit(worker *w, int index) { some_tokens(w, index, finish); }

static void forward_job(worker *w) {
    run *r = state(w);
    const request *a = r->ask;
    here = (place){0};
    each_token(w, embed_unit);
    for (int64_t number = 0; number < r->m->layers; number++) {
        product(w, number, QKV);
        each_token(w, place_unit);
        each(w, (int)r->units_of[a->count], attention_unit);
        product(w, number, O);
        product(w, number, GATE_UP);
        product(w, number, DOWN);
        for (int64_t k = 0; k < a->kept; k++)
            if (a->keep[k] == number + 1) {
                each_token(w, keep_unit);
                break;
            }
    }
    each_token(w, finish_unit);
}

#include "exports.h"
