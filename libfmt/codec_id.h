/* Names of the cache codecs: the rows that --help, profiles and the runtime's table of implementations share. */
#ifndef KV_CODEC_ID_H
#define KV_CODEC_ID_H

#include <stdbool.h>

typedef enum kv_codec_id { KV_F32, KV_F16, KV_Q8_0, KV_Q4_0, KV_TC, KV_CODEC_COUNT } kv_codec_id;

typedef struct kv_codec_name {
    kv_codec_id id;
    const char *name;    /* as written in profiles and after -ctk/-ctv */
    const char *summary; /* one line for --help */
    bool calibrated;     /* needs a prof_tc for every head */
} kv_codec_name;

extern const kv_codec_name kv_codec_names[KV_CODEC_COUNT]; /* indexed by id */

/* -1 when unknown. */
int kv_codec_by_name(const char *name);

#endif
