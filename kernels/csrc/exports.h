/* The functions that the library exports. Each holds one lock: forwards take turns, and share one workspace. */

static char *workspace;
static size_t workspace_size;

/* Gives out pieces of one block; the first round only measures. */
typedef struct {
    char *base;
    size_t used;
} arena;

static void *take(arena *a, int64_t count, size_t size) {
    void *piece = a->base ? a->base + a->used : NULL;
    a->used += ((size_t)count * size + 63) / 64 * 64;
    return piece;
}

static int64_t widest(const model *m) { return most(most(m->hidden, m->inner), m->attention.heads * m->attention.head_dim); }

static void take_inputs(arena *a, inputs *in, int64_t rows, int64_t width, int apart) {
    in->rows = rows;
    in->whole = take(a, rows * width, sizeof(int8_t));
    in->groups = take(a, rows * (width / GROUP) * FIGURES, sizeof(float));
    in->apart = apart ? take(a, rows * width, sizeof(float)) : NULL;
}

static void lay_out(run *r, arena *a, int64_t partials, int apart) {
    const model *m = r->m;
    const shape *s = &m->attention;
    const int64_t n = r->n, width = widest(m);
    r->row_of = take(a, n, sizeof(int64_t));
    r->position_of = take(a, n, sizeof(int64_t));
    r->first_of = take(a, r->ask->count + 1, sizeof(int64_t));
    r->units_of = take(a, r->ask->count + 1, sizeof(int64_t));
    r->partial_of = take(a, r->ask->count + 1, sizeof(int64_t));
    r->h = take(a, n * m->hidden, sizeof(float));
    r->qkv = take(a, n * (s->heads + 2 * s->kv_heads) * s->head_dim, sizeof(float));
    r->attended = take(a, n * s->heads * s->head_dim, sizeof(float));
    r->act = take(a, n * m->inner, sizeof(float));
    r->middle = take(a, n * r->middle_stride, sizeof(float));
    r->partial = take(a, partials * (s->head_dim + 2), sizeof(float));
    r->q = take(a, n * s->heads * s->head_dim, sizeof(float));
    r->side = r->after[0] || r->after[1] ? take(a, n * m->hidden, sizeof(float)) : NULL;
    if (n > PRIVATE) take_inputs(a, &r->in[0], n, width, apart);
    for (int64_t t = 0; t < r->ask->threads; t++) {
        if (n <= PRIVATE) take_inputs(a, &r->in[t], n, width, apart);
        else r->in[t] = r->in[0];
        r->scratch[t] = take(a, width, sizeof(float));
    }
}

static int64_t spans_of(const row *x) {
    return ceil_div(x->cache.length + x->tokens, SPAN);
}

static void number_rows(run *r) {
    int64_t token = 0, units = 0, partials = 0;
    for (int64_t i = 0; i < r->ask->count; i++) {
        const row *x = r->ask->rows + i;
        r->first_of[i] = token;
        r->units_of[i] = units;
        r->partial_of[i] = partials;
        for (int64_t t = 0; t < x->tokens; t++, token++) {
            r->row_of[token] = i;
            r->position_of[token] = x->cache.length + t;
        }
        if (few(x->tokens)) {
            units += r->m->attention.kv_heads * spans_of(x);
            partials += r->m->attention.kv_heads * spans_of(x) * x->tokens * group_of(r);
        } else {
            units += r->m->attention.kv_heads * ceil_div(x->tokens, tokens_a_unit(r));
        }
    }
    r->first_of[r->ask->count] = token;
    r->units_of[r->ask->count] = units;
    r->partial_of[r->ask->count] = partials;
}

static int64_t widest_middle(const model *m, const row *x) {
    int64_t widest_rank = 0;
    for (int64_t site = 0; site < m->layers * GROUPS; site++)
        if (x->pairs[site]) widest_rank = most(widest_rank, x->pairs[site]->rank);
    return widest_rank;
}

static void find_beyond(run *r, const row *x) {
    r->beyond = 1;
    for (int64_t number = 0; number < r->m->layers; number++)
        for (int part = 0; part < 2; part++) r->after[part] |= x->beyond[number].after[part].width > 0;
}

static int reads_apart(const model *m) {
    for (int64_t number = 0; number < m->layers; number++)
        for (int group = 0; group < GROUPS; group++) {
            const linear *matrix = &m->layer[number].groups[group];
            for (int64_t i = 0; i < matrix->count; i++)
                if (matrix->parts[i].kind == BF16) return 1;
        }
    return 0;
}

static int grow(size_t size) {
    if (size <= workspace_size) return 0;
    free(workspace);
    size += size / 2;
    workspace = aligned_alloc(64, (size + 63) / 64 * 64);
    workspace_size = workspace ? size : 0;
    return workspace == NULL;
}

/* Runs a forward; see `request`. Returns 0, or 1 where no memory could be had. */
int loraloop_forward(request *ask) {
    run r = {.ask = ask, .m = ask->model};
    int64_t partials = 0;
    ask->threads = most(1, least(ask->threads, MOST_THREADS));
    for (int64_t i = 0; i < ask->count; i++) {
        const row *x = ask->rows + i;
        r.n += x->tokens;
        if (few(x->tokens)) partials += r.m->attention.heads * spans_of(x) * x->tokens;
        if (x->pairs) r.middle_stride = most(r.middle_stride, widest_middle(r.m, x));
        if (x->beyond) find_beyond(&r, x);
    }
    r.adapted = r.middle_stride > 0;
    const int apart = r.adapted || reads_apart(r.m);
    arena measured = {0};
    lay_out(&r, &measured, partials, apart);
    pthread_mutex_lock(&turn_lock);
    int failed = grow(measured.used);
    if (!failed) {
        arena given = {.base = workspace};
        lay_out(&r, &given, partials, apart);
        number_rows(&r);
        const int phases = (int)(r.m->layers * (2 * GROUPS + 5) + 2);
        failed = pool_run(forward_job, &r, phases, (int)ask->threads);
    }
    pthread_mutex_unlock(&turn_lock);
    return failed;
}

/* One product alone: y [rows][outputs] = matrix . x [rows][inputs], both fp32. */
typedef struct {
    const linear *matrix;
    const float *x;
    float *y;
    int64_t rows, threads;
    float scale;
    inputs in;
} lone;

static void lone_input(worker *w, int index) {
    lone *l = (lone *)w->work;
    const int64_t end = least(l->rows, (index + 1) * (int64_t)BLOCK);
    for (int64_t row = index * (int64_t)BLOCK; row < end; row++) quantize(&l->in, row, l->x + row * l->matrix->inputs);
}

static int64_t lone_tiles(const lone *l) { return l->rows <= BLOCK ? 32 : 2; }

static void lone_unit(worker *w, int index) {
    lone *l = (lone *)w->work;
    const int64_t from = index * lone_tiles(l), to = least(from + lone_tiles(l), ceil_div(l->matrix->outputs, LANES));
    float y[BLOCK][LANES] __attribute__((aligned(64)));
    for (int64_t first = 0; first < l->rows; first += BLOCK) {
        const int64_t count = least(BLOCK, l->rows - first);
        for (int64_t tile = from; tile < to; tile++) {
            const int64_t width = least(LANES, l->matrix->outputs - tile * LANES);
            multiply(l->matrix, tile, &l->in, first, count, y);
            for (int64_t t = 0; t < count; t++) {
                float *to = l->y + (first + t) * l->matrix->outputs + tile * LANES;
                for (int64_t lane = 0; lane < width; lane++) to[lane] = l->scale * y[t][lane];
            }
        }
    }
}

static void lone_job(worker *w) {
    lone *l = (lone *)w->work;
    each(w, (int)ceil_div(l->rows, BLOCK), lone_input);
    each(w, (int)ceil_div(ceil_div(l->matrix->outputs, LANES), lone_tiles(l)), lone_unit);
}

int loraloop_product(const linear *matrix, const float *x, float *y, int64_t rows, float scale, int64_t threads) {
    lone l = {.matrix = matrix, .x = x, .y = y, .rows = rows, .scale = scale, .in = {.width = matrix->inputs}};
    arena measured = {0};
    take_inputs(&measured, &l.in, rows, matrix->inputs, 1);
    pthread_mutex_lock(&turn_lock);
    int failed = grow(measured.used);
    if (!failed) {
        arena given = {.base = workspace};
        take_inputs(&given, &l.in, rows, matrix->inputs, 1);
        failed = pool_run(lone_job, &l, 2, (int)most(1, least(threads, MOST_THREADS)));
    }
    pthread_mutex_unlock(&turn_lock);
    return failed;
}

/* What the library was compiled for, in words. */
const char *loraloop_processor(void) { return PROCESSOR; }
