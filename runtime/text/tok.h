/* Tokenizers: BPE (byte-level, GPT-2 family; over characters, Gemma 4) and SPM (scores, byte fallback), built from a GGUF's
 * metadata. Same ids as llama.cpp for all its pre-tokenizers (tok_pre_table.c) and for SPM of Llama and Gemma.
 */
#ifndef RT_TOK_H
#define RT_TOK_H

#include "gguf/gguf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct tok tok;

/* Copies what it needs; g may be closed afterwards. KV_EFORMAT (counts that disagree, ids out of range), KV_EUNSUPP (model or
 * pre-tokenizer unknown: names it and lists those supported). */
kv_status tok_new(const gguf *g, tok **out, kv_err *err);
void tok_free(tok *t);

enum {
    TOK_BOS = 1,     /* put BOS first where the model asks for it (and EOS last likewise) */
    TOK_SPECIAL = 2, /* parse special tokens such as <|im_start|> in the text */
};
/* Any bytes are accepted: broken UTF-8 is taken as llama.cpp does (see docs). Time is O(n log n).
 * *ids: caller frees with free(). Thread-safe. */
kv_status tok_encode(const tok *t, const char *text, size_t len, unsigned flags, int32_t **ids, size_t *n, kv_err *err);

/* Bytes of one token as they appear in text (special tokens give nothing unless `special`). *len is set; borrowed. */
const char *tok_piece(const tok *t, int32_t id, bool special, size_t *len);

uint32_t tok_n_vocab(const tok *t);
const char *tok_note(const tok *t, size_t i); /* what was made of odd keys, one sentence each; NULL: no more; borrowed */
int32_t tok_bos(const tok *t);                /* -1: none */
int32_t tok_eos(const tok *t);
bool tok_add_bos(const tok *t);
bool tok_is_eog(const tok *t, int32_t id); /* ends a generation: eos, eot, <|im_end|>, <end_of_turn>, ... */

/* UTF-8 safe streaming: holds back bytes until they complete a character; malformed bytes come out as U+FFFD. */
typedef struct tok_stream {
    unsigned char held[4];
    unsigned n_held;
} tok_stream;
/* Writes at most 3*len + 4 bytes to out, returns how many. len == 0 flushes what is held. */
size_t tok_stream_push(tok_stream *s, const char *bytes, size_t len, char *out);

/* The same with memory of its own. Zero-initialise. *text: what the bytes complete, *n bytes (n may be NULL) and a NUL,
 * borrowed until the next call. KV_ENOMEM. */
typedef struct tok_writer {
    tok_stream stream;
    char *out;
    size_t cap;
} tok_writer;
kv_status tok_writer_push(tok_writer *t, const char *bytes, size_t len, const char **text, size_t *n, kv_err *err);
kv_status tok_writer_end(tok_writer *t, const char **text, size_t *n, kv_err *err); /* what is held; t can be used again */
void tok_writer_free(tok_writer *t);

#endif
