/* BPE: byte-level (GPT-2 and its heirs) or over characters (Gemma 4).
 *
 * A byte-level vocabulary spells every byte as one printable letter: those of Latin-1 that print stand for themselves, the 68
 * others for U+0100 and up. A word starts as the tokens of its bytes, or of its characters; the merge list says which two
 * tokens join into which, earlier lines first. Merges are looked up by the pair of ids, so no text is handled in the loop. A
 * byte whose letter is no token gives nothing, as in llama.cpp; a character that is no token is spelled in tokens <0xXX>.
 * Method: Sennrich et al., "Neural Machine Translation of Rare Words with Subword Units" (2016); the byte letters are GPT-2's.
 */
#include "base/splitmix64.h"
#include "text/tok_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The letter (a code point below U+0144) that spells a byte. */
static uint32_t letter_of(uint8_t b) {
    if ((b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b != 0xAD))
        return b;
    /* the others in order: 00-20, 7F-A0, AD */
    return 256 + (b <= 0x20 ? b : b <= 0xA0 ? b - 0x7Fu + 33 : 67);
}

static size_t spell(uint8_t b, char *out) {
    const uint32_t c = letter_of(b);
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    out[0] = (char)(0xC0 | c >> 6);
    out[1] = (char)(0x80 | (c & 0x3F));
    return 2;
}

/* The byte that a letter spells; -1: none. */
static int byte_of(uint32_t letter) {
    const uint32_t i = letter - 256;
    const uint32_t b = letter < 256 ? letter : i <= 32 ? i : i <= 66 ? i - 33 + 0x7F : i == 67 ? 0xAD : 256;
    return b < 256 && letter_of((uint8_t)b) == letter ? (int)b : -1;
}

size_t tok_bpe_piece(const char *text, size_t len, char *out) {
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        const uint8_t s = (uint8_t)text[i], s2 = i + 1 < len ? (uint8_t)text[i + 1] : 0;
        const bool two = s >= 0xC2 && s <= 0xC5 && (s2 & 0xC0) == 0x80;
        const int b = two ? byte_of((s & 0x1Fu) << 6 | (s2 & 0x3F)) : s < 0x80 ? byte_of(s) : -1;
        out[n++] = b < 0 ? text[i] : (char)b; /* what is no letter of the code stays: a token added as plain text */
        i += two && b >= 0;
    }
    return n;
}

static uint32_t pair_slot(const tok *t, int32_t left, int32_t right) {
    uint64_t key = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) ^ t->seed;
    uint32_t i = (uint32_t)splitmix64(&key) & t->pair_mask;
    while (t->pair[i].rank != UINT32_MAX && (t->pair[i].left != left || t->pair[i].right != right))
        i = (i + 1) & t->pair_mask;
    return i;
}

/* One line of the merge list: "left right". */
static kv_status add_merge(tok *t, const gguf *g, gguf_str line, uint32_t rank, char *joined, kv_err *err) {
    const char *space = line.len > 1 ? memchr(line.s + 1, ' ', line.len - 1) : NULL;
    const size_t left_len = space ? (size_t)(space - line.s) : 0, right_len = space ? line.len - left_len - 1 : 0;
    int32_t left = -1, right = -1, both = -1;
    if (right_len && left_len + right_len <= t->max_len) {
        memcpy(joined, line.s, left_len);
        memcpy(joined + left_len, space + 1, right_len);
        left = tok_find(t, line.s, left_len);
        right = tok_find(t, space + 1, right_len);
        both = tok_find(t, joined, left_len + right_len);
    }
    if (left < 0 || right < 0 || both < 0)
        return kv_fail(err, KV_EFORMAT, "%s: tokenizer.ggml.merges[%u] is '%.*s': %s", gguf_path(g), rank,
                       (int)(line.len < 200 ? line.len : 200), line.s,
                       right_len ? "it joins, or makes, a token that is not in the vocabulary" : "not two tokens");
    tok_pair *p = &t->pair[pair_slot(t, left, right)];
    if (p->rank == UINT32_MAX)
        *p = (tok_pair){left, right, both, rank};
    return KV_OK;
}

kv_status tok_bpe_load(tok *t, const gguf *g, kv_err *err) {
    const gguf_kv *merges = NULL;
    gguf_str line;
    size_t cursor = 0;
    uint32_t slots = 16;
    static const gguf_kv none;
    kv_status st = gguf_get_array(g, "tokenizer.ggml.merges", GGUF_STRING, !(t->flags & PRE_NO_MERGES), &merges, err);
    if (st)
        return st;
    merges = merges ? merges : &none;
    if (merges->count > INT32_MAX / 4)
        return kv_fail(err, KV_EFORMAT, "%s: tokenizer.ggml.merges has %llu lines, more than any model", gguf_path(g),
                       (unsigned long long)merges->count);
    while (slots < 2 * merges->count)
        slots *= 2;
    t->pair_mask = slots - 1;
    t->pair = malloc(slots * sizeof *t->pair);
    char *joined = malloc(t->max_len + 1);
    if (!t->pair || !joined)
        st = kv_fail(err, KV_ENOMEM, "%s: out of memory for %llu merges", gguf_path(g), (unsigned long long)merges->count);
    for (uint32_t i = 0; !st && i < slots; i++)
        t->pair[i] = (tok_pair){-1, -1, -1, UINT32_MAX};
    for (uint32_t rank = 0; !st && gguf_next_str(merges, &cursor, &line); rank++)
        st = add_merge(t, g, line, rank, joined, err);
    free(joined);
    for (int b = 0; b < 256; b++) {
        char name[8];
        const size_t n = t->flags & PRE_RAW ? (size_t)snprintf(name, sizeof name, "<0x%02X>", b) : spell((uint8_t)b, name);
        t->byte_id[b] = tok_find(t, name, n);
    }
    return st;
}

static bool join(const void *ctx, const tok_sym *l, const tok_sym *r, uint32_t *urgency, int32_t *id) {
    const tok *t = ctx;
    const tok_pair *p = &t->pair[pair_slot(t, l->id, r->id)];
    *urgency = p->rank;
    *id = p->joined;
    return p->rank != UINT32_MAX;
}

/* The token that a whole word is; -1: none. `spelled` holds max_len + 2 bytes. */
static int32_t whole_word(const tok *t, const uint8_t *word, size_t len, char *spelled) {
    size_t n = 0;
    if (t->flags & PRE_RAW)
        return tok_find(t, (const char *)word, len);
    for (size_t i = 0; i < len && n <= t->max_len; i++)
        n += spell(word[i], spelled + n);
    return n <= t->max_len ? tok_find(t, spelled, n) : -1;
}

static bool all_newlines(const uint8_t *word, size_t len) {
    size_t i = 0;
    while (i < len && word[i] == '\n')
        i++;
    return i == len;
}

static bool encode_bytes(const tok *t, tok_merger *m, const uint8_t *word, size_t len, tok_ids *ids) {
    m->n_sym = 0;
    for (size_t i = 0; i < len; i++) /* a byte without a token joins with nothing: the words on either side stay apart */
        if (!tok_merge_add(m, (uint32_t)i, 1, t->byte_id[word[i]]))
            return false;
    if (!tok_merge_run(m, join, t))
        return false;
    for (int32_t i = 0; i >= 0; i = m->sym[i].next)
        if (m->sym[i].id >= 0 && !tok_push(ids, m->sym[i].id))
            return false;
    return true;
}

static bool push_character(const tok *t, const uint8_t *c, size_t len, tok_ids *ids) {
    for (size_t i = 0; i < len; i++)
        if (t->byte_id[c[i]] >= 0 && !tok_push(ids, t->byte_id[c[i]]))
            return false;
    return true;
}

static bool encode_characters(const tok *t, tok_merger *m, const uint8_t *word, size_t len, tok_ids *ids) {
    m->n_sym = 0;
    for (size_t i = 0, n; i < len; i += n) { /* here a character without a token */
        n = tok_char_len(word[i]);
        if (!tok_merge_add(m, (uint32_t)i, (uint32_t)n, tok_find(t, (const char *)word + i, n)))
            return false;
    }
    if (!tok_merge_run(m, join, t))
        return false;
    for (int32_t i = 0; i >= 0; i = m->sym[i].next) {
        const tok_sym *s = &m->sym[i];
        if (s->id >= 0 ? !tok_push(ids, s->id) : !push_character(t, word + s->at, s->len, ids))
            return false;
    }
    return true;
}

static kv_status encode_marked(const tok *t, const char *text, size_t len, tok_ids *ids, kv_err *err) {
    tok_words words;
    tok_merger m = {0};
    kv_status st = tok_pre_split(t->pre, (const uint8_t *)text, len, &words, err);
    if (st)
        return st;
    const bool whole = t->flags & PRE_WHOLE, newlines = t->flags & PRE_NEWLINES, raw = t->flags & PRE_RAW;
    char *spelled = malloc(t->max_len + 2);
    bool ok = spelled;
    for (size_t i = 0; ok && i < words.n; i++) {
        const uint32_t from = i ? words.end[i - 1] : 0, n = words.end[i] - from;
        const uint8_t *word = words.text + from;
        const int32_t id = whole || (newlines && all_newlines(word, n)) ? whole_word(t, word, n, spelled) : -1;
        ok = id >= 0 ? tok_push(ids, id) : raw ? encode_characters(t, &m, word, n, ids) : encode_bytes(t, &m, word, n, ids);
    }
    if (!ok)
        st = kv_fail(err, KV_ENOMEM, "out of memory for a text of %zu bytes", len);
    free(spelled);
    tok_merge_free(&m);
    tok_words_free(&words);
    return st;
}

kv_status tok_bpe_encode(const tok *t, const char *text, size_t len, tok_ids *ids, kv_err *err) {
    size_t n;
    if (!(t->flags & PRE_MARKS))
        return encode_marked(t, text, len, ids, err);
    char *marked = tok_mark_spaces(text, len, false, t->flags & PRE_LINES, &n);
    const kv_status st =
        marked ? encode_marked(t, marked, n, ids, err) : kv_fail(err, KV_ENOMEM, "out of memory for a text of %zu bytes", len);
    free(marked);
    return st;
}
