/* .kv files: what a session has read, with all that the cache knows of it. docs/documents.md.
 *
 *     head      64 bytes, the same in every file of a version
 *     sections  one after the other, each from a multiple of 64 bytes on, filled up with zeros
 *     table     a row of CTX_ROW bytes for each section: what it is, where it lies, and the XXH3-64 of its bytes and zeros
 *     tail      64 bytes: where the table is, how long the file is, and the sums of table and tail
 *
 * Numbers are little-endian. So nothing of a file is unaccounted for: any byte that is not as it was written is found when the
 * file is opened. Sections are read where they lie, through a mapping. Those of packed files are compressed, and unpacked when
 * they are asked for: by zstd, or by whoever knows better what they are made of (entropy.h has what that takes).
 */
#ifndef KV_CONTEXT_FILE_H
#define KV_CONTEXT_FILE_H

#include "base/progress.h"
#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CTX_VERSION = 1, CTX_ALIGN = 64, CTX_ROW = 40 };

typedef enum ctx_kind {
    CTX_ABOUT = 1,   /* ctx_about as JSON */
    CTX_IDS,         /* int32 per token */
    CTX_BODY,        /* index: piece of the cache. Sinks of a layer, or blocks of a stream, as the cache has them in memory */
    CTX_MARK,        /* index: place to go back to, the last is where the session stood. A checkpoint of the cache */
    CTX_MARK_LOGITS, /* index: likewise; float32 per token of the vocabulary. Not of all */
    CTX_CHAT,        /* turns as JSON (context_chat.h). Only of chats */
    CTX_KINDS
} ctx_kind;

/* ---- what a file says of itself ---- */

/* How the cache was asked for, as the fields of rt_ctx_cfg of the same names; names of codecs and policies, or empty. */
typedef struct ctx_settings {
    char ctk[16], ctv[16], evict[16];
    int64_t window, sinks, recent; /* -1: as the profile says */
    uint32_t budget_tokens;
    double budget_share;
    bool ada, equal_budgets, profile;
} ctx_settings;

typedef struct ctx_about {
    char title[1024], model[256], arch[64], cache[256], program[64];
    char model_id[33], cache_id[33]; /* what it belongs to: hashes in hexadecimal */
    int64_t saved;                   /* seconds since 1970 */
    uint64_t bytes_f16;              /* of an f16 cache of as many tokens */
    uint32_t n_tokens, n_ctx, n_marks;
    ctx_settings settings;
} ctx_about;

/* JSON text of it; *out: caller frees. KV_ENOMEM. */
kv_status ctx_about_format(const ctx_about *about, char **out, size_t *len, kv_err *err);
/* where: for messages. KV_EFORMAT names the key. */
kv_status ctx_about_parse(const char *text, size_t len, const char *where, ctx_about *out, kv_err *err);

/* ---- writing ---- */

typedef struct ctx_writer ctx_writer;

/* The file appears whole, or not at all. KV_EIO, KV_ENOMEM. */
kv_status ctx_writer_open(const char *path, bool packed, ctx_writer **out, kv_err *err);
/* It can be made again: atomic_file_as_cache. Before anything is written to it. KV_EIO. */
kv_status ctx_writer_as_cache(ctx_writer *w, kv_err *err);
/* A section: begin, any number of pieces, end. KV_EIO, KV_ENOMEM; a writer that failed is to be aborted. */
kv_status ctx_writer_begin(ctx_writer *w, ctx_kind kind, uint32_t index, kv_err *err);
kv_status ctx_writer_add(ctx_writer *w, const void *data, size_t bytes, kv_err *err);
kv_status ctx_writer_end(ctx_writer *w, kv_err *err);
/* All three for one piece. */
kv_status ctx_writer_put(ctx_writer *w, ctx_kind kind, uint32_t index, const void *data, size_t bytes, kv_err *err);
/* A section of `raw` bytes that somebody else has packed; only in packed files. */
kv_status ctx_writer_coded(ctx_writer *w, ctx_kind kind, uint32_t index, const void *data, size_t bytes, size_t raw,
                           kv_err *err);
/* Write table and tail, give it its name; frees w in every case. */
kv_status ctx_writer_commit(ctx_writer *w, kv_err *err);
void ctx_writer_abort(ctx_writer *w); /* NULL is fine */

/* ---- reading ---- */

typedef struct ctx_file ctx_file;

/* Whether a file begins as a .kv file does; one that cannot be read does not. */
bool ctx_file_is(const char *path);
/* Map a file and check all of it, which takes as long as reading it does. `sums`: those of the sections, too; else only what
 * says where they are. KV_EIO, KV_EFORMAT (says what is damaged), KV_EUNSUPP: another version; KV_ECANCEL. Caller frees. */
kv_status ctx_file_open(const char *path, bool sums, kv_progress progress, void *user, ctx_file **out, kv_err *err);
void ctx_file_close(ctx_file *f); /* NULL is fine */
const char *ctx_file_path(const ctx_file *f);
uint64_t ctx_file_bytes(const ctx_file *f);
bool ctx_file_packed(const ctx_file *f);
/* A section as it was given to the writer; it lives as long as the file. *data NULL: there is none. KV_EFORMAT: it is longer
 * than `most` bytes, or cannot be unpacked; KV_ENOMEM. */
kv_status ctx_file_section(ctx_file *f, ctx_kind kind, uint32_t index, size_t most, const void **data, size_t *bytes,
                           kv_err *err);
/* A section that somebody else has packed: as it lies there, and room for `raw` bytes, 64-byte aligned, where that one is to
 * unpack it before it is asked for. data NULL: there is none, or it is not such a one. Errors as above. */
typedef struct ctx_coded {
    const void *data;
    size_t bytes;
    void *to;
    size_t raw;
} ctx_coded;
kv_status ctx_file_coded(ctx_file *f, ctx_kind kind, uint32_t index, size_t most, ctx_coded *out, kv_err *err);
kv_status ctx_file_about(ctx_file *f, ctx_about *out, kv_err *err);
/* KV_EIO: the file became shorter while it was mapped. */
kv_status ctx_file_unchanged(const ctx_file *f, kv_err *err);

#endif
