/* Codec tc, scalar: the definition that the vector variants are held to, bit for bit (libfmt/quant/trellis.h). */
#include "kernels/kernels.h"

#include <math.h>

static void project(const rt_tc_matrix *m, const float *x, size_t n, float *z) {
    int16_t q[TRELLIS_MAX_DIM];
    for (; n; n--, x += m->dim, z += m->cdim) {
        float most = 0;
        for (size_t j = 0; j < m->dim; j++)
            most = fmaxf(most, fabsf((x[j] - m->mean[j]) * m->even[j]));
        const bool none = most < 0x1p-100f;
        const float inv = none ? 0 : RT_TC_INPUT / most, step = none ? 0 : most / RT_TC_INPUT;
        for (size_t j = 0; j < m->dim; j++)
            q[j] = (int16_t)rintf((x[j] - m->mean[j]) * m->even[j] * inv);
        for (size_t i = 0; i < m->cdim; i++) {
            const int16_t *a = m->a + i / RT_TC_TILE * rt_tc_pairs(m->dim) * 2 * RT_TC_TILE + i % RT_TC_TILE * 2;
            int32_t sum = 0;
            for (size_t j = 0; j < m->dim; j++)
                sum += q[j] * a[j / 2 * 2 * RT_TC_TILE + j % 2];
            z[i] = (float)sum * (m->scale[i] * step);
        }
    }
}

static void levels_of_block(const trellis_book *b, const uint64_t *planes, int8_t *out) {
    uint8_t window[RT_ATTN_TILE] = {0};
    for (size_t i = 0; i < b->n; planes += b->bits[i], i++)
        for (unsigned t = 0; t < RT_ATTN_TILE; t++) {
            unsigned which = 0;
            window[t] = (uint8_t)((window[t] * 2u + (unsigned)(planes[0] >> t & 1)) % TRELLIS_WINDOWS);
            for (unsigned p = 1; p < b->bits[i]; p++)
                which |= (unsigned)(planes[p] >> t & 1) << (p - 1);
            *out++ = b->levels[trellis_table(b->bits[i]) + which * TRELLIS_WINDOWS + window[t]];
        }
}

static void levels(const trellis_book *b, const uint64_t *const *planes, size_t n, int8_t *out, size_t ld) {
    for (size_t i = 0; i < n; i++)
        levels_of_block(b, planes[i], out + i * ld);
}

static void gains(const uint8_t *code, float *gain) {
    for (int t = 0; t < RT_ATTN_TILE; t++)
        gain[t] = trellis_gain(code[t]);
}

static void trials(const float *z, size_t ldz, size_t n, const float *inv_sigma, size_t coded, float *trial) {
    for (size_t t = 0; t < n; t++)
        trellis_trials(coded, z + t * ldz, inv_sigma, trial + t * TRELLIS_TRIALS);
}

void rt_tc_scalar(rt_kernels *k) {
    k->tc_trials = trials;
    k->tc_project = project;
    k->tc_search = trellis_search;
    k->tc_levels = levels;
    k->tc_gains = gains;
}
