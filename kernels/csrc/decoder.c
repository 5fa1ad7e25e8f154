/* The forward pass of a Llama-family decoder on a CPU, in one call: any number of rows, each with its own tokens, cache and skills.

   Written for the compiler to vectorise through its own vector types (simd.h); no libraries but the threads'. A row's bits depend on its
   own tokens, cache and skills alone, not on its neighbours or on how many threads there are. */

#include "beyond.h"
#include "skills.h"
#include "spans.h"

/* --- embeddings ----------------------------------------------------------------------------------------------------------------- */

static void look_up(const linear *table, int64_t token, float *to) {
    const part *p = table->parts;
    const int64_t width = table->inputs, lane = token % LANES;
    const uint8_t *tile = (const uint8_t *)p->data + token / LANES * tile_bytes(p->kind, width);
    if (p->kind == INT8) {
        const int8_t *codes = (const int8_t *)tile;
        const float scale = ((const float *)(codes + width * LANES))[lane];
        for (int64_t i = 0; i < width; i++) {
            const int64_t word = i / 8 * 2 + i / 2 % 2, byte = i % 2 * 2 + i / 4 % 2;
            to[i] = scale * codes[(word * LANES + lane) * 4 + byte];
        }
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
    const int64_t id = r->ask->tokens[token];
    if (id < 0) memcpy(to, r->ask->embeddings + (-1 - id) * r->m->hidden, sizeof(float) * (size_t)r->m->hidden);
    else look_up(&r->m->embedding, id, to);
    if (r->m->embedding_scale != 1.0f)
        for (int64_t i = 0; i < r->m->hidden; i++) to[i] *= r->m->embedding_scale;
    keep(r, 0, token);
}

/* --- inputs of products --------------------------------------------------------------------------------------------------------- */

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
            if (few(r->first_of[row + 1] - r->first_of[row])) merge(r, token, scratch);
            else x = r->attended + token * width;
            break;
        }
        default: x = r->act + token * m->inner;
    }
    if (r->beyond) {
        const extra *e = extra_of(r, token);
        if (e && e->input_gain[group]) x = scale_input(x, e->input_gain[group], in->width, scratch);
    }
    quantize(in, token, x);
}

static int64_t width_of(const model *m, int group) {
    return group == O ? m->attention.heads * m->attention.head_dim : group == DOWN ? m->inner : m->hidden;
}

static void make_one(worker *w, int64_t token) {
    make_input(state(w), here.layer, here.group, token, here.in, state(w)->scratch[w->thread]);
}

static void input_unit(worker *w, int index) { some_tokens(w, index, make_one); }

/* --- products ------------------------------------------------------------------------------------------------------------------- */

/* Few rows are bound by memory, and a core reads a long run faster than short ones: two units a thread, so that neither waits long. Many
   rows go through a unit's tiles block by block, so its tiles must stay in a cache; but many of them, since their results lie together. */
static int64_t tiles_a_unit(const run *r, int64_t tiles) {
    const int64_t half = ceil_div(tiles, 2 * r->ask->threads);
    if (r->n <= PRIVATE) return least(UNIT, half);
    return most(2, least(least(UNIT / 4, half), NEAR / tile_bytes(INT4, here.in->width)));
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
    addend addends[BLOCK];
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

/* The same for a row that has more than pairs. */
static void finish_beyond(const run *r, const linear *matrix, int64_t tile, int64_t token, float *y, float *up) {
    const extra *e = extra_of(r, token);
    if (e) {
        change_tile(e, matrix, here.group, tile * LANES, y);
        if (here.group == GATE_UP) change_tile(e, matrix, here.group, r->m->inner + tile * LANES, up);
        if (after_of(e, here.group)) {
            memcpy(r->side + token * r->m->hidden + tile * LANES, y, sizeof(float) * LANES);
            return;
        }
    }
    finish_tile(r, matrix, tile, token, y, up);
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
    float y[UNIT * PRIVATE][LANES] __attribute__((aligned(64))), up[UNIT * PRIVATE][LANES] __attribute__((aligned(64)));
    for (int64_t first = 0; first < r->n; first += BLOCK) {
        const int64_t count = least(BLOCK, r->n - first);
        multiply_tiles(w, matrix, from, tiles, first, count, y);
        if (here.group == GATE_UP) multiply_tiles(w, matrix, all + from, tiles, first, count, up);
        if (r->beyond) {
            for (int64_t i = 0; i < tiles; i++)
                for (int64_t t = 0; t < count; t++)
                    finish_beyond(r, matrix, from + i, first + t, y[i * count + t], up[i * count + t]);
            continue;
        }
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

/* --- the whole ------------------------------------------------------------------------------------------------------------------ */

static void finish(worker *w, int64_t token) {
    run *r = state(w);
    normalize(r->h + token * r->m->hidden, r->m->norm, r->m->hidden, r->m->eps, r->ask->hidden + token * r->m->hidden);
}

static void keep_token(worker *w, int64_t token) { keep(state(w), here.layer + 1, token); }

static void embed_unit(worker *w, int index) { some_tokens(w, index, embed); }
static void place_unit(worker *w, int index) { some_tokens(w, index, place_token); }
static void keep_unit(worker *w, int index) { some_tokens(w, index, keep_token); }
static void module_unit(worker *w, int index) { some_tokens(w, index, pass_module); }
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
        if (r->after[0]) each_token(w, module_unit);
        product(w, number, GATE_UP);
        product(w, number, DOWN);
        if (r->after[1]) each_token(w, module_unit);
        for (int64_t k = 0; k < a->kept; k++)
            if (a->keep[k] == number + 1) {
                each_token(w, keep_unit);
                break;
            }
    }
    each_token(w, finish_unit);
}

#include "exports.h"
