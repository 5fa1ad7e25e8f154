/* What a forward works on. The Python side (kernels/native_types.py) mirrors these structures field by field. */

#ifndef LORALOOP_MODEL_H
#define LORALOOP_MODEL_H

#include "attention.h"
#include "lora.h"
#include "pool.h"

enum { QKV, O, GATE_UP, DOWN, GROUPS };

typedef struct {
    linear groups[GROUPS];
    const float *attention_norm, *mlp_norm;   /* [hidden] */
    const float *q_norm, *k_norm;             /* [head_dim], or NULL */
    int64_t rotated;                          /* whether its queries and keys are */
} layer;

typedef struct {
    shape attention;
    int64_t hidden, inner, layers;
    float eps, residual_scale, embedding_scale;
    const layer *layer;
    const float *norm;
    linear head;
    linear embedding;   /* its rows are the tokens' embeddings */
} model;

/* A module on a sub-layer's output: y + up(act(down(y))). */
enum { RELU, GELU, SILU };

typedef struct {
    const bf16 *down, *up;               /* both [width][hidden] */
    const float *down_bias, *up_bias;    /* [width], [hidden], or NULL */
    int64_t width, activation;
} bottleneck;

/* What a skill changes in a layer besides the low-rank products; NULL where nothing. */
typedef struct {
    const float *gain[GROUPS], *bias[GROUPS];   /* [outputs] */
    const float *input_gain[GROUPS];            /* [inputs] */
    bottleneck after[2];                        /* on attention's output and on the MLP's; width 0 where there is none */
} extra;

/* One sequence's part in a forward. */
typedef struct {
    cache cache;
    int64_t tokens;
    const pair *const *pairs;   /* of its skill: [layers * GROUPS], NULL where it changes nothing; or NULL for the bare base */
    const extra *beyond;        /* [layers], or NULL for a row that has pairs only */
} row;

typedef struct {
    const model *model;
    const row *rows;
    int64_t count;
    const int64_t *tokens;   /* [N], row after row; -1 - i is row i of `embeddings` */
    const float *cos, *sin;  /* [positions][head_dim]; the second half repeats the first; sin is negative in the first half */
    float *hidden;           /* [N][hidden], after the final norm */
    int64_t kept;
    const int64_t *keep;     /* layers whose output is kept, 0 for the embeddings */
    float *const *kept_to;   /* [kept] of [N][hidden] */
    int64_t threads;
    const float *embeddings; /* [*][hidden], input embeddings that are no token's; or NULL */
} request;

#endif
