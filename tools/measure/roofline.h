/* What a forward pass has to do at least, to be held against what the machine can do (probe.h).
 *
 * Counted are the multiply-adds of the weight matrices and of attention, and the bytes of weights and of the cache that are
 * read; not counted is what is small beside them: norms, rotations, softmax, encoding, decoding codes, activations in memory.
 */
#ifndef ROOFLINE_H
#define ROOFLINE_H

#include "model/model.h"

typedef struct roof_work {
    double i8, f32;        /* multiply-adds: int8 those of the quantised matrices, f32 those of attention and other matrices */
    double weights, cache; /* bytes read: the weights once for each batch or token, the cache as it is encoded */
} roof_work;

/* n tokens behind `depth` others. one_by_one: decoded, with logits of each; the bytes are all that is read. Else read as a
 * prompt, with logits of the last; bytes are not counted (0), as arithmetic is the limit. cfg: the context's cache, as
 * rt_cache_cfg_new gives it. Errors as of kv_cache_size. */
kv_status roof_count(const rt_model *m, const kv_cache_cfg *cfg, uint32_t depth, uint32_t n, bool one_by_one, roof_work *out,
                     kv_err *err);

#endif
