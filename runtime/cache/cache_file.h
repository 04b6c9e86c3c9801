/* A cache in a file: what is written of it, and how it comes back. libfmt/context/context_file.h has the file.
 *
 * Written are, of each layer that stores tokens, its sinks and its blocks as they are in memory, piece by piece, and one or
 * more checkpoints, the last of which is of where the cache stands. A cache of the same stamp takes them back; how many tokens
 * it has room for may differ.
 */
#ifndef RT_CACHE_FILE_H
#define RT_CACHE_FILE_H

#include "cache/cache.h"
#include "codec/codec.h"

/* How tokens are stored, down to the tables of calibrated codecs, hashed: what is the same in two caches that could take each
 * other's bytes. 32 hexadecimal digits. */
void kv_cache_stamp(const kv_cache *c, char out[33]);
/* The same in words, for messages: "K tc 3.2 bits, V tc 3.1 bits, window 128, sinks 4". */
void kv_cache_words(const kv_cache *c, char *out, size_t size);
/* What an f16 cache of so many tokens would take. */
uint64_t kv_cache_f16_bytes(const kv_cache *c, uint32_t tokens);

/* What there is of a cache beside its checkpoints, in pieces: of each layer that stores tokens its sinks, then its streams. How
 * many, and the most bytes that one can have. */
uint32_t kv_cache_pieces(const kv_cache *c);
size_t kv_cache_piece_most(const kv_cache *c, uint32_t piece);
typedef kv_status (*kv_write)(void *user, const void *data, size_t bytes, kv_err *err);
kv_status kv_cache_write(const kv_cache *c, uint32_t piece, kv_write write, void *user, kv_err *err);
/* The same in fewer bytes, as its codec knows how: caller frees; NULL: it does not, or there is no memory for it. *whole: bytes
 * unpacked. kinds: of the tokens, in their order. */
uint8_t *kv_cache_pack(const kv_cache *c, uint32_t piece, const kv_kinds *kinds, size_t *bytes, size_t *whole);
/* to: `whole` bytes, 8-byte aligned. Neither needs the cache to hold anything, so pieces can be worked on by many threads.
 * KV_EFORMAT, KV_ENOMEM. */
kv_status kv_cache_unpack(const kv_cache *c, uint32_t piece, const kv_kinds *kinds, const void *packed, size_t bytes, void *to,
                          size_t whole, kv_err *err);

/* A small one: going back to it and from there further back is not possible, but for the last token. */
kv_status kv_checkpoint_tight(const kv_cache *c, kv_checkpoint **out, kv_err *err);
/* A checkpoint's bytes; borrowed. And one from such bytes, for a cache of the same stamp, which stays as it is: KV_EFORMAT:
 * they are none of it, KV_ENOMEM. */
const void *kv_checkpoint_data(const kv_checkpoint *p, size_t *bytes);
kv_status kv_checkpoint_read(const kv_cache *c, uint32_t len, const void *data, size_t bytes, kv_checkpoint **out, kv_err *err);

typedef struct kv_piece {
    const void *data; /* or NULL where there is nothing */
    size_t bytes;
} kv_piece;
/* Make an empty cache hold what was written, all pieces, with `at` as its state. Whole blocks of full layers that do not evict
 * are used where they lie, 8-byte aligned: the caller keeps them, unchanged, as long as the cache. KV_EFORMAT: of other sizes;
 * the cache is to be freed then. */
kv_status kv_cache_restore(kv_cache *c, const kv_piece *pieces, const kv_checkpoint *at, kv_err *err);

#endif
