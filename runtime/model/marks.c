/* Where a sequence can go back to. Few places are kept: what lies far back may be far apart, as so much has to be run again
 * anyway.
 */
#include "model/work.h"

#include <stdlib.h>
#include <string.h>

static uint32_t mark_len(const rt_mark *m) {
    return kv_checkpoint_len(m->state);
}

static void free_mark(rt_mark *m) {
    kv_checkpoint_free(m->state);
    free(m->logits);
}

static void remove_mark(rt_seq *s, uint32_t i) {
    free_mark(&s->marks[i]);
    s->n_marks--;
    memmove(s->marks + i, s->marks + i + 1, (s->n_marks - i) * sizeof *s->marks);
}

/* The newest; NULL: there are none. */
static rt_mark *last_mark(rt_seq *s) {
    return s->n_marks ? &s->marks[s->n_marks - 1] : NULL;
}

void rt_drop_marks(rt_seq *s, uint32_t n) {
    while (s->n_marks && (!n || mark_len(last_mark(s)) > n))
        remove_mark(s, s->n_marks - 1);
}

/* Evictions may have come between. */
static void drop_unreachable(rt_seq *s) {
    rt_drop_marks(s, kv_cache_len(s->cache));
    for (uint32_t i = s->n_marks; i-- > 0;)
        if (!kv_checkpoint_reached(s->marks[i].state, s->cache))
            remove_mark(s, i);
}

/* Without a place one would have to start from the one before, all the way to the one after: measured by how far back that is,
 * so that distances come to grow with age. */
static uint32_t least_missed(const rt_seq *s) {
    const uint32_t end = kv_cache_len(s->cache);
    uint32_t best = 0, first = s->n_marks, last = 0;
    double least = 2;
    for (uint32_t i = 0; i < s->n_marks; i++)
        if (s->marks[i].asked) {
            first = first < i ? first : i;
            last = i;
        }
    for (uint32_t i = 0; i < s->n_marks; i++) {
        const uint32_t before = i ? mark_len(&s->marks[i - 1]) : 0;
        const uint32_t after = i + 1 < s->n_marks ? mark_len(&s->marks[i + 1]) : end;
        const double missed = (double)(after - before) / (end - before);
        if (missed < least && !(s->marks[i].asked && (i == first || i == last))) {
            least = missed;
            best = i;
        }
    }
    return best;
}

static kv_status copy_logits(const rt_seq *s, const float *logits, float **out, kv_err *err) {
    const size_t bytes = s->m->hp.n_vocab * sizeof *logits;
    if (!logits || *out)
        return KV_OK;
    if (!(*out = malloc(bytes)))
        return kv_fail(err, KV_ENOMEM, "no memory for a checkpoint of %u tokens", kv_cache_len(s->cache));
    memcpy(*out, logits, bytes);
    return KV_OK;
}

static kv_status take(rt_seq *s, const float *logits, bool asked, kv_err *err) {
    rt_mark m = {.asked = asked};
    drop_unreachable(s);
    rt_mark *here = last_mark(s);
    if (here && mark_len(here) == kv_cache_len(s->cache)) {
        here->asked |= asked;
        return copy_logits(s, logits, &here->logits, err);
    }
    kv_status st = copy_logits(s, logits, &m.logits, err);
    if (!st && (st = kv_checkpoint_new(s->cache, &m.state, err)))
        free(m.logits);
    if (st)
        return st;
    if (s->n_marks == RT_CHECKPOINTS)
        remove_mark(s, least_missed(s));
    s->marks[s->n_marks++] = m;
    return KV_OK;
}

kv_status rt_seq_checkpoint(rt_seq *s, const float *logits, kv_err *err) {
    return take(s, logits, true, err);
}

void rt_mark_progress(rt_seq *s) {
    const uint32_t last = s->n_marks ? mark_len(last_mark(s)) : 0;
    if (s->every && kv_cache_len(s->cache) - last >= s->every)
        take(s, NULL, false, NULL);
}

const float *rt_seq_checkpoint_logits(const rt_seq *s) {
    const rt_mark *m = s->n_marks ? &s->marks[s->n_marks - 1] : NULL;
    return m && mark_len(m) == kv_cache_len(s->cache) ? m->logits : NULL;
}

size_t rt_seq_checkpoint_bytes(const rt_seq *s) {
    size_t bytes = 0;
    for (uint32_t i = 0; i < s->n_marks; i++)
        bytes += kv_checkpoint_bytes(s->marks[i].state) + (s->marks[i].logits ? s->m->hp.n_vocab * sizeof(float) : 0);
    return bytes;
}

/* ---- files ---- */

bool rt_seq_place(const rt_seq *s, uint32_t i, rt_place *out) {
    if (i >= s->n_marks)
        return false;
    *out = (rt_place){s->marks[i].state, s->marks[i].logits, s->marks[i].asked};
    return true;
}

kv_status rt_seq_restore(rt_seq *s, const int32_t *tokens, uint32_t n_tokens, const kv_piece *pieces, rt_place *places,
                         uint32_t n, kv_err *err) {
    kv_status st = n <= RT_CHECKPOINTS && !s->n_marks ? KV_OK : kv_fail(err, KV_EFORMAT, "%u places to go back to", n);
    for (uint32_t i = 0; i < n && !st; i++) {
        const bool rises = !i || kv_checkpoint_len(places[i].state) > kv_checkpoint_len(places[i - 1].state);
        if (!rises || (i + 1 == n && kv_checkpoint_len(places[i].state) != n_tokens))
            st = kv_fail(err, KV_EFORMAT, "places to go back to that do not rise to %u tokens", n_tokens);
    }
    if (!st)
        st = kv_cache_restore(s->cache, pieces, places[n - 1].state, err);
    if (st)
        return st;
    memcpy(s->tokens, tokens, n_tokens * sizeof *tokens);
    for (uint32_t i = 0; i < n; i++) {
        rt_mark m = {.state = places[i].state, .asked = places[i].asked};
        places[i].state = NULL;
        s->marks[s->n_marks++] = m;
        if (!st)
            st = copy_logits(s, places[i].logits, &s->marks[s->n_marks - 1].logits, err);
    }
    return st;
}

void rt_seq_go_back(rt_seq *s, uint32_t n, uint32_t *reached) {
    rt_drop_marks(s, kv_cache_len(s->cache)); /* a cache may have been cut behind our back */
    if (n < kv_cache_len(s->cache) && kv_cache_truncate(s->cache, n, NULL)) {
        rt_drop_marks(s, n);
        while (s->n_marks && kv_cache_go_back(s->cache, last_mark(s)->state, NULL))
            remove_mark(s, s->n_marks - 1);
        if (!s->n_marks)
            kv_cache_clear(s->cache);
    }
    rt_drop_marks(s, kv_cache_len(s->cache));
    *reached = kv_cache_len(s->cache);
}

/* ---- sharing ---- */

/* The newest place of no more than n tokens; NULL: there is none. */
static const rt_mark *mark_before(const rt_seq *s, uint32_t n) {
    const rt_mark *best = NULL;
    for (uint32_t i = 0; i < s->n_marks; i++)
        if (mark_len(&s->marks[i]) <= n && kv_checkpoint_reached(s->marks[i].state, s->cache))
            best = &s->marks[i];
    return best;
}

uint32_t rt_seq_reach(const rt_seq *s, uint32_t n) {
    const rt_mark *m = mark_before(s, n);
    return n == kv_cache_len(s->cache) || kv_cache_can_truncate(s->cache, n) ? n : m ? mark_len(m) : 0;
}

static kv_status copy_marks(rt_seq *to, const rt_seq *from, uint32_t n, kv_err *err) {
    kv_status st = KV_OK;
    for (uint32_t i = 0; i < from->n_marks && !st; i++) {
        const rt_mark *m = &from->marks[i];
        if (mark_len(m) > n || !kv_checkpoint_reached(m->state, from->cache))
            continue;
        rt_mark *here = &to->marks[to->n_marks++];
        *here = (rt_mark){.state = kv_checkpoint_ref(m->state), .asked = m->asked};
        st = copy_logits(from, m->logits, &here->logits, err);
    }
    return st;
}

kv_status rt_seq_share(rt_seq *to, rt_seq *from, uint32_t n, uint32_t *reached, kv_err *err) {
    const rt_mark *m = mark_before(from, n);
    kv_checkpoint *at = NULL;
    kv_status st = KV_OK;
    *reached = 0;
    if (kv_cache_len(to->cache) || to->n_marks)
        return kv_fail(err, KV_EINVAL, "a sequence that is to share what another has read is not empty");
    const uint32_t there = rt_seq_reach(from, n);
    if (!there)
        return KV_OK;
    if (m && mark_len(m) == there)
        at = kv_checkpoint_ref(m->state);
    else
        st = kv_checkpoint_new(from->cache, &at, err); /* from where one can go back */
    if (st || (st = kv_cache_share(to->cache, from->cache, at, err)))
        goto done;
    memcpy(to->tokens, from->tokens, kv_cache_len(to->cache) * sizeof *to->tokens);
    if ((st = copy_marks(to, from, there, err))) {
        kv_cache_clear(to->cache);
        rt_drop_marks(to, 0);
        goto done;
    }
    rt_seq_go_back(to, there, reached);
done:
    kv_checkpoint_free(at);
    return st;
}

void rt_seq_leave_shared(rt_seq *s, uint32_t n) {
    rt_drop_marks(s, 0);
    kv_cache_leave_shared(s->cache, n);
}
