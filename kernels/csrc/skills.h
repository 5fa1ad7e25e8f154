/* What the rows' skills add to a product: units of shrinking, and the addends of a block of tokens. */

#ifndef LORALOOP_SKILLS_H
#define LORALOOP_SKILLS_H

#include "state.h"

INLINE const pair *pair_at(const row *row, int64_t layer_number, int group) {
    return row->pairs ? row->pairs[layer_number * GROUPS + group] : NULL;
}

/* One unit a thread, or one a row where there are more rows: taking a unit costs more than computing a rank. */
INLINE int64_t ranks_a_unit(const run *r, const pair *p) {
    return ceil_div(p->rank, RANKS * (r->ask->count > r->ask->threads ? 1 : r->ask->threads)) * RANKS;
}

static int64_t shrink_units(const run *r, int64_t number) {
    const row *x = r->ask->rows + number;
    const pair *p = pair_at(x, here.layer, here.group);
    return p ? ceil_div(p->rank, ranks_a_unit(r, p)) * ceil_div(x->tokens, BLOCK) : 0;
}

static void shrink_unit(worker *w, int index) {
    run *r = state(w);
    int64_t number = 0, left = index, units;
    while (left >= (units = shrink_units(r, number))) left -= units, number++;
    const row *x = r->ask->rows + number;
    const pair *p = pair_at(x, here.layer, here.group);
    const int64_t some = ranks_a_unit(r, p), across = ceil_div(p->rank, some);
    const int64_t rank = left % across * some, block = left / across * BLOCK;
    shrink(p, here.in, r->first_of[number] + block, least(BLOCK, x->tokens - block), rank, least(some, p->rank - rank),
           r->middle, r->middle_stride);
}

/* What skills add for the rows to which the tokens [first, first + count) belong. Returns how many. */
static int64_t find_addends(const run *r, int64_t first, int64_t count, addend *found) {
    int64_t n = 0;
    for (int64_t token = first; token < first + count;) {
        const int64_t number = r->row_of[token], end = least(r->first_of[number + 1], first + count);
        const pair *p = pair_at(r->ask->rows + number, here.layer, here.group);
        if (p) found[n++] = (addend){p, r->middle + token * r->middle_stride, token - first, end - token};
        token = end;
    }
    return n;
}

#endif
