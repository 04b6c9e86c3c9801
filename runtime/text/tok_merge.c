/* Joining neighbours, best first: the common core of BPE and SPM.
 *
 * Symbols form a doubly linked list; every pair of neighbours that joins has a candidate in a binary heap. The best one is
 * taken out, the right symbol is swallowed by the left, and the two new pairs become candidates. A candidate whose symbols have
 * changed since is recognised by the total length and thrown away: symbols only grow to the right and `right` starts where it
 * always did, so the same length means the same two texts. O(n log n).
 */
#include "text/tok_internal.h"

#include <stdlib.h>

static bool grow(void **p, size_t *cap, size_t elem) {
    const size_t want = *cap ? 2 * *cap : 64;
    void *q = realloc(*p, want * elem);
    if (!q)
        return false;
    *p = q;
    *cap = want;
    return true;
}

bool tok_merge_add(tok_merger *m, uint32_t at, uint32_t len, int32_t id) {
    if (m->n_sym == m->cap_sym && !grow((void **)&m->sym, &m->cap_sym, sizeof *m->sym))
        return false;
    const int32_t i = (int32_t)m->n_sym++;
    m->sym[i] = (tok_sym){.at = at, .len = len, .id = id, .prev = i - 1, .next = -1};
    if (i)
        m->sym[i - 1].next = i;
    return true;
}

static bool push(tok_merger *m, tok_cand c) {
    if (m->n_heap == m->cap_heap && !grow((void **)&m->heap, &m->cap_heap, sizeof *m->heap))
        return false;
    size_t i = m->n_heap++;
    for (; i && m->heap[(i - 1) / 2].key > c.key; i = (i - 1) / 2)
        m->heap[i] = m->heap[(i - 1) / 2];
    m->heap[i] = c;
    return true;
}

static tok_cand pop(tok_merger *m) {
    const tok_cand best = m->heap[0], last = m->heap[--m->n_heap];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < m->n_heap; i = child) {
        if (child + 1 < m->n_heap && m->heap[child + 1].key < m->heap[child].key)
            child++;
        if (last.key <= m->heap[child].key)
            break;
        m->heap[i] = m->heap[child];
    }
    m->heap[i] = last;
    return best;
}

static bool consider(tok_merger *m, int32_t left, int32_t right, tok_join_fn join, const void *ctx) {
    uint32_t urgency;
    int32_t id;
    if (left < 0 || right < 0 || !join(ctx, &m->sym[left], &m->sym[right], &urgency, &id))
        return true;
    return push(m, (tok_cand){.key = (uint64_t)urgency << 32 | (uint32_t)left,
                              .right = (uint32_t)right,
                              .len = m->sym[left].len + m->sym[right].len,
                              .id = id});
}

bool tok_merge_run(tok_merger *m, tok_join_fn join, const void *ctx) {
    m->n_heap = 0;
    for (size_t i = 1; i < m->n_sym; i++)
        if (!consider(m, (int32_t)i - 1, (int32_t)i, join, ctx))
            return false;
    while (m->n_heap) {
        const tok_cand c = pop(m);
        const int32_t left = (int32_t)(uint32_t)c.key;
        tok_sym *l = &m->sym[left], *r = &m->sym[c.right];
        if (!l->len || !r->len || l->len + r->len != c.len)
            continue;
        l->len = c.len;
        l->id = c.id;
        l->next = r->next;
        r->len = 0;
        if (r->next >= 0)
            m->sym[r->next].prev = left;
        if (!consider(m, l->prev, left, join, ctx) || !consider(m, left, l->next, join, ctx))
            return false;
    }
    return true;
}

void tok_merge_free(tok_merger *m) {
    free(m->sym);
    free(m->heap);
    *m = (tok_merger){0};
}
