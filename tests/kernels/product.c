/* Reads a weight in tiles and activations, and writes their product: what test_neon.py runs on another processor's emulation. */

#include "decoder.c"

#include <stdio.h>

int main(void) {
    int64_t head[5]; /* kind, bytes of tiles, inputs, outputs, rows of x */
    if (fread(head, sizeof head, 1, stdin) != 1) return 2;
    const int64_t bytes = head[1], width = head[2], outputs = head[3], rows = head[4];
    void *tiles = aligned_alloc(64, (size_t)(bytes + 63) / 64 * 64);
    float *x = malloc(sizeof(float) * (size_t)(rows * width)), *y = malloc(sizeof(float) * (size_t)(rows * outputs));
    if (fread(tiles, 1, (size_t)bytes, stdin) != (size_t)bytes) return 2;
    if (fread(x, sizeof(float), (size_t)(rows * width), stdin) != (size_t)(rows * width)) return 2;
    const linear matrix = {
        .parts = {{tiles, ceil_div(outputs, LANES) * LANES, head[0]}}, .count = 1, .inputs = width, .outputs = outputs};
    if (loraloop_product(&matrix, x, y, rows, 1.0f, 2)) return 3;
    return fwrite(y, sizeof(float), (size_t)(rows * outputs), stdout) != (size_t)(rows * outputs);
}
