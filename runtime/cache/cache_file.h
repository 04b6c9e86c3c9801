/* A cache in a file: what is written of it, and how it comes back. libfmt/context/context_file.h has the file.
 *
 * Written are, of each layer that stores tokens, its sinks and its blocks as they are in memory, stream by stream, and one or
 * more checkpoints, the last of which is of where the cache stands. A cache of the same stamp takes them back; how many tokens
 * it has room for may differ.
 */
#ifndef RT_CACHE_FILE_H
#define RT_CACHE_FILE_H

#include "cache/cache.h"

/* How tokens are stored, down to the tables of calibrated codecs, hashed: what is the same in two caches that could take each
 * other's bytes. 32 hexadecimal digits. */
void kv_cache_stamp(const kv_cache *c, char out[33]);
/* The same in words, for messages: "K tc 3.2 bits, V tc 3.1 bits, window 128, sinks 4". */
void kv_cache_words(const kv_cache *c, char *out, size_t size);
/* What an f16 cache of so many tokens would take. */
uint64_t kv_cache_f16_bytes(const kv_cache *c, uint32_t tokens);

/* Sinks and blocks of a layer, piece by piece; nothing for one that stores none. */
typedef kv_status (*kv_write)(void *user, const void *data, size_t bytes, kv_err *err);
kv_status kv_cache_write(const kv_cache *c, uint32_t layer, kv_write write, void *user, kv_err *err);

/* A small one: going back to it and from there further back is not possible, but for the last token. */
kv_status kv_checkpoint_tight(const kv_cache *c, kv_checkpoint **out, kv_err *err);
/* A checkpoint's bytes; borrowed. And one from such bytes, for a cache of the same stamp, which stays as it is: KV_EFORMAT:
 * they are none of it, KV_ENOMEM. */
const void *kv_checkpoint_data(const kv_checkpoint *p, size_t *bytes);
kv_status kv_checkpoint_read(const kv_cache *c, uint32_t len, const void *data, size_t bytes, kv_checkpoint **out, kv_err *err);

/* What was written of a layer; data NULL where it stores nothing. */
typedef struct kv_piece {
    const void *data;
    size_t bytes;
} kv_piece;
/* Make an empty cache hold what was written, layers (n_layer), with `at` as its state. Whole blocks of full layers that do not
 * evict are used where they lie: the caller keeps them, unchanged, as long as the cache. KV_EFORMAT: of other sizes; the cache
 * is to be freed then. */
kv_status kv_cache_restore(kv_cache *c, const kv_piece *layers, const kv_checkpoint *at, kv_err *err);

#endif
