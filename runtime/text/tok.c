/* Tokenizers: reading one from a GGUF, and the way of a text through special tokens, words and merges. The layout is described
 * in tok_internal.h.
 */
#include "text/tok_internal.h"

#include <stdlib.h>
#include <string.h>

/* ---- loading ---- */

static kv_status get_id(const tok *t, const gguf *g, const char *key, int32_t otherwise, int32_t *out, kv_err *err) {
    uint32_t id = UINT32_MAX;
    kv_status st = gguf_get_u32(g, key, false, &id, err);
    if (st)
        return st;
    *out = otherwise < (int32_t)t->n ? otherwise : -1;
    if (!gguf_find(g, key))
        return KV_OK;
    if (id >= t->n)
        return kv_fail(err, KV_EFORMAT, "%s: %s is %u, but there are %u tokens", gguf_path(g), key, id, t->n);
    *out = (int32_t)id;
    return KV_OK;
}

/* Ids of special tokens and when they are added. Absent keys mean what llama.cpp takes them to mean. */
static kv_status load_settings(tok *t, const gguf *g, kv_err *err) {
    int32_t more[2];
    kv_status st;
    t->add_bos = t->spm || tok_pre_adds_bos(t->pre);
    t->space_prefix = t->spm;
    if ((st = get_id(t, g, "tokenizer.ggml.bos_token_id", t->spm ? 1 : 11, &t->bos, err)) ||
        (st = get_id(t, g, "tokenizer.ggml.eos_token_id", t->spm ? 2 : 11, &t->eos, err)) ||
        (st = get_id(t, g, "tokenizer.ggml.unknown_token_id", t->spm ? 0 : -1, &t->unk, err)) ||
        (st = get_id(t, g, "tokenizer.ggml.eot_token_id", -1, &more[0], err)) ||
        (st = get_id(t, g, "tokenizer.ggml.eom_token_id", -1, &more[1], err)) ||
        (st = gguf_get_bool(g, "tokenizer.ggml.add_bos_token", false, &t->add_bos, err)) ||
        (st = gguf_get_bool(g, "tokenizer.ggml.add_eos_token", false, &t->add_eos, err)) ||
        (st = gguf_get_bool(g, "tokenizer.ggml.add_space_prefix", false, &t->space_prefix, err)))
        return st;
    if ((t->add_bos && t->bos < 0) || (t->add_eos && t->eos < 0))
        return kv_fail(err, KV_EFORMAT, "%s: tokenizer.ggml.add_%s_token is true, but there is no such token", gguf_path(g),
                       t->add_bos && t->bos < 0 ? "bos" : "eos");
    tok_mark_known_names(t);
    const int32_t ends[] = {t->eos, more[0], more[1]};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (ends[i] >= 0)
            t->attr[ends[i]] |= ATTR_EOG;
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
            n = t->spm ? tok_spm_piece(x->s, x->len, out) : tok_bpe_piece(x->s, x->len, out);
        } else if (t->attr[i] & ATTR_BYTE && x->len == 6) {
            out[n++] = (char)(hex_digit(x->s[3]) << 4 | hex_digit(x->s[4]));
        }
        t->piece[i] = (tok_text){out, (uint32_t)n};
        out += n;
    }
}

kv_status tok_new(const gguf *g, tok **out, kv_err *err) {
    gguf_str model = {0}, pre = {0};
    tok *t = NULL;
    kv_status st;
    if ((st = gguf_get_str(g, "tokenizer.ggml.model", true, &model, err)) ||
        (st = gguf_get_str(g, "tokenizer.ggml.pre", false, &pre, err)))
        return st;
    const bool spm = model.len == 5 && !memcmp(model.s, "llama", 5), bpe = model.len == 4 && !memcmp(model.s, "gpt2", 4);
    if (!spm && !bpe)
        return kv_fail(err, KV_EUNSUPP,
                       "%s: tokenizer.ggml.model is '%.*s', which is not supported; supported: gpt2 (BPE), llama (SPM)",
                       gguf_path(g), (int)(model.len < 64 ? model.len : 64), model.s);
    if (!(t = calloc(1, sizeof *t)))
        return kv_fail(err, KV_ENOMEM, "%s: out of memory for the tokenizer", gguf_path(g));
    t->spm = spm;
    if ((st = tok_vocab_load(t, g, err)) || (st = spm ? KV_OK : tok_pre_new(pre, gguf_path(g), &t->pre, err)) ||
        (st = load_settings(t, g, err)) || (st = spm ? tok_spm_load(t, g, err) : tok_bpe_load(t, g, err)) ||
        (st = tok_special_build(t, err)))
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
    free(t->special.node);
    free(t->pair);
    tok_pre_free(t->pre);
    free(t);
}

/* ---- encoding ---- */

kv_status tok_encode(const tok *t, const char *text, size_t len, unsigned flags, int32_t **ids, size_t *n, kv_err *err) {
    tok_ids out = {0};
    int32_t *mark = NULL;
    bool ok = true;
    kv_status st;
    if (len > TOK_MAX_TEXT)
        return kv_fail(err, KV_EINVAL, "a text of %zu bytes is too long for one call (at most %d)", len, TOK_MAX_TEXT);
    if ((st = tok_special_find(t, text, len, flags & TOK_SPECIAL, &mark, err)))
        return st;
    if (flags & TOK_BOS && t->add_bos)
        ok = tok_push(&out, t->bos);
    for (size_t from = 0, to; ok && !st && from < len; from = to) {
        to = mark ? from + 1 : len;
        const bool is_special = mark && mark[from];
        while (mark && to < len && mark[to] == (is_special ? -1 : 0))
            to++;
        if (is_special)
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
bool tok_add_bos(const tok *t) {
    return t->add_bos;
}
bool tok_is_eog(const tok *t, int32_t id) {
    return id >= 0 && (uint32_t)id < t->n && t->attr[id] & ATTR_EOG;
}
