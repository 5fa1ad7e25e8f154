/* What skills change besides low-rank products: gains, biases, modules on a sub-layer's output. A forward whose rows have none of it never
   comes here. */

#ifndef LORALOOP_BEYOND_H
#define LORALOOP_BEYOND_H

#include "state.h"

INLINE const extra *extra_of(const run *r, int64_t token) {
    const row *x = r->ask->rows + r->row_of[token];
    return x->beyond ? x->beyond + here.layer : NULL;
}

INLINE const bottleneck *after_of(const extra *e, int group) {
    const bottleneck *b = group == O ? e->after : group == DOWN ? e->after + 1 : NULL;
    return b && b->width ? b : NULL;
}

/* scratch = x * gain; both may be one. */
static const float *scale_input(const float *x, const float *gain, int64_t width, float *scratch) {
    for (int64_t at = 0; at < width; at += WIDTH) store_f(scratch + at, load_f(x + at) * load_f(gain + at));
    return scratch;
}

/* 16 columns of a product, times their gains, plus their biases. A gain leaves the layer's own bias, which is in y, as it is. */
static void change_tile(const extra *e, const linear *matrix, int group, int64_t column, float *y) {
    const float *gain = e->gain[group], *bias = e->bias[group], *own = matrix->bias;
    for (int64_t lane = 0; lane < LANES; lane += WIDTH) {
        vf made = load_f(y + lane);
        if (gain) {
            const vf g = load_f(gain + column + lane);
            made = own ? (made - load_f(own + column + lane)) * g + load_f(own + column + lane) : made * g;
        }
        if (bias) made += load_f(bias + column + lane);
        store_f(y + lane, made);
    }
}

INLINE float activate(float x, int64_t activation) {
    switch (activation) {
        case GELU: return 0.5f * x * (1.0f + erff(x * 0.70710678f));
        case SILU: return x / (1.0f + expf(-x));
        default: return x > 0 ? x : 0;
    }
}

/* h += what a module makes of the output that is aside. */
static void pass_module(worker *w, int64_t token) {
    run *r = state(w);
    const extra *e = extra_of(r, token);
    const bottleneck *b = e ? after_of(e, here.group) : NULL;
    if (!b) return;
    const int64_t hidden = r->m->hidden;
    float *y = r->side + token * hidden, *h = r->h + token * hidden;
    float *apart = r->scratch[w->thread];
    part_columns(y, hidden, apart);
    if (b->up_bias)
        for (int64_t at = 0; at < hidden; at += WIDTH) store_f(y + at, load_f(y + at) + load_f(b->up_bias + at));
    for (int64_t i = 0; i < b->width; i++) {
        float sum;
        shrink_one(b->down + i * hidden, hidden, apart, 1, &sum, 1);
        const vf middle = splat(activate(sum + (b->down_bias ? b->down_bias[i] : 0), b->activation));
        const bf16 *up = b->up + i * hidden;
        for (int64_t at = 0; at < hidden; at += WIDTH) store_f(y + at, load_f(y + at) + middle * load_bf16(up + at));
    }
    for (int64_t at = 0; at < hidden; at += WIDTH) store_f(h + at, load_f(h + at) + r->m->residual_scale * load_f(y + at));
}

#endif
