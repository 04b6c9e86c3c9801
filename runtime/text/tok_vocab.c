/* The vocabulary: token texts and attributes as a GGUF has them, and the way back from a text to its id.
 *
 * Texts lie one after the other in one pool. A hash table with open addressing and a seed of its own, at most half full, holds
 * id + 1 of each and 0 where it is empty; empty texts are not in it. Ids on their way out are a list that grows by doubling.
 */
#include "base/table_seed.h"
#include "text/tok_internal.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

static uint32_t text_slot(const tok *t, const char *text, size_t len) {
    uint32_t i = (uint32_t)XXH3_64bits_withSeed(text, len, t->seed) & t->slot_mask;
    for (; t->slot[i]; i = (i + 1) & t->slot_mask) {
        const tok_text *x = &t->text[t->slot[i] - 1];
        if (x->len == len && !memcmp(x->s, text, len))
            break;
    }
    return i;
}

int32_t tok_find(const tok *t, const char *text, size_t len) {
    return len && len <= t->max_len ? (int32_t)t->slot[text_slot(t, text, len)] - 1 : -1;
}

bool tok_push(tok_ids *ids, int32_t id) {
    if (ids->n == ids->cap) {
        const size_t cap = ids->cap ? 2 * ids->cap : 64;
        int32_t *p = realloc(ids->id, cap * sizeof *p);
        if (!p)
            return false;
        ids->id = p;
        ids->cap = cap;
    }
    ids->id[ids->n++] = id;
    return true;
}

/* Copies the texts. Each stands in the file with 8 bytes of length before it, so nothing here is much larger than the file. */
static kv_status load_texts(tok *t, const gguf *g, kv_err *err) {
    const gguf_kv *tokens;
    gguf_str s;
    size_t cursor = 0, bytes = 0;
    kv_status st = gguf_get_array(g, "tokenizer.ggml.tokens", GGUF_STRING, true, &tokens, err);
    if (st)
        return st;
    if (!tokens->count || tokens->count > INT32_MAX / 4)
        return kv_fail(err, KV_EFORMAT, "%s: tokenizer.ggml.tokens has %llu entries", gguf_path(g),
                       (unsigned long long)tokens->count);
    t->n = (uint32_t)tokens->count;
    while (gguf_next_str(tokens, &cursor, &s))
        bytes += s.len;
    uint32_t slots = 16;
    while (slots < 2 * t->n)
        slots *= 2;
    t->slot_mask = slots - 1;
    t->seed = table_seed();
    t->pool = malloc(2 * bytes + 1);
    t->text = calloc(t->n, sizeof *t->text);
    t->piece = calloc(t->n, sizeof *t->piece);
    t->attr = malloc(t->n * sizeof *t->attr);
    t->slot = calloc(slots, sizeof *t->slot);
    if (!t->pool || !t->text || !t->piece || !t->attr || !t->slot)
        return kv_fail(err, KV_ENOMEM, "%s: out of memory for %u tokens", gguf_path(g), t->n);
    cursor = bytes = 0;
    for (uint32_t id = 0; id < t->n && gguf_next_str(tokens, &cursor, &s); id++) {
        if (s.len > TOK_MAX_TOKEN)
            return kv_fail(err, KV_EFORMAT, "%s: tokenizer.ggml.tokens[%u] has %zu bytes: at most %d are read as one token",
                           gguf_path(g), id, s.len, TOK_MAX_TOKEN);
        memcpy(t->pool + bytes, s.s, s.len);
        t->text[id] = (tok_text){t->pool + bytes, (uint32_t)s.len};
        bytes += s.len;
        if (!s.len)
            continue; /* some files pad the vocabulary with empty texts: never found */
        t->max_len = s.len > t->max_len ? (uint32_t)s.len : t->max_len;
        uint32_t *slot = &t->slot[text_slot(t, s.s, s.len)];
        if (*slot)
            return kv_fail(err, KV_EFORMAT, "%s: tokens %u and %u have the same text '%.*s'", gguf_path(g), *slot - 1, id,
                           (int)(s.len < 64 ? s.len : 64), s.s);
        *slot = id + 1;
    }
    return KV_OK;
}

static kv_status load_types(tok *t, const gguf *g, kv_err *err) {
    static const uint8_t attr_of[] = {0, ATTR_NORMAL, ATTR_UNKNOWN, ATTR_CONTROL, ATTR_USER, ATTR_UNUSED, ATTR_BYTE};
    const gguf_kv *types = NULL;
    kv_status st = gguf_get_array(g, "tokenizer.ggml.token_type", GGUF_I32, false, &types, err);
    if (st)
        return st;
    if (types && types->count != t->n)
        return kv_fail(err, KV_EFORMAT, "%s: tokenizer.ggml.token_type has %llu entries for %u tokens", gguf_path(g),
                       (unsigned long long)types->count, t->n);
    for (uint32_t i = 0; i < t->n; i++) {
        const int64_t type = types ? gguf_array_i64(types, i) : 1;
        if (type < 0 || type >= (int64_t)sizeof attr_of)
            return kv_fail(err, KV_EFORMAT, "%s: tokenizer.ggml.token_type[%u] is %lld", gguf_path(g), i, (long long)type);
        t->attr[i] = t->text[i].len ? attr_of[type] : ATTR_UNUSED;
    }
    return KV_OK;
}

kv_status tok_vocab_load(tok *t, const gguf *g, kv_err *err) {
    kv_status st = load_texts(t, g, err);
    return st ? st : load_types(t, g, err);
}
