/* Models: the weights and the vocabulary of a GGUF file.
 *
 * A kv_model does not change once it is loaded. Any number of threads may use it at the same time; sessions, text streams and
 * samplers that were made of it must be freed before it.
 */
#ifndef KV_PUBLIC_MODEL_H
#define KV_PUBLIC_MODEL_H

#include <kv/status.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct kv_model kv_model;

/* How threads wait for each other. */
typedef enum kv_wait {
    KV_WAIT_AUTO, /* as the load of the machine asks for */
    KV_WAIT_SPIN, /* always looking: fastest where nothing else runs */
    KV_WAIT_SLEEP /* always asleep: kind to whatever else runs */
} kv_wait;

typedef struct kv_model_options {
    size_t size;
    const char *isa;  /* instruction set: "scalar", "avx2", "avx512", "neon", ...; NULL or "auto": the best of this machine */
    int32_t threads;  /* of every session and of calibration; 0: one per core that this process may use */
    int32_t wait;     /* kv_wait */
    int32_t exact;    /* 1: matrix products in f32, for measuring; 0: in 8 bits where weights are quantised, for speed */
    int32_t in_place; /* 1: weights stay where they are in the file: less memory of one's own, slower, the same results */
    kv_progress progress;   /* told how far loading is, and may stop it; or NULL */
    void *user;             /* of progress */
    const char *const *set; /* (n_set) keys to take in place of those of the file: KEY=TYPE:VALUE, TYPE one of int, float, bool
                               and str; a key that begins with a dot is one of the architecture: ".rope.freq_base=float:1e6" */
    size_t n_set;
} kv_model_options;
#define KV_MODEL_OPTIONS_INIT                                                                                                  \
    { sizeof(kv_model_options), NULL, 0, KV_WAIT_AUTO, 0, 0, NULL, NULL, NULL, 0 }

/* Load a model; of one in several files (NAME-00001-of-00003.gguf), any part stands for all. options: NULL for all defaults.
 * *out: caller frees with kv_model_free. Results never depend on isa, threads, wait or in_place. KV_EIO, KV_EFORMAT;
 * KV_EUNSUPP: an architecture or tensor type that is not supported (says which are), an instruction set that this machine does
 * not have; KV_ENOMEM; KV_ECANCEL: the callback said so. */
KV_API kv_status kv_model_load(const char *path, const kv_model_options *options, kv_model **out, kv_err *err);
KV_API void kv_model_free(kv_model *model); /* NULL is fine */

/* Model files are read where they are mapped. One that becomes shorter while it is in use, because it is fetched or written
 * anew, say, would end the process with SIGBUS. With this, once for the process, such a file is an error: loading and steps
 * return KV_EIO with its name. (So they do without it where a file is changed and not shorter.) It sets a handler of SIGBUS;
 * faults outside of model files are left to the one that was there before. KV_EIO: the system refused. */
KV_API kv_status kv_guard_model_files(kv_err *err);

typedef struct kv_model_facts {
    size_t size;
    const char *arch; /* "llama", "qwen2", ... this and the other texts are borrowed from the model */
    const char *name; /* as the file has it; may be empty */
    const char *hash; /* 32 hex digits over the weights that make queries, keys and values: which profiles fit */
    uint32_t n_layer;
    uint32_t n_embd;
    uint32_t n_head;    /* query heads of a layer, */
    uint32_t n_kv_head; /* and heads that it stores keys and values for; where layers differ, the most of any */
    uint32_t head_dim;
    uint32_t n_vocab;
    uint32_t n_ctx_train;    /* tokens of context that it was trained for */
    uint32_t sliding_window; /* of the layers whose attention slides; 0: all layers see everything */
    uint32_t threads;        /* that sessions will use */
    uint32_t has_profile;    /* 1: a profile is packed into the file (kv_profile_of_model) */
} kv_model_facts;
#define KV_MODEL_FACTS_INIT                                                                                                    \
    { sizeof(kv_model_facts), NULL, NULL, NULL, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }

/* Fill *out, whose size is set. KV_EINVAL: it is not. */
KV_API kv_status kv_model_get_facts(const kv_model *model, kv_model_facts *out, kv_err *err);

#ifdef __cplusplus
}
#endif

#endif
