#include "kvpack/pack_fold.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The exponents of p, for the file to keep. */
static kv_status take(const rt_hparams *hp, const prof *p, pack_folded *out, kv_err *err) {
    if (!(out->e = calloc(rt_fold_count(hp) + 1, 1)))
        return kv_fail(err, KV_ENOMEM, "out of memory to fold");
    for (uint32_t l = 0; l < p->n_layer; l++) {
        int8_t *to = out->e + (size_t)l * hp->n_kv_head * hp->head_dim;
        out->layers += p->layers[l].fold != NULL;
        for (size_t i = 0; p->layers[l].fold && i < (size_t)prof_kv_heads(p, l) * p->head_dim; i++)
            to[i] = (int8_t)p->layers[l].fold[i];
    }
    snprintf(out->made_for, sizeof out->made_for, "%s", p->fold_for);
    return KV_OK;
}

kv_status pack_fold(gguf *g, const rt_hparams *hp, prof *p, const char *where, pack_folded *out, kv_err *err) {
    char hash[33];
    kv_status st;
    if (!prof_has_fold(p))
        return kv_fail(err, KV_EINVAL,
                       "%s: holds no scales to fold: kvcalib MODEL --fold-for q4_0 --out PROFILE finds them, and says so where "
                       "there are none to gain from",
                       where);
    if ((st = take(hp, p, out, err)) || (st = gguf_model_hash(g, out->original, err)) ||
        (st = rt_fold_apply(g, hp, out->e, &out->undo, err)) || (st = gguf_model_hash(g, hash, err)))
        return st;
    prof_follow_fold(p, out->e, hash);
    prof_round(p);
    out->keys[0] = (gguf_set){RT_FOLD_ORIGINAL, GGUF_STRING, out->original, strlen(out->original)};
    out->keys[1] = (gguf_set){RT_FOLD_SCALES, GGUF_ARRAY, out->e, rt_fold_count(hp)};
    out->keys[2] = (gguf_set){RT_FOLD_UNDO, GGUF_ARRAY, out->undo.frame, out->undo.len};
    out->n_keys = 3;
    return KV_OK;
}

void pack_folded_free(pack_folded *f) {
    free(f->e);
    free(f->undo.frame);
}
