/* The compression profile of one model: YAML text, readable from the top, with matrices and codebooks last as zstd + base64.
 *
 * A profile is either full (made by kvcalib: identity, layers, calibrated transforms, measured result) or hand-written with
 * only the policy part (and, if wanted, codecs per layer). Schema: docs/profile.md. Unknown keys, wrong types, values out of
 * range, duplicate keys, YAML aliases and anything truncated are errors that name file, line and key.
 */
#ifndef KV_PROFILE_H
#define KV_PROFILE_H

#include "codec_id.h"
#include "gguf.h"
#include "status.h"
#include "trellis.h"

#include <stddef.h>
#include <stdint.h>

enum {
    PROF_VERSION = 1,
    PROF_MAX_BITS = TRELLIS_MAX_BITS, /* most bits of one coded dimension */
    PROF_MAX_DIM = 512,               /* head_dim */
    PROF_MAX_LAYERS = 512,
    PROF_MAX_HEADS = 256,
};

/* Calibrated transform codec of one KV head, for K or for V. docs/codec.md.
 *   x - mean = sum over i of z[i] * basis[i][.]     (dim coefficients, sorted by falling bits)
 *   z[i]     = gain * sigma[i] * step[b] * level    (b = bits[i]; one gain per token; level: trellis.h, from table b)
 * bits never rises with i; a dimension of 0 bits is not stored and decodes to z = 0.
 * Sigma and step are exactly representable in f16, the mean in f32, and a row of the basis is integers below 2^10 times a power
 * of two: prof_round sees to all that, so what is written equals what was measured. */
typedef struct prof_tc {
    uint32_t dim;
    uint8_t *bits;  /* (dim) 0..PROF_MAX_BITS */
    float *mean;    /* (dim) zero for V */
    float *basis;   /* (dim, dim) row-major, row i = synthesis vector of coefficient i; invertible */
    float *sigma;   /* (dim) rms of z[i] over the calibration tokens, > 0 */
    float *step;    /* (PROF_MAX_BITS + 1) of the levels of each table; > 0 where bits uses the table */
    int8_t *levels; /* (TRELLIS_LEVELS) */
} prof_tc;

/* Bits of one encoded vector, gain included. */
uint32_t prof_tc_vector_bits(const prof_tc *t);

/* K or V of one layer. */
typedef struct prof_kv {
    kv_codec_id codec;
    float bits;     /* true bits per element, metadata included */
    prof_tc *heads; /* (n_kv_head) where codec is KV_TC, else NULL */
} prof_kv;

typedef struct prof_layer {
    float *entropy;    /* (n_head) attention entropy in bits, mean over tokens of the second half of each chunk; or NULL */
    float *importance; /* (n_kv_head) share of the score variance held by the leading quarter of K coefficients; or NULL */
    uint32_t budget;   /* PyramidKV budget in tokens from the entropy (advice; 0 = none) */
    prof_kv k, v;
} prof_layer;

/* Result measured on held-out text, against the same model with an f32 cache. */
typedef struct prof_measured {
    char text[128]; /* what text, "built-in corpus, held-out part" */
    uint32_t ctx, tokens;
    double kld, kld_se, dppl_percent, top1, bits_k, bits_v, bytes_per_token, f16_bytes_per_token;
} prof_measured;

typedef struct prof {
    /* model identity; empty hash: hand-written, fits any model */
    char model_hash[33], model_name[128], arch[32];
    uint32_t n_layer, n_head, n_kv_head, head_dim; /* 0 when hand-written */
    /* how it was made */
    char tool_version[32], text_hash[33];
    uint32_t calib_tokens, calib_ctx, entropy_sinks;
    uint64_t seed;
    double target_bits;
    /* policy */
    uint32_t sinks, window;
    prof_layer *layers;               /* (n_layer) or NULL: then default_k/default_v hold for every layer */
    kv_codec_id default_k, default_v; /* of a hand-written profile; not KV_TC */
    /* what it costs */
    uint32_t n_measured;
    prof_measured measured[4];
} prof;

/* Allocate a full profile's arrays, zeroed: layers with entropy, importance and, codec being KV_TC, heads for K and V (of dim 0
 * until prof_tc_alloc). KV_ENOMEM, KV_ERANGE (sizes above the PROF_MAX_*). prof_free frees. */
kv_status prof_new(uint32_t n_layer, uint32_t n_head, uint32_t n_kv_head, uint32_t head_dim, prof **out, kv_err *err);
/* Allocate one head's arrays, zeroed. */
kv_status prof_tc_alloc(prof_tc *t, uint32_t dim, kv_err *err);
void prof_free(prof *p); /* NULL is fine */

/* How K (or V) of a layer is stored: the layer's own entry, or the policy's default; `heads` stays borrowed. layer < n_layer
 * where the profile has layers, else anything. */
prof_kv prof_layer_k(const prof *p, uint32_t layer);
prof_kv prof_layer_v(const prof *p, uint32_t layer);

/* Round every float to its storage precision; call before measuring. */
void prof_round(prof *p);

/* Check everything that the text cannot say about itself: ranges, order, basis finite. KV_ERANGE. */
kv_status prof_check(const prof *p, const char *where, kv_err *err);

/* Parse YAML. `where` names the source in errors. *out: caller frees with prof_free. KV_EFORMAT with "where:line: key: ...",
 * KV_ERANGE. */
kv_status prof_parse(const char *text, size_t len, const char *where, prof **out, kv_err *err);
kv_status prof_load(const char *path, prof **out, kv_err *err);
/* Same profile, same bytes. *text: caller frees with free(). */
kv_status prof_format(const prof *p, char **text, size_t *len, kv_err *err);
kv_status prof_save(const prof *p, const char *path, kv_err *err); /* atomic */

/* The profile inside a packed GGUF (keys kvcalib.version u32, kvcalib.profile string = YAML without the binary part,
 * kvcalib.data u8 array = zstd of the binary part). No such keys: KV_OK and *out = NULL. A broken profile is an error. */
kv_status prof_from_gguf(const gguf *g, prof **out, kv_err *err);
/* Write `src` with the profile baked in (replacing one that is there) to `path`, or with p == NULL: without any profile. */
kv_status prof_pack(const gguf *src, const prof *p, const char *path, kv_err *err);
/* Bytes that prof_pack adds to a model without a profile (but for up to one alignment of padding). */
kv_status prof_pack_bytes(const prof *p, size_t *bytes, kv_err *err);

/* KV_EMISMATCH with both hashes or shapes named when the profile is for another model. */
kv_status prof_matches(const prof *p, const char *model_hash, uint32_t n_layer, uint32_t n_kv_head, uint32_t head_dim,
                       const char *where, kv_err *err);

#endif
