/* kvpack --fold: the scales of a profile into the weights of a model. */
#ifndef PACK_FOLD_H
#define PACK_FOLD_H

#include "model/fold.h"

/* What is written beside a profile to undo it, and what is said of it. */
typedef struct pack_folded {
    gguf_set keys[3];
    size_t n_keys;
    char original[33];
    int8_t *e;
    rt_fold_undo undo;
    uint32_t layers; /* that have scales */
    char made_for[32];
} pack_folded;

/* Fold p's scales into g, in memory; p becomes the profile of what g is then. where: the file that p is from. KV_EINVAL: p has
 * no scales; else errors of rt_fold_apply. Caller frees with pack_folded_free, in any case; out->keys point into it. */
kv_status pack_fold(gguf *g, const rt_hparams *hp, prof *p, const char *where, pack_folded *out, kv_err *err);
void pack_folded_free(pack_folded *f);

#endif
