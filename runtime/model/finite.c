/* Weights that are NaN or Inf: a file that was damaged, or converted badly.
 *
 * Such a number goes into whatever is computed from it and stays there, so nobody has to look at all weights beforehand: keys
 * and values are looked at before they are stored, the stream behind the last layer, the logits of a row. Only where something
 * is wrong there, the weights up to that layer are gone through, and the first tensor that is broken is named.
 */
#include "model/model_internal.h"

#include "base/fp16.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NOT_FINITE = 0x7f800000 }; /* bits of Inf; those of NaN are above */

bool rt_all_finite(const float *x, size_t n) {
    int32_t top = 0; /* as integers: compilers find vectors in it */
    for (size_t i = 0; i < n; i++) {
        const int32_t bits = (int32_t)(fp32_bits(x[i]) & 0x7fffffffu);
        top = bits > top ? bits : top;
    }
    return top < NOT_FINITE;
}

/* The layer that a tensor belongs to: the first for embeddings, n_layer for what comes behind all layers. */
static uint32_t layer_of(const rt_model *m, const gguf_tensor *t) {
    unsigned layer;
    char name[16];
    snprintf(name, sizeof name, "%.*s", (int)(t->name.len < sizeof name ? t->name.len : sizeof name - 1), t->name.s);
    if (sscanf(name, "blk.%u.", &layer) == 1)
        return layer;
    return strncmp(name, "output", 6) ? 0 : m->hp.n_layer;
}

/* The first of its rows that is not finite; *row = how many there are where all are. */
static kv_status broken_row(const gguf_tensor *t, uint64_t *row, kv_err *err) {
    const uint64_t n = t->dims[1] * t->dims[2] * t->dims[3];
    float *x = malloc(t->dims[0] * sizeof *x);
    if (!x)
        return kv_fail(err, KV_ENOMEM, "out of memory");
    for (*row = 0; *row < n; ++*row) {
        t->type->dequant(t->data + *row * (t->nbytes / n), x, t->dims[0]);
        if (!rt_all_finite(x, t->dims[0]))
            break;
    }
    free(x);
    return KV_OK;
}

kv_status rt_check_finite(const rt_model *m, const float *x, size_t n, uint32_t layer, const char *what, kv_err *err) {
    char where[32] = "the output";
    if (rt_all_finite(x, n))
        return KV_OK;
    if (layer < m->hp.n_layer)
        snprintf(where, sizeof where, "layer %u", layer);
    for (size_t i = 0; i < gguf_n_tensors(m->file); i++) {
        const gguf_tensor *t = gguf_tensor_at(m->file, i);
        uint64_t row = 0, rows = t->dims[1] * t->dims[2] * t->dims[3];
        if (layer_of(m, t) > layer)
            continue;
        kv_status st = broken_row(t, &row, err);
        if (st)
            return st;
        if (row < rows)
            return kv_fail(
                err, KV_ERANGE,
                "%s: %s: %s are not finite numbers: tensor '%.*s' holds NaN or Inf in row %llu (the file is damaged: get "
                "it again)",
                gguf_path(m->file), where, what, (int)t->name.len, t->name.s, (unsigned long long)row);
    }
    return kv_fail(
        err, KV_ERANGE,
        "%s: %s: %s are not finite numbers, though all weights up to there are: they make numbers too large for floats "
        "(the file is damaged, or not made for this)",
        gguf_path(m->file), where, what);
}
