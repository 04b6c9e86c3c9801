/* Between hparams.c and the files that it has parts of a model's keys read by. */
#ifndef RT_HPARAMS_INTERNAL_H
#define RT_HPARAMS_INTERNAL_H

#include "model/model_internal.h"

enum { RT_KEY = 96 };

/* ---- hparams_keys.c ---- */

/* What is being read. */
typedef struct rt_reader {
    const gguf *g;
    const char *arch;
    kv_err *err;
} rt_reader;

/* The key of the architecture that ends so. */
const char *rt_key_of(const rt_reader *r, const char *suffix, char key[RT_KEY]);
/* *out stays where the file does not say. */
kv_status rt_key_u32(const rt_reader *r, const char *suffix, bool required, uint32_t *out);
kv_status rt_key_f32(const rt_reader *r, const char *suffix, bool required, float *out);
kv_status rt_key_bool(const rt_reader *r, const char *suffix, bool *out);

/* Keys that are numbers, with what they are where the file does not say. */
typedef struct rt_number {
    const char *key;
    float *to;
    float least, most;
} rt_number;
kv_status rt_read_numbers(const rt_reader *r, const rt_number *rows, size_t n);

/* ---- hparams_shape.c ---- */

kv_status rt_read_shape(const rt_reader *r, const rt_arch *a, rt_hparams *hp);
/* Which layers read the keys and values of others; after sliding windows. */
kv_status rt_read_shared(const rt_reader *r, const rt_arch *a, rt_hparams *hp);

/* ---- hparams_experts.c ---- */

kv_status rt_read_experts(const rt_reader *r, const rt_arch *a, rt_hparams *hp);

#endif
