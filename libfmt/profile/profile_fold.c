/* Scales of keys that may be folded into a model's weights, and profiles of models into which they were. */
#include "profile/profile_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

kv_status prof_fold_alloc(const prof *p, prof_layer *l, kv_err *err) {
    if (!l->fold && !(l->fold = calloc((size_t)p->n_kv_head * p->head_dim, sizeof *l->fold)))
        return kv_fail(err, KV_ENOMEM, "profile: out of memory");
    return KV_OK;
}

bool prof_has_fold(const prof *p) {
    for (uint32_t l = 0; p->layers && l < p->n_layer; l++)
        if (p->layers[l].fold)
            return true;
    return false;
}

kv_status prof_check_fold(const prof *p, const char *where, kv_err *err) {
    for (uint32_t l = 0; p->layers && l < p->n_layer; l++)
        for (size_t i = 0; p->layers[l].fold && i < (size_t)prof_kv_heads(p, l) * p->head_dim; i++)
            if (p->layers[l].fold[i] != rintf(p->layers[l].fold[i]))
                return kv_fail(err, KV_ERANGE, "%s: layers[%u].fold[%zu]: %g is not a whole number", where, l, i,
                               (double)p->layers[l].fold[i]);
    return KV_OK;
}

/* One KV head: x = mean + sum of z[i] * basis[i], every dimension of which becomes s times as large. */
static void follow_head(prof_tc *t, const double *s) {
    for (uint32_t i = 0; i < t->dim; i++) {
        /* NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult): one for each dimension */
        t->mean[i] = (float)(t->mean[i] * s[i]);
        for (uint32_t r = 0; r < t->dim; r++)
            t->basis[(size_t)r * t->dim + i] = (float)(t->basis[(size_t)r * t->dim + i] * s[i]);
    }
}

static void follow_layer(const prof *p, prof_layer *l, uint32_t heads, const int8_t *e) {
    for (uint32_t h = 0; h < heads; h++, e += p->head_dim) {
        double s[PROF_MAX_DIM];
        for (uint32_t i = 0; i < p->head_dim; i++)
            s[i] = exp2(e[i]);
        if (l->k.heads && prof_kv_head(&l->k, h).codec == KV_TC)
            follow_head(&l->k.heads[h], s);
        float *q = l->queries ? l->queries + (size_t)h * PROF_QUERIES * p->head_dim : NULL;
        for (size_t i = 0; q && i < (size_t)PROF_QUERIES * p->head_dim; i++)
            q[i] = (float)(q[i] / s[i % p->head_dim]);
    }
    free(l->fold);
    l->fold = NULL;
}

void prof_follow_fold(prof *p, const int8_t *e, const char *hash) {
    static const char said[] = "; before folding";
    for (; p; p = p->narrower) {
        snprintf(p->model_hash, sizeof p->model_hash, "%s", hash);
        for (uint32_t l = 0; p->layers && l < p->n_layer; l++)
            follow_layer(p, &p->layers[l], prof_kv_heads(p, l), e + (size_t)l * p->n_kv_head * p->head_dim);
        for (uint32_t i = 0; i < p->n_measured; i++) {
            char *text = p->measured[i].text;
            const size_t len = strlen(text), room = sizeof p->measured[i].text;
            if (len + sizeof said <= room)
                memcpy(text + len, said, sizeof said);
        }
    }
}
