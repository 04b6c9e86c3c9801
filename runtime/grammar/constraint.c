#include "grammar/constraint.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct entry {
    const char *s;
    uint32_t len;
    int32_t id;
} entry;

struct constraint {
    const tok *t;
    matcher *m;
    entry *sorted; /* (n) tokens with a text, by their bytes; made when it is needed */
    size_t n;
};

kv_status constraint_new(const grammar *g, const tok *t, constraint **out, kv_err *err) {
    constraint *c = calloc(1, sizeof *c);
    *out = NULL;
    if (!c)
        return kv_fail(err, KV_ENOMEM, "out of memory for following a grammar");
    c->t = t;
    kv_status st = matcher_new(g, &c->m, err);
    if (st)
        constraint_free(c);
    else
        *out = c;
    return st;
}

void constraint_free(constraint *c) {
    if (!c)
        return;
    matcher_free(c->m);
    free(c->sorted);
    free(c);
}

void constraint_restart(constraint *c) {
    matcher_back(c->m, 0);
}

bool constraint_is_over(const constraint *c) {
    return matcher_must_end(c->m);
}

bool constraint_allows(constraint *c, int32_t id, kv_status *st) {
    size_t n;
    *st = KV_OK;
    if (tok_is_eog(c->t, id))
        return matcher_may_end(c->m);
    const size_t before = matcher_len(c->m);
    const char *piece = tok_piece(c->t, id, false, &n);
    if (!n || !matcher_take(c->m, piece, n, st))
        return false;
    matcher_back(c->m, before);
    return true;
}

/* The matcher gave up. */
static kv_status lost(kv_status st, kv_err *err) {
    return kv_fail(
        err, st,
        st == KV_ENOMEM
            ? "out of memory for following a grammar"
            : "the answer cannot be followed by its grammar any more: it is too long, or can be read in too many ways");
}

kv_status constraint_take(constraint *c, int32_t id, kv_err *err) {
    size_t n;
    kv_status st = KV_OK;
    const char *piece = tok_piece(c->t, id, false, &n);
    if (n && matcher_take(c->m, piece, n, &st))
        return KV_OK;
    return st ? lost(st, err) : kv_fail(err, KV_EINVAL, "the grammar does not allow token %d", id);
}

/* ---- all tokens ---- */

static int by_bytes(const void *a, const void *b) {
    const entry *x = a, *y = b;
    const int c = memcmp(x->s, y->s, x->len < y->len ? x->len : y->len);
    return c ? c : x->len != y->len ? (x->len > y->len) - (x->len < y->len) : (x->id > y->id) - (x->id < y->id);
}

static kv_status sort_tokens(constraint *c, kv_err *err) {
    const uint32_t n_vocab = tok_n_vocab(c->t);
    if (c->sorted)
        return KV_OK;
    if (!(c->sorted = malloc(n_vocab * sizeof *c->sorted)))
        return kv_fail(err, KV_ENOMEM, "out of memory for a vocabulary of %u", n_vocab);
    for (uint32_t id = 0; id < n_vocab; id++) {
        size_t n;
        const char *piece = tok_piece(c->t, (int32_t)id, false, &n);
        if (n && !tok_is_eog(c->t, (int32_t)id))
            c->sorted[c->n++] = (entry){piece, (uint32_t)n, (int32_t)id};
    }
    qsort(c->sorted, c->n, sizeof *c->sorted, by_bytes);
    return KV_OK;
}

static uint32_t in_common(const entry *a, const entry *b) {
    uint32_t n = 0;
    while (n < a->len && n < b->len && a->s[n] == b->s[n])
        n++;
    return n;
}

/* The first entry from i on that does not begin with the first `len` bytes of entry i. */
static size_t past(const constraint *c, size_t i, uint32_t len) {
    const entry *e = &c->sorted[i];
    size_t lo = i + 1, hi = c->n;
    while (lo < hi) {
        const size_t mid = (lo + hi) / 2;
        const entry *x = &c->sorted[mid];
        if (x->len >= len && !memcmp(x->s, e->s, len))
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* Marks what can follow. held: bytes of the last one looked at that the text could go on with. */
static kv_status follow_all(constraint *c, bool *allowed) {
    const size_t base = matcher_len(c->m);
    const entry *last = NULL;
    uint32_t held = 0;
    kv_status st = KV_OK;
    for (size_t i = 0; i < c->n && !st;) {
        const entry *e = &c->sorted[i];
        const uint32_t same = last ? in_common(e, last) : 0;
        if (same < held)
            matcher_back(c->m, base + (held = same));
        while (held < e->len && !st && matcher_take(c->m, e->s + held, 1, &st))
            held++;
        allowed[e->id] = held == e->len && !st;
        i = held == e->len ? i + 1 : past(c, i, held + 1); /* nor can anything else that begins so */
        last = e;
    }
    matcher_back(c->m, base);
    return st;
}

kv_status constraint_mask(constraint *c, float *logits, kv_err *err) {
    const uint32_t n_vocab = tok_n_vocab(c->t);
    const bool end = matcher_may_end(c->m);
    bool any = false;
    bool *allowed = calloc(n_vocab, sizeof *allowed);
    kv_status st = allowed ? sort_tokens(c, err) : kv_fail(err, KV_ENOMEM, "out of memory for a vocabulary of %u", n_vocab);
    if (!st && (st = follow_all(c, allowed)))
        lost(st, err);
    for (uint32_t id = 0; id < n_vocab && !st; id++) {
        if (tok_is_eog(c->t, (int32_t)id) ? !end : !allowed[id])
            logits[id] = -INFINITY;
        else
            any = true;
    }
    free(allowed);
    if (!st && !any)
        st = kv_fail(err, KV_ERANGE, "no token can follow: the vocabulary cannot write what the grammar wants");
    return st;
}
