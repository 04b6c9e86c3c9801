/* Names of the cache codecs and what they cost: the rows that --help, profiles and the runtime's table of implementations
 * share. Calibrated codecs come last. */
#ifndef KV_CODEC_ID_H
#define KV_CODEC_ID_H

#include <stdbool.h>
#include <stdint.h>

typedef enum kv_codec_id {
    KV_F32,
    KV_F16,
    KV_Q8_0,
    KV_Q4_0,
    KV_Q4_0H,
    KV_TURBO2,
    KV_TURBO3,
    KV_TURBO4,
    KV_TURBO3Q,
    KV_POLAR4,
    KV_KIVI2,
    KV_KIVI4,
    KV_TC,
    KV_CODEC_COUNT
} kv_codec_id;

/* Codecs that work alike. */
typedef enum kv_codec_family {
    KV_FAMILY_FLOAT,
    KV_FAMILY_BLOCK,
    KV_FAMILY_HADAMARD,
    KV_FAMILY_TURBO,
    KV_FAMILY_POLAR,
    KV_FAMILY_KIVI,
    KV_FAMILY_TC,
    KV_FAMILY_COUNT
} kv_codec_family;

typedef struct kv_codec_name {
    kv_codec_id id;
    kv_codec_family family;
    const char *name;     /* as written in profiles and after -ctk/-ctv */
    const char *summary;  /* one line for --help */
    bool calibrated;      /* needs a prof_tc for every head */
    float bits;           /* per element, without what follows; 0: a profile says */
    uint8_t k_f16, v_f16; /* numbers in f16 per vector of head_dim elements (norms), for keys and for values */
} kv_codec_name;

extern const kv_codec_name kv_codec_names[KV_CODEC_COUNT]; /* indexed by id */

/* -1 when unknown. */
int kv_codec_by_name(const char *name);

/* True bits per element of a vector of head_dim elements, everything included; 0 where a profile says. head_dim 0 (not known):
 * the f16 numbers per vector are left out. */
float kv_codec_bits(kv_codec_id id, bool key, uint32_t head_dim);

#endif
