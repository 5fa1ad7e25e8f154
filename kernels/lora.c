/* Low-rank updates of a few rows in bfloat16, with fp32 sums: y += (x A^T) B^T.

   For one token the work is reading the matrices once, so they are kept in two bytes and widened in registers. Each row of the
   expand matrix is read only where it is not zero (its span), which skips the empty blocks of fused projections. A row's bits
   depend on nothing but its own data. Written for the compiler to vectorise: no intrinsics, no libraries, no state. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef uint16_t bf16;

typedef struct {
    const bf16 *shrink;     /* [rank][inputs] */
    const bf16 *expand;     /* [rank][outputs] */
    const int32_t *spans;   /* [rank][2]: first column that is not zero, one past the last */
    int64_t rank, inputs, outputs;
} pair;

static inline float widen(bf16 value) {
    uint32_t bits = (uint32_t)value << 16;
    float wide;
    memcpy(&wide, &bits, 4);
    return wide;
}

static inline bf16 narrow(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    uint32_t nan = (bits >> 16) | 0x40u;
    return (bf16)((bits & 0x7fffffffu) > 0x7f800000u ? nan : rounded);
}

#define LANES 64

static float dot(const bf16 *restrict a, const float *restrict x, int64_t count) {
    float sums[LANES] = {0};
    int64_t at = 0;
    for (; at + LANES <= count; at += LANES)
        for (int lane = 0; lane < LANES; lane++) sums[lane] += widen(a[at + lane]) * x[at + lane];
    float total = 0;
    for (; at < count; at++) total += widen(a[at]) * x[at];
    for (int width = LANES / 2; width; width /= 2)
        for (int lane = 0; lane < width; lane++) sums[lane] += sums[lane + width];
    return total + sums[0];
}

static void add_row(float *restrict y, const bf16 *restrict b, float factor, int64_t count) {
    for (int64_t at = 0; at < count; at++) y[at] += factor * widen(b[at]);
}

static void add_rows(float *restrict y, const bf16 *restrict b, const float *t, int64_t stride, int64_t count) {
    const bf16 *restrict b1 = b + stride, *restrict b2 = b1 + stride, *restrict b3 = b2 + stride;
    const float t0 = t[0], t1 = t[1], t2 = t[2], t3 = t[3];
    for (int64_t at = 0; at < count; at++)
        y[at] += (t0 * widen(b[at]) + t1 * widen(b1[at])) + (t2 * widen(b2[at]) + t3 * widen(b3[at]));
}

/* x [rows][inputs] and y [rows][outputs] are contiguous; y changes. Returns 0, or 1 where no memory could be had. */
int lora_add(const pair *p, const bf16 *restrict x, bf16 *restrict y, int64_t rows) {
    float *wide_x = malloc(sizeof(float) * (size_t)(p->inputs + p->outputs + p->rank));
    if (!wide_x) return 1;
    float *wide_y = wide_x + p->inputs, *middle = wide_y + p->outputs;
    for (int64_t row = 0; row < rows; row++, x += p->inputs, y += p->outputs) {
        for (int64_t at = 0; at < p->inputs; at++) wide_x[at] = widen(x[at]);
        for (int64_t at = 0; at < p->outputs; at++) wide_y[at] = widen(y[at]);
        for (int64_t j = 0; j < p->rank; j++) middle[j] = dot(p->shrink + j * p->inputs, wide_x, p->inputs);
        for (int64_t j = 0; j < p->rank;) {
            const int32_t first = p->spans[2 * j], end = p->spans[2 * j + 1];
            const bf16 *from = p->expand + j * p->outputs + first;
            int64_t alike = 1;
            while (alike < 4 && j + alike < p->rank && p->spans[2 * (j + alike)] == first && p->spans[2 * (j + alike) + 1] == end)
                alike++;
            if (alike == 4) {
                add_rows(wide_y + first, from, middle + j, p->outputs, end - first);
                j += 4;
            } else {
                add_row(wide_y + first, from, middle[j], end - first);
                j++;
            }
        }
        for (int64_t at = 0; at < p->outputs; at++) y[at] = narrow(wide_y[at]);
    }
    free(wide_x);
    return 0;
}
