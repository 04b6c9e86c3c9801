/* kvpack --show: what a profile says, as a table or as JSON on stdout, and what caches cost with it. */
#ifndef PACK_SHOW_H
#define PACK_SHOW_H

#include "model/model.h"
#include "profile/profile.h"

/* hp: the model that the profile is shown for, which it must match; NULL where there is none at hand: then cache sizes are left
 * out, and the text says so. where: the file the profile is from. */
kv_status pack_show_text(const prof *p, const rt_hparams *hp, const char *where, kv_err *err);
kv_status pack_show_json(const prof *p, const rt_hparams *hp, const char *where, kv_err *err);

/* Bytes of one token over all layers, encoded and as f16. 0: not known without the model. */
typedef struct pack_token {
    double bytes, f16;
} pack_token;
kv_status pack_token_bytes(const prof *p, const rt_hparams *hp, pack_token *out, kv_err *err);

/* The table of sizes: 4K, 8K, ... 128K tokens, as a context with this profile allocates them. */
enum { PACK_SIZES = 6, PACK_BATCH = 512 };
extern const uint32_t pack_tokens[PACK_SIZES];
kv_status pack_sizes(const prof *p, const rt_hparams *hp, kv_cache_info out[PACK_SIZES], kv_err *err);

/* K or V of one layer, summed up. */
typedef struct pack_stream {
    kv_codec_id codec; /* of the first head */
    bool mixed;        /* codecs differ */
    bool uneven;       /* codecs or bits differ */
    double bits;       /* mean over the heads; 0: not known without the model, or there are none */
} pack_stream;
/* KV heads that a layer stores; 1 where nobody says how many. */
uint32_t pack_n_heads(const prof *p, const rt_hparams *hp, uint32_t layer);
prof_head pack_head(const prof *p, const rt_hparams *hp, bool v, uint32_t layer,
                    uint32_t head); /* bits filled in, where known */
pack_stream pack_sum(const prof *p, const rt_hparams *hp, bool v, uint32_t layer);
/* Layers that have something to say: those of the profile; of a hand-written one with overrides, the model's. */
uint32_t pack_n_layers(const prof *p, const rt_hparams *hp);

#endif
