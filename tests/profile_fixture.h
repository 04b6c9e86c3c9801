/* A small full profile with made-up numbers, the same on every machine. */
#ifndef PROFILE_FIXTURE_H
#define PROFILE_FIXTURE_H

#include "profile/profile.h"

#include <math.h>
#include <string.h>

typedef struct fixture_rng {
    uint32_t state;
} fixture_rng;

/* Facts that were asked for. */
#define FIXTURE_FACTS                                                                                                          \
    ((prof_facts){                                                                                                             \
        .ctx = 6000, .docs = 2, .seed = 1, .questions = 14, .right_f16 = 12, .right = 11, .low = -28.5, .high = 13.25})

static inline float fixture_float(fixture_rng *r) { /* -1..1 */
    r->state = r->state * 1664525u + 1013904223u;
    return (float)(r->state >> 8) * 0x1p-23f - 1.0f;
}

/* In rising order within every window, as levels have to be. */
static inline void fixture_sort_levels(int8_t levels[TRELLIS_LEVELS]) {
    for (unsigned b = 2; b <= TRELLIS_MAX_BITS; b++)
        for (size_t i = trellis_table(b); i < trellis_table(b + 1); i++)
            for (size_t j = i; j < trellis_table(b + 1); j += TRELLIS_WINDOWS)
                if (levels[j] < levels[i]) {
                    int8_t x = levels[i];
                    levels[i] = levels[j];
                    levels[j] = x;
                }
}

static inline bool fixture_tc(prof_tc *t, uint32_t dim, bool is_k, fixture_rng *r) {
    if (prof_tc_alloc(t, dim, NULL) != KV_OK)
        return false;
    for (uint32_t i = 0; i < dim; i++) {
        t->bits[i] = (uint8_t)(i < dim / 4 ? 5 : i < dim / 2 ? 3 : i < dim - 1 ? 1 : 0);
        t->mean[i] = is_k ? 3 * fixture_float(r) : 0;
        t->sigma[i] = expf(fixture_float(r));
        for (uint32_t j = 0; j < dim; j++)
            t->basis[i * dim + j] = fixture_float(r) / (float)(i + 1);
    }
    for (int b = 0; b <= PROF_MAX_BITS; b++)
        t->step[b] = 0.02f + 0.01f * fixture_float(r);
    for (int i = 0; i < TRELLIS_LEVELS; i++)
        t->levels[i] = (int8_t)(127 * fixture_float(r));
    fixture_sort_levels(t->levels);
    return true;
}

/* NULL when out of memory. Rounded. All layers tc, but for the V of the last, which is q8_0. */
static inline prof *fixture_profile(uint32_t n_layer, uint32_t n_head, uint32_t n_kv_head, uint32_t dim) {
    prof *p;
    fixture_rng r = {42};
    if (prof_new(n_layer, n_head, n_kv_head, dim, &p, NULL) != KV_OK)
        return NULL;
    strcpy(p->model_hash, "00112233445566778899aabbccddeeff");
    strcpy(p->model_name, "Tiny \"Modèle\": 1");
    strcpy(p->arch, "llama");
    strcpy(p->tool_version, "0.1.0");
    strcpy(p->text_hash, "12345678901234567890123456789012");
    p->calib_tokens = 12288;
    p->calib_ctx = 1024;
    p->entropy_sinks = 4;
    p->seed = UINT64_MAX;
    p->target_bits = 4;
    p->sinks = 4;
    p->window = 128;
    p->n_measured = 1;
    p->measured[0] = (prof_measured){.text = "built-in corpus, held-out part",
                                     .ctx = 512,
                                     .tokens = 1024,
                                     .kld = 0.000012345678,
                                     .kld_se = 1e-7,
                                     .dppl_percent = -0.0123456789,
                                     .top1 = 0.98765432,
                                     .bits_k = 4.06,
                                     .bits_v = 4.3,
                                     .bytes_per_token = 6123.5,
                                     .f16_bytes_per_token = 23040};
    for (uint32_t l = 0; l < n_layer; l++) {
        prof_layer *y = &p->layers[l];
        for (uint32_t h = 0; h < n_head; h++)
            y->entropy[h] = 3 + 2.9f * fixture_float(&r);
        for (uint32_t h = 0; h < n_kv_head; h++)
            y->importance[h] = 0.5f + 0.4f * fixture_float(&r);
        y->budget = 1000 - 10 * l;
        y->k.bits = 4.0625f;
        y->v.bits = l + 1 == n_layer ? 8.5f : 3.99999f;
        y->v.codec = l + 1 == n_layer ? KV_Q8_0 : KV_TC;
        for (uint32_t h = 0; h < n_kv_head; h++)
            if (!fixture_tc(&y->k.heads[h], dim, true, &r) ||
                (y->v.codec == KV_TC && !fixture_tc(&y->v.heads[h], dim, false, &r))) {
                prof_free(p);
                return NULL;
            }
    }
    prof_round(p);
    return p;
}

/* Give the keys of layer 1 different heads: the first as it was, with other bits, the others q8_0. */
static inline bool fixture_mix(prof *p) {
    prof_kv *k = &p->layers[1].k;
    if (prof_kv_alloc(k, p->n_kv_head, NULL) != KV_OK)
        return false;
    double sum = k->head_bits[0] = 3.5f;
    for (uint32_t h = 1; h < p->n_kv_head; h++) {
        k->codecs[h] = KV_Q8_0;
        sum += (double)(k->head_bits[h] = 8.5f);
    }
    k->bits = (float)(sum / p->n_kv_head);
    return true;
}

#endif
