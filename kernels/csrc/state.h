/* The state of one forward, and where a thread is in it. */

#ifndef LORALOOP_STATE_H
#define LORALOOP_STATE_H

#include "model.h"

#define PRIVATE 8     /* rows up to which every thread rounds the activations for itself rather than waiting for another */
#define TOKENS 16     /* of one unit of work on tokens: neighbours share cache lines, so they stay with one thread */
#define UNIT 64       /* tiles of one unit of a product at most */
#define NEAR 131072   /* bytes of a unit's tiles where there are many rows */
#define FETCH 32      /* tokens up to which what skills add is asked for ahead: beyond, it comes from a cache anyway */
#define SPLIT 8       /* tokens of a row up to which the positions are cut into spans that several threads read */
#define SPAN 256      /* positions that one unit of decode attention reads */
#define QUERIES 24    /* of one unit of prefill attention at most: whole groups of FEW for most numbers of heads */
#define MOST_GROUP 64 /* query heads of a key-value head; adapters/base/decoder/native_decoder.py says the same */

/* A forward's state. Buffers are [N][...] and live in one workspace. */
typedef struct {
    const request *ask;
    const model *m;
    int64_t n, middle_stride;
    int64_t *row_of, *position_of;   /* [N] */
    int64_t *first_of;               /* [rows + 1]: first token of each row */
    int64_t *units_of, *partial_of;  /* [rows + 1]: first unit of attention, first partial result of each row */
    float *h, *qkv, *q, *attended, *act, *partial, *middle;
    inputs in[MOST_THREADS];         /* of each thread; over the same buffers where there are more than PRIVATE rows */
    float *scratch[MOST_THREADS];
    int adapted;
    int beyond;                      /* whether any row has more than pairs, */
    int after[2];                    /* and modules after attention, after the MLP */
    float *side;                     /* [N][hidden]: outputs on their way through a module */
} run;

INLINE run *state(worker *w) { return (run *)w->work; }

INLINE int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
INLINE int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
INLINE int64_t group_of(const run *r) { return r->m->attention.heads / r->m->attention.kv_heads; }
INLINE int few(int64_t tokens) { return tokens <= SPLIT; }
INLINE int64_t tokens_a_unit(const run *r) { return most(1, QUERIES / group_of(r)); }

static void normalize(const float *x, const float *weight, int64_t width, float eps, float *y) {
    vf squares = splat(0);
    for (int64_t at = 0; at < width; at += WIDTH) squares += load_f(x + at) * load_f(x + at);
    const float factor = 1.0f / sqrtf(sum_lanes(squares) / (float)width + eps);
    for (int64_t at = 0; at < width; at += WIDTH) store_f(y + at, load_f(x + at) * factor * load_f(weight + at));
}

typedef struct {
    int64_t layer;
    int group;
    const inputs *in;
    int shrinks;   /* units of the phase that compute what the others add */
} place;

static _Thread_local place here;   /* the product that this thread is at */

/* A phase whose units are tokens. */
typedef void (*on_token)(worker *, int64_t);

INLINE void some_tokens(worker *w, int index, on_token run_one) {
    const int64_t end = least(state(w)->n, (index + 1) * (int64_t)TOKENS);
    for (int64_t token = index * (int64_t)TOKENS; token < end; token++) run_one(w, token);
}

static void each_token(worker *w, unit run_some) { each(w, (int)ceil_div(state(w)->n, TOKENS), run_some); }

#endif
