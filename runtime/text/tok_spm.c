/* SentencePiece vocabularies (Llama 1 and 2, Gemma): every token has a score, and of all neighbours whose texts together are a
 * token, the pair with the best score joins first. Spaces are written U+2581. A character that is no token is spelled in byte
 * tokens <0xXX>.
 * Method: Kudo and Richardson, "SentencePiece" (2018), as llama.cpp does it (greedy joining, also for Unigram vocabularies).
 */
#include "text/tok_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char space_mark[] = "\u2581";
enum { MARK = sizeof space_mark - 1 };

size_t tok_spm_piece(const char *text, size_t len, char *out) {
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        const bool mark = len - i >= MARK && !memcmp(text + i, space_mark, MARK);
        out[n++] = mark ? ' ' : text[i];
        i += mark ? MARK - 1 : 0;
    }
    return n;
}

kv_status tok_spm_load(tok *t, const gguf *g, kv_err *err) {
    const gguf_kv *scores;
    kv_status st = gguf_get_array(g, "tokenizer.ggml.scores", GGUF_F32, true, &scores, err);
    if (st)
        return st;
    if (scores->count != t->n)
        return kv_fail(err, KV_EFORMAT, "%s: tokenizer.ggml.scores has %llu entries for %u tokens", gguf_path(g),
                       (unsigned long long)scores->count, t->n);
    if (!(t->score = malloc(t->n * sizeof *t->score)))
        return kv_fail(err, KV_ENOMEM, "%s: out of memory for %u tokens", gguf_path(g), t->n);
    for (uint32_t i = 0; i < t->n; i++) {
        t->score[i] = (float)gguf_array_f64(scores, i) + 0.0f; /* no negative zero: it would sort before zero */
        if (isnan(t->score[i]))
            return kv_fail(err, KV_EFORMAT, "%s: tokenizer.ggml.scores[%u] is not a number", gguf_path(g), i);
    }
    for (int b = 0; b < 256; b++) {
        char name[8];
        const char raw = (char)b;
        snprintf(name, sizeof name, "<0x%02X>", b);
        t->byte_id[b] = tok_find(t, name, 6);
        if (t->byte_id[b] < 0)
            t->byte_id[b] = tok_find(t, &raw, 1);
        if (t->byte_id[b] < 0)
            t->byte_id[b] = t->unk;
        if (t->byte_id[b] < 0)
            return kv_fail(err, KV_EFORMAT, "%s: the vocabulary has neither the token %s nor an unknown token", gguf_path(g),
                           name);
    }
    return KV_OK;
}

typedef struct spm_job {
    const tok *t;
    const char *text;
} spm_job;

static bool join(const void *ctx, const tok_sym *l, const tok_sym *r, uint32_t *urgency, int32_t *id) {
    const spm_job *job = ctx;
    *id = tok_find(job->t, job->text + l->at, (size_t)l->len + r->len);
    if (*id < 0)
        return false;
    /* a float's bits, turned so that they sort as unsigned numbers; then the best score first */
    uint32_t bits;
    memcpy(&bits, &job->t->score[*id], sizeof bits);
    *urgency = ~(bits & 0x80000000u ? ~bits : bits | 0x80000000u);
    return true;
}

static bool push_sym(const tok *t, const char *text, const tok_sym *s, tok_ids *ids) {
    const int32_t id = s->id >= 0 ? s->id : tok_find(t, text + s->at, s->len);
    if (id >= 0)
        return tok_push(ids, id);
    for (uint32_t i = 0; i < s->len; i++)
        if (!tok_push(ids, t->byte_id[(uint8_t)text[s->at + i]]))
            return false;
    return true;
}

/* Does a line start here that does not start with a mark? */
static bool bare_line(const char *text, size_t len, size_t i) {
    if (text[i] == '\n' || text[i] == ' ' || (i && text[i - 1] != '\n'))
        return false;
    return len - i < MARK || memcmp(text + i, space_mark, MARK);
}

char *tok_mark_spaces(const char *text, size_t len, bool first, bool lines, size_t *n) {
    size_t spaces = first;
    for (size_t i = 0; i < len; i++)
        spaces += text[i] == ' ' || (lines && bare_line(text, len, i));
    char *out = malloc(len + MARK * spaces + 1);
    *n = 0;
    if (out && first) {
        memcpy(out, space_mark, MARK);
        *n = MARK;
    }
    for (size_t i = 0; out && i < len; i++) {
        if (text[i] == ' ' || (lines && bare_line(text, len, i))) {
            memcpy(out + *n, space_mark, MARK);
            *n += MARK;
        }
        if (text[i] != ' ')
            out[(*n)++] = text[i];
    }
    return out;
}

kv_status tok_spm_encode(const tok *t, const char *text, size_t len, tok_ids *ids, kv_err *err) {
    size_t n;
    tok_merger m = {0};
    char *marked = tok_mark_spaces(text, len, t->space_prefix, false, &n);
    bool ok = marked;
    for (size_t i = 0; ok && i < n;) {
        const size_t want = tok_char_len((uint8_t)marked[i]), step = want < n - i ? want : n - i;
        ok = tok_merge_add(&m, (uint32_t)i, (uint32_t)step, -1);
        i += step;
    }
    ok = ok && tok_merge_run(&m, join, &(spm_job){t, marked});
    for (int32_t i = m.n_sym ? 0 : -1; ok && i >= 0; i = m.sym[i].next)
        ok = push_sym(t, marked, &m.sym[i], ids);
    free(marked);
    tok_merge_free(&m);
    return ok ? KV_OK : kv_fail(err, KV_ENOMEM, "out of memory for a text of %zu bytes", len);
}
