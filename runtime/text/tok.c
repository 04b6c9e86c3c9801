/* Tokenizers: reading one from a GGUF, and the way of a text through special tokens, words and merges. The layout is described
 * in tok_internal.h.
 */
#include "text/tok_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- loading ---- */

enum { KIND_BPE, KIND_SPM, KIND_NONE };

/* What tokenizer.ggml.model may say. */
static const struct {
    const char *name;
    int kind;
    const char *is;
} kinds[] = {
    {"gpt2", KIND_BPE, "byte-level BPE"},
    {"gemma4", KIND_BPE, "BPE over characters"},
    {"llama", KIND_SPM, "SentencePiece BPE"},
    {"t5", KIND_NONE, "SentencePiece Unigram, UGM"},
    {"bert", KIND_NONE, "WordPiece, WPM"},
    {"rwkv", KIND_NONE, "RWKV's longest match"},
    {"plamo2", KIND_NONE, "PLaMo 2"},
    {"hybriddna", KIND_NONE, "BPE and DNA in pieces of six letters"},
    {"whitespace", KIND_NONE, "words between spaces"},
    {"none", KIND_NONE, "no vocabulary"},
    {"no_vocab", KIND_NONE, "no vocabulary"},
};
enum { N_KINDS = sizeof kinds / sizeof *kinds };

static bool str_is(gguf_str s, const char *what) {
    return s.len == strlen(what) && !memcmp(s.s, what, s.len);
}

/* Refuses a kind that is not supported. */
static kv_status find_kind(const gguf *g, gguf_str name, int *kind, kv_err *err) {
    char list[256] = "";
    const char *is = "a kind that is not known";
    *kind = KIND_NONE;
    for (size_t i = 0, n = 0; i < N_KINDS; i++) {
        if (kinds[i].kind != KIND_NONE)
            n += (size_t)snprintf(list + n, sizeof list - n, "%s%s (%s)", n ? ", " : "", kinds[i].name, kinds[i].is);
        if (!str_is(name, kinds[i].name))
            continue;
        *kind = kinds[i].kind;
        is = kinds[i].is;
    }
    if (*kind != KIND_NONE)
        return KV_OK;
    return kv_fail(err, KV_EUNSUPP, "%s: tokenizer.ggml.model is '%.*s' (%s), which is not supported; supported: %s",
                   gguf_path(g), (int)(name.len < 64 ? name.len : 64), name.s, is, list);
}

static void add_note(tok *t, const char *fmt, ...) {
    va_list args;
    if (t->n_notes == TOK_NOTES)
        return;
    va_start(args, fmt);
    vsnprintf(t->note[t->n_notes++], sizeof *t->note, fmt, args);
    va_end(args);
}

/* Is the number -1, in whatever width, or what a program makes of that in 32 bits without a sign? */
static bool is_minus_one(const gguf_kv *kv) {
    static const uint8_t ones[8] = {0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}, zeros[4] = {0};
    const bool is_signed = kv->type == GGUF_I8 || kv->type == GGUF_I16 || kv->type == GGUF_I32 || kv->type == GGUF_I64;
    if (!is_signed && kv->type != GGUF_U32 && kv->type != GGUF_U64)
        return false;
    return !memcmp(kv->raw, ones, kv->raw_bytes) ||
           (kv->raw_bytes == 8 && !memcmp(kv->raw, ones, 4) && !memcmp(kv->raw + 4, zeros, 4));
}

/* An id of a special token; -1: there is none. An absent key means `otherwise`. */
static kv_status get_id(tok *t, const gguf *g, const char *key, int32_t otherwise, int32_t *out, kv_err *err) {
    uint32_t id = UINT32_MAX;
    const gguf_kv *kv = gguf_find(g, key);
    *out = otherwise < (int32_t)t->n ? otherwise : -1;
    if (!kv)
        return KV_OK;
    if (is_minus_one(kv)) {
        add_note(t, "%s is -1: taken for a model without this token", key);
        *out = -1;
        return KV_OK;
    }
    kv_status st = gguf_get_u32(g, key, false, &id, err);
    if (st)
        return st;
    if (id >= t->n)
        return kv_fail(err, KV_EFORMAT, "%s: %s is %u, but there are %u tokens", gguf_path(g), key, id, t->n);
    *out = (int32_t)id;
    return KV_OK;
}

/* Whether a special token is added to texts. Where the file has an id of -1, it cannot be. */
static kv_status get_added(const tok *t, const gguf *g, const char *what, int32_t id, bool *add, kv_err *err) {
    char key[64];
    snprintf(key, sizeof key, "tokenizer.ggml.add_%s_token", what);
    kv_status st = gguf_get_bool(g, key, false, add, err);
    if (st)
        return st;
    if (!strcmp(what, "bos") && t->flags & PRE_FORCE_BOS)
        *add = true;
    if (!*add || id >= 0)
        return KV_OK;
    snprintf(key, sizeof key, "tokenizer.ggml.%s_token_id", what);
    *add = false;
    if (gguf_find(g, key))
        return KV_OK;
    return kv_fail(err, KV_EFORMAT, "%s: tokenizer.ggml.add_%s_token is true, but there is no such token", gguf_path(g), what);
}

/* Ids of special tokens and when they are added. Absent keys mean what llama.cpp takes them to mean. */
static kv_status load_settings(tok *t, const gguf *g, kv_err *err) {
    const int32_t bos = t->spm ? 1 : t->flags & PRE_NO_BOS ? -1 : 11, eos = t->spm ? 2 : t->flags & PRE_NO_EOS ? -1 : 11;
    int32_t more[2];
    kv_status st;
    t->add_bos = t->spm || t->flags & PRE_BOS;
    t->space_prefix = t->spm;
    if ((st = get_id(t, g, "tokenizer.ggml.bos_token_id", bos, &t->bos, err)) ||
        (st = get_id(t, g, "tokenizer.ggml.eos_token_id", eos, &t->eos, err)) ||
        (st = get_id(t, g, "tokenizer.ggml.unknown_token_id", t->spm ? 0 : -1, &t->unk, err)) ||
        (st = get_id(t, g, "tokenizer.ggml.eot_token_id", -1, &more[0], err)) ||
        (st = get_id(t, g, "tokenizer.ggml.eom_token_id", -1, &more[1], err)) ||
        (st = get_added(t, g, "bos", t->bos, &t->add_bos, err)) || (st = get_added(t, g, "eos", t->eos, &t->add_eos, err)) ||
        (st = gguf_get_bool(g, "tokenizer.ggml.add_space_prefix", false, &t->space_prefix, err)))
        return st;
    const int32_t ends[] = {t->eos, more[0], more[1]};
    tok_mark_known(t, g, ends, sizeof ends / sizeof *ends);
    return KV_OK;
}

static uint8_t hex_digit(char c) {
    return (uint8_t)(c >= '0' && c <= '9'   ? c - '0'
                     : c >= 'A' && c <= 'F' ? c - 'A' + 10
                     : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                            : 0);
}

/* The bytes that each token stands for, behind the texts in the pool. */
static void make_pieces(tok *t) {
    const tok_text *last = &t->text[t->n - 1];
    char *out = (char *)last->s + last->len;
    for (uint32_t i = 0; i < t->n; i++) {
        const tok_text *x = &t->text[i];
        size_t n = 0;
        if (t->attr[i] & (ATTR_SPECIAL | ATTR_USER)) {
            memcpy(out, x->s, n = x->len);
        } else if (t->attr[i] & ATTR_NORMAL) {
            n = t->spm || t->flags & PRE_RAW ? tok_spm_piece(x->s, x->len, out) : tok_bpe_piece(x->s, x->len, out);
        } else if (t->attr[i] & ATTR_BYTE && x->len == 6) {
            out[n++] = (char)(hex_digit(x->s[3]) << 4 | hex_digit(x->s[4]));
        }
        t->piece[i] = (tok_text){out, (uint32_t)n};
        out += n;
    }
}

static kv_status load_pre(tok *t, const gguf *g, gguf_str model, kv_err *err) {
    gguf_str name = {0};
    kv_status st = gguf_get_str(g, "tokenizer.ggml.pre", false, &name, err);
    if (st)
        return st;
    if (str_is(model, "gemma4")) {
        name = (gguf_str){"gemma4", 6};
    } else if (!name.len) {
        name = (gguf_str){"default", 7};
        add_note(t,
                 "tokenizer.ggml.pre is missing: words are cut in llama.cpp's default way, which is hardly that of the model; "
                 "a file that was converted anew has the key");
    }
    if ((st = tok_pre_new(name, gguf_path(g), &t->pre, err)))
        return st;
    t->flags = tok_pre_flags(t->pre) | (str_is(model, "gemma4") ? PRE_NO_BOS | PRE_NO_EOS : 0);
    return KV_OK;
}

kv_status tok_new(const gguf *g, tok **out, kv_err *err) {
    gguf_str model = {0};
    tok *t = NULL;
    int kind;
    kv_status st;
    if ((st = gguf_get_str(g, "tokenizer.ggml.model", true, &model, err)) || (st = find_kind(g, model, &kind, err)))
        return st;
    if (!(t = calloc(1, sizeof *t)))
        return kv_fail(err, KV_ENOMEM, "%s: out of memory for the tokenizer", gguf_path(g));
    t->spm = kind == KIND_SPM;
    if ((st = tok_vocab_load(t, g, err)) || (!t->spm && (st = load_pre(t, g, model, err))) || (st = load_settings(t, g, err)) ||
        (st = t->spm ? tok_spm_load(t, g, err) : tok_bpe_load(t, g, err)) || (st = tok_special_build(t, err)))
        goto done;
    make_pieces(t);
    *out = t;
    t = NULL;
done:
    tok_free(t);
    return st;
}

void tok_free(tok *t) {
    if (!t)
        return;
    free(t->pool);
    free(t->text);
    free(t->piece);
    free(t->attr);
    free(t->score);
    free(t->slot);
    free(t->special.v);
    free(t->pair);
    tok_pre_free(t->pre);
    free(t);
}

/* ---- encoding ---- */

kv_status tok_encode_marked(const tok *t, const char *text, size_t len, unsigned flags, const uint8_t *input, int32_t **ids,
                            size_t *n, kv_err *err) {
    tok_ids out = {0};
    int32_t *mark = NULL;
    bool ok = true;
    kv_status st;
    if (len > TOK_MAX_TEXT)
        return kv_fail(err, KV_EINVAL, "a text of %zu bytes is too long for one call (at most %d)", len, TOK_MAX_TEXT);
    if ((st = tok_special_find(t, text, len, flags & TOK_SPECIAL, input, &mark, err)))
        return st;
    if (flags & TOK_BOS && t->add_bos)
        ok = tok_push(&out, t->bos);
    for (size_t from = 0, to; ok && !st && from < len; from = to) {
        to = mark ? from + 1 : len;
        const int32_t what = mark ? mark[from] : 0;
        while (mark && to < len && mark[to] == (what > 0 ? TOK_INSIDE : what))
            to++;
        if (what == TOK_DROPPED)
            continue;
        if (what > 0)
            ok = tok_push(&out, mark[from] - 1);
        else if (t->spm)
            st = tok_spm_encode(t, text + from, to - from, &out, err);
        else
            st = tok_bpe_encode(t, text + from, to - from, &out, err);
    }
    if (ok && flags & TOK_BOS && t->add_eos)
        ok = tok_push(&out, t->eos);
    if (ok && !out.id) {
        out.id = malloc(sizeof *out.id); /* no ids: still something to free */
        ok = out.id;
    }
    if (!ok)
        st = kv_fail(err, KV_ENOMEM, "out of memory for a text of %zu bytes", len);
    free(mark);
    if (st) {
        free(out.id);
        return st;
    }
    *ids = out.id;
    *n = out.n;
    return KV_OK;
}

kv_status tok_encode(const tok *t, const char *text, size_t len, unsigned flags, int32_t **ids, size_t *n, kv_err *err) {
    return tok_encode_marked(t, text, len, flags, NULL, ids, n, err);
}

/* ---- answers ---- */

const char *tok_piece(const tok *t, int32_t id, bool special, size_t *len) {
    *len = 0;
    if (id < 0 || (uint32_t)id >= t->n || (!special && t->attr[id] & ATTR_SPECIAL))
        return "";
    *len = t->piece[id].len;
    return t->piece[id].s;
}

uint32_t tok_n_vocab(const tok *t) {
    return t->n;
}
int32_t tok_bos(const tok *t) {
    return t->bos;
}
int32_t tok_eos(const tok *t) {
    return t->eos;
}
const char *tok_note(const tok *t, size_t i) {
    return i < t->n_notes ? t->note[i] : NULL;
}
bool tok_add_bos(const tok *t) {
    return t->add_bos;
}
bool tok_is_eog(const tok *t, int32_t id) {
    return id >= 0 && (uint32_t)id < t->n && t->attr[id] & ATTR_EOG;
}
