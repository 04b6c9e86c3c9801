/* Decoding of codec tc, scalar: the definition that the vector variants are held to, bit for bit (libfmt/trellis.h). */
#include "kernels.h"

#include <string.h>

/* Level of slot t in one dimension; window (64) moves on. */
static float level_at(const int8_t *table, unsigned bits, const uint64_t *planes, unsigned t, uint8_t *window) {
    unsigned which = 0;
    window[t] = (uint8_t)((window[t] * 2u + (unsigned)(planes[0] >> t & 1)) % TRELLIS_WINDOWS);
    for (unsigned p = 1; p < bits; p++)
        which |= (unsigned)(planes[p] >> t & 1) << (p - 1);
    return table[which * TRELLIS_WINDOWS + window[t]];
}

static void tc_cols(const trellis_book *b, const uint64_t *planes, const float *gain, float *kt) {
    uint8_t window[RT_ATTN_TILE] = {0};
    for (size_t i = 0; i < b->n; planes += b->bits[i], i++)
        for (unsigned t = 0; t < RT_ATTN_TILE; t++)
            kt[i * RT_ATTN_TILE + t] =
                gain[t] * (b->scale[i] * level_at(b->levels + trellis_table(b->bits[i]), b->bits[i], planes, t, window));
}

static void tc_rows(const trellis_book *b, const uint64_t *planes, const float *gain, size_t n_tok, float *v, size_t ldv) {
    uint8_t window[RT_ATTN_TILE] = {0};
    memset(v, 0, n_tok * ldv * sizeof *v);
    for (size_t i = 0; i < b->n; planes += b->bits[i], i++)
        for (unsigned t = 0; t < n_tok; t++)
            v[t * ldv + i] =
                gain[t] * (b->scale[i] * level_at(b->levels + trellis_table(b->bits[i]), b->bits[i], planes, t, window));
}

void rt_tc_scalar(rt_kernels *k) {
    k->tc_search = trellis_search;
    k->tc_cols = tc_cols;
    k->tc_rows = tc_rows;
}
