/* DRY's sequence breakers: texts, as the tokens that spell them.
 *
 * A text may lie inside one token, or begin at the end of one and go on in those that follow. For the latter the rest of the
 * text is taken as the tokenizer splits it, which is one way of several; so does koboldcpp, where this comes from (pull request
 * 982), and llama.cpp.
 */
#include "sample/sample_internal.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_REST = 20 /* tokens of the rest that are compared */ };

static kv_status grow(void **v, size_t *cap, size_t want, size_t size, kv_err *err) {
    if (want <= *cap)
        return KV_OK;
    void *grown = realloc(*v, 2 * want * size);
    if (!grown)
        return kv_fail(err, KV_ENOMEM, "sampling: out of memory for sequence breakers");
    *v = grown;
    *cap = 2 * want;
    return KV_OK;
}

kv_status breakers_add(breakers *b, const int32_t *ids, size_t n, kv_err *err) {
    const size_t n_rest = n - 1 < MOST_REST ? n - 1 : MOST_REST;
    kv_status st = grow((void **)&b->v, &b->cap, b->n + 1, sizeof *b->v, err);
    if (st || (st = grow((void **)&b->rest, &b->cap_rest, b->n_rest + n_rest, sizeof *b->rest, err)))
        return st;
    if (n_rest)
        memcpy(b->rest + b->n_rest, ids + 1, n_rest * sizeof *ids);
    b->v[b->n++] = (breaker){.head = ids[0], .at = (uint32_t)b->n_rest, .n = (uint32_t)n_rest};
    b->n_rest += n_rest;
    return KV_OK;
}

/* Those with a longer rest first: the first that matches is the longest. */
static int by_head(const void *a, const void *b) {
    const breaker *x = a, *y = b;
    return x->head != y->head ? (x->head > y->head) - (x->head < y->head) : (x->n < y->n) - (x->n > y->n);
}

void breakers_sort(breakers *b) {
    if (b->n)
        qsort(b->v, b->n, sizeof *b->v, by_head);
}

void breakers_free(breakers *b) {
    free(b->v);
    free(b->rest);
    *b = (breakers){0};
}

/* The token ends with the first `len` bytes of the text, which goes on: one breaker. ids: place for 1 + the rest. */
static kv_status add_split(breakers *b, const tok *t, int32_t head, const char *text, size_t len, kv_err *err) {
    int32_t *rest = NULL, ids[1 + MOST_REST] = {head};
    size_t n = 0;
    kv_status st = tok_encode(t, text + len, strlen(text) - len, 0, &rest, &n, err);
    if (st)
        return st;
    n = n < MOST_REST ? n : MOST_REST;
    if (n)
        memcpy(ids + 1, rest, n * sizeof *rest);
    free(rest);
    return breakers_add(b, ids, 1 + n, err);
}

static kv_status add_text(breakers *b, const tok *t, const char *text, kv_err *err) {
    const size_t len = strlen(text);
    kv_status st = KV_OK;
    for (uint32_t id = 0; id < tok_n_vocab(t) && !st; id++) {
        size_t n;
        const char *piece = tok_piece(t, (int32_t)id, true, &n);
        if (memmem(piece, n, text, len)) {
            st = breakers_add(b, &(int32_t){(int32_t)id}, 1, err);
            continue;
        }
        for (size_t has = n < len ? n : len - 1; has > 0 && !st; has--)
            if (!memcmp(piece + n - has, text, has))
                st = add_split(b, t, (int32_t)id, text, has, err);
    }
    return st;
}

kv_status breakers_read(breakers *b, const tok *t, const char *const *texts, size_t n, kv_err *err) {
    kv_status st = KV_OK;
    for (size_t i = 0; i < n && !st; i++)
        st = add_text(b, t, texts[i], err);
    breakers_sort(b);
    return st;
}

/* The first breaker of this head, or where it would be. */
static size_t find(const breakers *b, int32_t head) {
    size_t low = 0, high = b->n;
    while (low < high) {
        const size_t mid = low + (high - low) / 2;
        if (b->v[mid].head < head)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

bool breakers_has(const breakers *b, int32_t id) {
    for (size_t i = find(b, id); i < b->n && b->v[i].head == id; i++)
        if (!b->v[i].n)
            return true;
    return false;
}

/* After its head come `left` more tokens. */
static bool goes_on(const breakers *b, const breaker *v, const int32_t *head, uint32_t left) {
    return !v->n || (v->n <= left && !memcmp(head + 1, b->rest + v->at, v->n * sizeof *head));
}

uint32_t breakers_limit(const breakers *b, const int32_t *ids, uint32_t n) {
    for (uint32_t newer = 0; newer < n && b->n; newer++) {
        const int32_t *head = &ids[n - 1 - newer];
        for (size_t i = find(b, *head); i < b->n && b->v[i].head == *head; i++)
            if (goes_on(b, &b->v[i], head, newer))
                return newer - b->v[i].n;
    }
    return n;
}
