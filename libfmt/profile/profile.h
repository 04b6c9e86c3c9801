/* The compression profile of one model: YAML text, readable from the top, with matrices and codebooks last as zstd + base64.
 *
 * A profile is either full (made by kvcalib: identity, layers, calibrated transforms, measured result) or hand-written with
 * only the policy part (and, if wanted, codecs per layer). Schema: docs/profile.md. Unknown keys, wrong types, values out of
 * range, duplicate keys, YAML aliases and anything truncated are errors that name file, line and key.
 */
#ifndef KV_PROFILE_H
#define KV_PROFILE_H

#include "base/status.h"
#include "gguf/gguf.h"
#include "profile/codec_id.h"
#include "profile/evict_id.h"
#include "quant/loss_curve.h"
#include "quant/trellis.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    PROF_VERSION = 6,                 /* the newest that is read, as all before it are. Which one is written: prof_version */
    PROF_MAX_BITS = TRELLIS_MAX_BITS, /* most bits of one coded dimension */
    PROF_MAX_DIM = 512,               /* head_dim */
    PROF_MAX_LAYERS = 512,
    PROF_MAX_HEADS = 256,
    PROF_FRAME = 64,     /* RoPE frames are multiples of so many positions */
    PROF_QUERIES = 16,   /* that a profile keeps of a KV head */
    PROF_FOLD_MOST = 30, /* of exponents of scales to fold, either way */
    PROF_MAX_WINDOWS = 4,
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

/* K or V of one layer. Bits are true bits per element, metadata included; 0 for codecs whose bits depend on head_dim. */
typedef struct prof_kv {
    kv_codec_id codec;   /* of all heads where codecs is NULL, else of the first */
    kv_codec_id *codecs; /* (n_kv_head) or NULL */
    float bits;          /* mean over the heads */
    float *head_bits;    /* (n_kv_head) or NULL: the same for all */
    prof_tc *heads;      /* (n_kv_head) where any codec is KV_TC, else NULL; filled in for heads whose codec is KV_TC */
} prof_kv;

/* Heads are those of the layer; a layer without KV heads has no k, no v, and nothing else of these. */
typedef struct prof_layer {
    float *entropy;    /* (n_head) attention entropy in bits, mean over tokens of the second half of each chunk; or NULL */
    float *importance; /* (n_kv_head) share of the score variance held by the leading quarter of K coefficients; or NULL */
    /* Tokens that the layer's heads keep, as a share of all: only the ratios count, --budget says how much it is on average. */
    uint32_t budget;   /* of every KV head, or the mean of budgets; 0: no advice, as much as the average */
    uint32_t *budgets; /* (n_kv_head) of each, > 0, or NULL: `budget` */
    /* (n_kv_head, KV_CUTS) nats that a head loses which reads kv_cuts of its context; or NULL. Where all layers with budgets
     * have them, they and not the budgets say how another budget is shared out. */
    float *losses;
    /* (n_kv_head, PROF_QUERIES, head_dim) queries as the head's group asks: before RoPE, after the query norm where the model
     * has one, not multiplied by the attention scale; or NULL. A vector is integers of 8 bits times one number (prof_round). */
    float *queries;
    /* (n_kv_head, head_dim) Scales of keys that may be folded into the weights (kvpack --fold), as whole exponents of 2; or
     * NULL. runtime/model/fold.h. */
    float *fold;
    prof_kv k, v;
} prof_layer;

/* How budgets of layers and heads came about: from attention entropy (PyramidKV), from what each head loses. */
typedef enum prof_budget_by { PROF_BY_ENTROPY, PROF_BY_LOSS } prof_budget_by;

/* The parameters of that: policy.budget_rule. For people: nothing reads them. docs/budgets.md. */
typedef struct prof_budget_rule {
    char formula[128];
    uint32_t mean, least, most; /* tokens of a head (by entropy: of a layer's heads) */
    uint32_t ctx, tokens;       /* how many were read at a time, and in all */
} prof_budget_rule;

/* What to keep of a long context: policy.evict. */
typedef struct prof_evict {
    kv_evict_id policy;
    kv_budget budget; /* both 0: only the policy is said, --budget must say how much */
    bool ada;         /* AdaKV: heads of a layer compete for the tokens of all of them */
    uint32_t recent;  /* newest tokens that are never dropped, the window included */
    double near;      /* the same as a share of a head's budget, if that is more; 0..1 */
    uint32_t observe; /* snapkv: last queries that vote */
    uint32_t pool;    /* snapkv: slots that share a vote, odd */
} prof_evict;

#define PROF_EVICT_DEFAULT ((prof_evict){.recent = 32, .near = 0.5, .observe = 32, .pool = 7})

/* Result measured on held-out text, against the same model with an f32 cache. */
typedef struct prof_measured {
    char text[128]; /* what text, "built-in corpus, held-out part" */
    uint32_t ctx, tokens;
    double kld, kld_se, dppl_percent, top1, bits_k, bits_v, bytes_per_token, f16_bytes_per_token;
} prof_measured;

/* Questions about facts hidden in generated documents (kveval facts): answers that were right with an f16 cache and with the
 * profile. */
typedef struct prof_facts {
    uint32_t ctx, docs; /* tokens of a document with question and answer, and how many there were */
    uint64_t seed;      /* that they were drawn from */
    uint32_t questions, right_f16, right;
    double low, high; /* 95 % interval of the paired difference to f16, in points */
} prof_facts;

/* What folding the scales is worth for a plain cache of keys and values, measured on held-out text: KL divergence from an f32
 * cache before and after. */
typedef struct prof_folding {
    kv_codec_id cache;
    uint32_t ctx, tokens;
    double before, before_se, after, after_se;
} prof_folding;
enum { PROF_MAX_FOLDINGS = 6 };

/* Which layers or heads: "0-10", "0,2-3", "11-". */
enum { PROF_MAX_RANGES = 8, PROF_MAX_OVERRIDES = 64 };
typedef struct prof_range {
    uint32_t from, to; /* inclusive; to == UINT32_MAX: up to the last one */
} prof_range;
typedef struct prof_ranges {
    uint32_t n; /* 0: all */
    prof_range r[PROF_MAX_RANGES];
} prof_ranges;

enum { PROF_RANGES_TEXT = PROF_MAX_RANGES * 24 };
void prof_ranges_format(const prof_ranges *r, char out[PROF_RANGES_TEXT]);

typedef struct prof_choice {
    bool set;
    kv_codec_id codec;
} prof_choice;

/* Codecs for some layers and heads of a hand-written profile, in place of default_k and default_v. */
typedef struct prof_override {
    prof_ranges layers, heads;
    prof_choice k, v; /* one of them at least; not KV_TC */
} prof_override;

typedef struct prof {
    /* model identity; empty hash: hand-written, fits any model */
    char model_hash[33], model_name[128], arch[32];
    uint32_t n_layer, n_head, n_kv_head, head_dim; /* 0 when hand-written; heads: the most of any layer */
    uint16_t *heads, *kv_heads;                    /* (n_layer) of each; or NULL: all have n_head, n_kv_head */
    /* how it was made */
    char tool_version[32], text_hash[33];
    uint32_t calib_tokens, calib_ctx, entropy_sinks;
    uint64_t seed;
    double target_bits;
    /* policy */
    uint32_t sinks, window;
    uint32_t frame; /* positions of a RoPE frame that transforms of keys are made for (runtime/cache/cache.h); 0: none */
    prof_evict evict;
    prof_budget_by budget_by; /* how layers[].budgets were made */
    prof_budget_rule budget_rule;
    prof_layer *layers;               /* (n_layer) or NULL: then default_k/default_v hold for every layer */
    kv_codec_id default_k, default_v; /* of a hand-written profile; not KV_TC */
    uint32_t n_override;
    prof_override *overrides; /* (n_override) of a hand-written profile, or NULL; the last one that names a head holds */
    /* what kvcalib is to aim at when it is given this profile as a preset; 0: not said. At most one of them is. */
    double aim_bits; /* mean bits per element, metadata included */
    double aim_kld;  /* mean KL divergence on held-out text, nats */
    /* what it costs */
    uint32_t n_measured;
    prof_measured measured[4];
    uint32_t n_facts;
    prof_facts facts[4];
    char fold_for[32]; /* the caches that layers[].fold was chosen for: names, with commas */
    uint32_t n_folding;
    prof_folding folding[PROF_MAX_FOLDINGS];
    /* The same model's profile for the next narrower window, and so on; or NULL. Owned. All that is said of a profile below,
     * how it is written, read, checked, rounded and freed, is of these as well. */
    struct prof *narrower;
} prof;

/* Allocate a full profile's arrays, zeroed: layers with entropy, importance and, codec being KV_TC, heads for K and V (of dim 0
 * until prof_tc_alloc); evict is PROF_EVICT_DEFAULT. KV_ENOMEM, KV_ERANGE (sizes above the PROF_MAX_*). prof_free frees. */
kv_status prof_new(uint32_t n_layer, uint32_t n_head, uint32_t n_kv_head, uint32_t head_dim, prof **out, kv_err *err);
/* Say how many heads each layer of a profile from prof_new has, at most n_head and n_kv_head; those without KV heads become f16
 * with nothing to say. Copied; kept only where layers differ. KV_ENOMEM. */
kv_status prof_set_heads(prof *p, const uint16_t *heads, const uint16_t *kv_heads, kv_err *err);
static inline uint32_t prof_heads(const prof *p, uint32_t layer) {
    return p->heads ? p->heads[layer] : p->n_head;
}
static inline uint32_t prof_kv_heads(const prof *p, uint32_t layer) {
    return p->kv_heads ? p->kv_heads[layer] : p->n_kv_head;
}
uint32_t prof_all_kv_heads(const prof *p); /* of all layers */
/* 6 where it has scales to fold, 5 where it holds profiles for narrower windows, 4 where layers differ in their heads, else 3:
 * older programs read what they understand. */
uint32_t prof_version(const prof *p);

/* Allocate one head's arrays, zeroed. */
kv_status prof_tc_alloc(prof_tc *t, uint32_t dim, kv_err *err);
/* Allocate what a layer need not have, zeroed, unless it has it. p's shape is known. */
kv_status prof_budgets_alloc(const prof *p, prof_layer *l, kv_err *err);
kv_status prof_losses_alloc(const prof *p, prof_layer *l, kv_err *err);
kv_status prof_queries_alloc(const prof *p, prof_layer *l, kv_err *err);
kv_status prof_fold_alloc(const prof *p, prof_layer *l, kv_err *err);
void prof_free(prof *p); /* NULL is fine */

/* The one that a cache with this window is to be made of: of those that were made for no more, that for the widest; where none
 * was, that for the least. window < 0: not said, p itself. NULL of NULL. Borrowed from p. */
const prof *prof_for_window(const prof *p, int64_t window);

/* Allocate codecs and head_bits, filled with codec and bits; for heads that are to differ. KV_ENOMEM. */
kv_status prof_kv_alloc(prof_kv *kv, uint32_t n_kv_head, kv_err *err);

/* How K (or V) of one KV head is stored: as the layer's entry says, or the policy. layer < n_layer and head < n_kv_head where
 * the profile has layers, else anything. Of a layer that is not calibrated because it stores nothing: f16. */
typedef struct prof_head {
    kv_codec_id codec;
    float bits;        /* 0: depends on head_dim */
    const prof_tc *tc; /* borrowed; NULL unless codec is KV_TC */
} prof_head;
prof_head prof_head_k(const prof *p, uint32_t layer, uint32_t head);
prof_head prof_head_v(const prof *p, uint32_t layer, uint32_t head);
prof_head prof_kv_head(const prof_kv *kv, uint32_t head);  /* of a layer's entry */
bool prof_kv_mixed(const prof_kv *kv, uint32_t n_kv_head); /* heads have different codecs */

bool prof_has_budgets(const prof *p); /* any layer has */
bool prof_has_losses(const prof *p);
bool prof_has_queries(const prof *p);
bool prof_has_fold(const prof *p);
/* Turn a profile for a model into that for the same one after e (n_layer, n_kv_head, head_dim) was folded into it, whose hash
 * is given: transforms and queries follow, what was measured holds within rounding and says so, scales to fold are gone. To be
 * rounded (prof_round). */
void prof_follow_fold(prof *p, const int8_t *e, const char *hash);
/* Tokens of one KV head, of which only the ratios count; 0: as much as the average. */
uint32_t prof_head_budget(const prof *p, uint32_t layer, uint32_t head);
const char *prof_budget_by_name(unsigned by); /* "entropy", "loss"; NULL: no such */

/* What a calibrated head says in short. prof_tc_dims: bits per dimension, run-length coded, "6*3 5*7 4*12 0*42"; size at least
 * PROF_DIMS_TEXT. prof_tc_spectrum: mean variance of eighths of the coefficients in dB relative to the first; returns how many
 * there are: 8, or dim where that is less. */
enum { PROF_DIMS_TEXT = PROF_MAX_DIM * 6 + 1, PROF_SPECTRUM = 8 };
void prof_tc_dims(const prof_tc *t, char out[PROF_DIMS_TEXT]);
uint32_t prof_tc_spectrum(const prof_tc *t, float out[PROF_SPECTRUM]);

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

/* What of a model a profile must agree with. */
typedef struct prof_shape {
    uint32_t n_layer, n_kv_head, head_dim;
    const uint16_t *kv_heads; /* (n_layer) that layers store, at most n_kv_head; NULL: all as many */
} prof_shape;

/* What a profile must be for (prof_matches). */
typedef struct prof_model {
    const char *hash;
    const prof_shape *shape;
} prof_model;

/* The profile inside a packed GGUF (keys kvcalib.version u32, kvcalib.profile string = YAML without the binary part,
 * kvcalib.data u8 array = zstd of the binary part). No such keys: KV_OK and *out = NULL. A broken profile is an error. model:
 * what it must be for, which is looked at before the binary part is unpacked; or NULL. */
kv_status prof_from_gguf(const gguf *g, const prof_model *model, prof **out, kv_err *err);
#define PROF_GGUF_PREFIX "kvcalib."  /* what these keys, and those of a folding, begin with */
bool prof_is_in_gguf(const gguf *g); /* any of these keys, broken or not */
/* Write `src` with the profile baked in (replacing one that is there) to `path`, or with p == NULL: without any profile. */
kv_status prof_pack(const gguf *src, const prof *p, const char *path, kv_err *err);
/* The same with more keys, which begin with "kvcalib.fold.": those stay when a profile is put in place of another. */
kv_status prof_pack_with(const gguf *src, const prof *p, const gguf_set *more, size_t n_more, const char *path, kv_err *err);
/* Bytes that prof_pack adds to a model without a profile (but for up to one alignment of padding). */
kv_status prof_pack_bytes(const prof *p, size_t *bytes, kv_err *err);

/* KV_EMISMATCH with both hashes or shapes named when the profile is for another model, or names layers or heads that this one
 * does not have. */
kv_status prof_matches(const prof *p, const char *model_hash, const prof_shape *model, const char *where, kv_err *err);

#endif
