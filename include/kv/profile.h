/* Profiles: how the KV cache of one model is compressed. Made by kv_calibrate (calibrate.h) or the program kvcalib, kept as
 * YAML files or packed into GGUF files. A kv_profile does not change: any number of threads and sessions may share it. */
#ifndef KV_PUBLIC_PROFILE_H
#define KV_PUBLIC_PROFILE_H

#include <kv/model.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct kv_profile kv_profile;

/* *out of all that follow: caller frees with kv_profile_free, after the sessions that use it. */
KV_API kv_status kv_profile_load(const char *path, kv_profile **out, kv_err *err);          /* KV_EFORMAT names line and key */
KV_API void kv_profile_free(kv_profile *profile);                                           /* NULL is fine */
KV_API kv_status kv_profile_save(const kv_profile *profile, const char *path, kv_err *err); /* whole or not at all */

/* The one that is packed into the model's file. *out NULL: there is none. */
KV_API kv_status kv_profile_of_model(const kv_model *model, kv_profile **out, kv_err *err);

/* Profiles that are shipped: NAME.yaml in a directory, and models/ in it for single models. directory NULL: the one that was
 * installed with the library, found from where the library is; nothing else is looked at. */
/* By name, "balanced" say. KV_EINVAL: no such (says which there are). */
KV_API kv_status kv_profile_find(const char *directory, const char *name, kv_profile **out, kv_err *err);
/* The one made for this model. *out NULL: there is none. */
KV_API kv_status kv_profile_for_model(const char *directory, const kv_model *model, kv_profile **out, kv_err *err);
/* That directory, NUL-terminated; caller frees with kv_free. It need not exist. */
KV_API kv_status kv_profile_directory(char **out, kv_err *err);

/* KV_EMISMATCH: the profile is for another model (says for which). */
KV_API kv_status kv_profile_fits(const kv_profile *profile, const kv_model *model, kv_err *err);

typedef struct kv_profile_facts {
    size_t size;
    const char *model_hash; /* of the model that it is for; empty: fits any. This and the other texts: borrowed */
    const char *model_name;
    const char *arch;
    const char *evict;      /* policy: which tokens to keep where there is a budget; "none" */
    double bits_k, bits_v;  /* true bits per number, everything included, mean over layers and heads */
    double budget_share;    /* of the context; 0: none */
    double kld, kld_se;     /* measured loss: KL divergence in nats and its standard error; NaN: not measured */
    double top1;            /* percent of tokens with the same most likely one, likewise */
    double perplexity;      /* change in percent, likewise */
    uint32_t budget_tokens; /* 0: none */
    uint32_t n_layer, n_head, n_kv_head, head_dim; /* 0: fits any */
    uint32_t window, sinks;                        /* newest and first tokens that are kept in f16 */
    uint32_t measured_tokens;
} kv_profile_facts;
#define KV_PROFILE_FACTS_INIT                                                                                                  \
    { sizeof(kv_profile_facts), NULL, NULL, NULL, NULL, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }

/* Fill *out, whose size is set; of a profile for several windows, bits and what was measured are those of the widest.
 * KV_EINVAL: it is not. */
KV_API kv_status kv_profile_get_facts(const kv_profile *profile, kv_profile_facts *out, kv_err *err);
/* True bits per number of keys and values of one layer, mean over heads. KV_ERANGE: no such layer; profiles that fit any model
 * have as many as one asks for. */
KV_API kv_status kv_profile_layer_bits(const kv_profile *profile, uint32_t layer, double *bits_k, double *bits_v, kv_err *err);

/* Write a copy of a GGUF file (one file, whatever number the model is in) with the profile in its metadata, in place of one
 * that is there; tensors stay as they are, byte for byte. The copy appears whole or not at all. KV_EINVAL: out is the file
 * itself; KV_EMISMATCH: not the profile's model. */
KV_API kv_status kv_profile_pack(const kv_profile *profile, const char *model, const char *out, kv_err *err);
/* Write a copy without profile. KV_EFORMAT: there is none in it. */
KV_API kv_status kv_profile_strip(const char *model, const char *out, kv_err *err);

#ifdef __cplusplus
}
#endif

#endif
