/* Scales folded into a model file, so that its cache loses less in every runtime.
 *
 * Dimension i of a KV head's keys is multiplied by s_i, and that of all queries that read it by 1 / s_i: scores stay as they
 * are, but keys whose dimensions are about equally large lose less where one scale serves 32 of them. What RoPE turns together
 * has the same s. Rows of attn_k and attn_q are multiplied by way of the scales of their blocks, no weight is quantised anew;
 * biases go along; where keys are normed, the weights of the norm take it, and all heads of the layer have the same s.
 * s_i = 2^e_i with whole e_i: nothing is rounded, and with a cache of floats the model computes the same bits as before.
 * docs/fold.md.
 */
#ifndef RT_FOLD_H
#define RT_FOLD_H

#include "model/model.h"

#define RT_FOLD_PREFIX "kvcalib.fold."
/* Keys of a folded file: the hash of the model before (string); e (n_layer, n_kv_head, head_dim), signed bytes; and what else
 * is needed to undo it, a zstd frame. */
#define RT_FOLD_ORIGINAL RT_FOLD_PREFIX "original"
#define RT_FOLD_SCALES   RT_FOLD_PREFIX "scales"
#define RT_FOLD_UNDO     RT_FOLD_PREFIX "undo"

bool rt_folded(const gguf *g);

/* Which dimensions must have the same scale: those with the same unit (head_dim), numbered from 0; returns how many there are.
 * Units of dimensions that keys do not have are RT_FOLD_NONE. */
enum { RT_FOLD_NONE = UINT16_MAX };
uint32_t rt_fold_units(const rt_hparams *hp, uint16_t unit[PROF_MAX_DIM]);
/* Whether all heads of a layer must have the same scales: keys are normed by weights that they share. */
bool rt_fold_shared(const gguf *g, const rt_hparams *hp, uint32_t layer);

/* Bytes of e. */
static inline size_t rt_fold_count(const rt_hparams *hp) {
    return (size_t)hp->n_layer * hp->n_kv_head * hp->head_dim;
}

/* What undoes a folding exactly. */
typedef struct rt_fold_undo {
    uint8_t *frame; /* free() */
    size_t len;
} rt_fold_undo;

/* Whether a model can be folded. KV_EUNSUPP as rt_fold_apply. */
kv_status rt_fold_check(const gguf *g, const rt_hparams *hp, kv_err *err);
/* Multiply the tensors of g, in memory (gguf_edit). e: as above; those that would make a scale of a block overflow, or lose
 * digits, come nearer to 0. undo: or NULL. KV_EUNSUPP: the file is folded already, or a tensor is of a type whose scales are no
 * plain numbers; it is named, and nothing is changed. KV_ENOMEM. */
kv_status rt_fold_apply(gguf *g, const rt_hparams *hp, int8_t *e, rt_fold_undo *undo, kv_err *err);
/* Make the tensors of a folded file again what they were before. KV_EFORMAT: its keys are damaged, or the tensors are not those
 * that they were written for. */
kv_status rt_fold_take_back(gguf *g, const rt_hparams *hp, kv_err *err);
/* e of a folded file, borrowed from g. KV_EFORMAT. */
kv_status rt_fold_scales(const gguf *g, const rt_hparams *hp, const int8_t **e, kv_err *err);

#endif
