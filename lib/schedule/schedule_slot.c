/* Which slot a prompt goes to, and what of it need not be read there.
 *
 * What is read is looked for in all slots, at work or not. Where the longest beginning is in a slot that is free and would lose
 * little, the prompt goes on there: a conversation stays where it is. Otherwise it goes to the slot whose loss weighs least,
 * and shares what is read with the one that has it. So a short request with a long prompt's beginning, or a first block that
 * has changed, does not cost what others will come back for.
 */
#include "schedule/schedule_internal.h"

#include <math.h>
#include <string.h>

static uint32_t same_ids(const int32_t *a, size_t n_a, const int32_t *b, size_t n_b) {
    const size_t most = n_a < n_b ? n_a : n_b;
    uint32_t same = 0;
    while (same < most && a[same] == b[same])
        same++;
    return same;
}

/* Is it known what follows after n ids? */
static bool knows(const rt_session *s, uint32_t n) {
    rt_place at;
    bool some = rt_session_len(s) == n && rt_session_is_read(s);
    for (uint32_t i = 0; !some && rt_seq_place(rt_ctx_seq(rt_session_ctx((rt_session *)s)), i, &at); i++)
        some = at.logits && kv_checkpoint_len(at.state) == n;
    return some;
}

/* How many ids a session has in common with a prompt, the last of which is read again where one must see what comes of it. */
static uint32_t common(const rt_session *s, const sched_job *j) {
    const uint32_t n = same_ids(rt_session_ids(s), rt_session_len(s), j->ids, j->r.n);
    return n == j->r.n && (j->r.embedding || !knows(s, n)) ? n - 1 : n;
}

/* ---- finding ---- */

/* A conversation that goes on loses what was said last and comes back otherwise: of no more it is thought to be one. */
static bool goes_on(uint32_t loss, uint32_t reach) {
    return loss <= SCHED_WORTH / 2 || loss <= reach / 8;
}

/* What a slot that is overwritten loses, less the longer nobody came back for it: slowly, so that many short requests use each
 * other's slots rather than a long conversation's. */
static double weight(const scheduler *s, const slot *at, uint32_t loss) {
    return at->used ? loss / sqrt((double)(1 + s->begun - at->used)) : 0;
}

static void look_for_read(scheduler *s, const sched_job *j, sched_place *p, slot **holder) {
    for (uint32_t i = 0; i < s->n_slots; i++) {
        slot *at = &s->slots[i];
        if (strcmp(at->stamp, j->stamp))
            continue;
        const uint32_t n = common(at->s, j), reach = rt_session_reach(at->s, n);
        if (reach > p->reach || (reach == p->reach && n > p->common)) {
            p->from = at->s;
            p->common = n;
            p->reach = reach;
            *holder = at;
        }
    }
}

static void look_for_leader(scheduler *s, const sched_job *j, const slot *mine, sched_place *p) {
    for (uint32_t i = 0; i < s->n_slots; i++) {
        slot *at = &s->slots[i];
        if (at == mine || !at->job || at->stage != STAGE_READS || strcmp(at->stamp, j->stamp))
            continue;
        const uint32_t n = same_ids(at->job->ids, at->job->r.n, j->ids, j->r.n);
        if (n > at->read && n > p->ahead) {
            p->leader = at;
            p->ahead = n;
        }
    }
}

sched_place sched_find_place(scheduler *s, const sched_job *j, const slot *mine) {
    sched_place p = {0};
    slot *holder = NULL;
    double least = 0;
    if (!j->sum) { /* the mean of all tokens takes reading all */
        look_for_read(s, j, &p, &holder);
        look_for_leader(s, j, mine, &p);
        if (j->errand.found) { /* last, so that memory is used rather than a file where both can do it */
            const uint32_t n = common(j->errand.found, j), reach = rt_session_reach(j->errand.found, n);
            if (reach > p.reach) {
                p.from = j->errand.found;
                p.common = n;
                p.reach = reach;
                holder = NULL;
            }
        }
    }
    for (uint32_t i = 0; i < s->n_slots; i++) {
        slot *at = &s->slots[i];
        if (at->job && at != mine)
            continue;
        const uint32_t len = rt_session_len(at->s), loss = at == holder ? len - p.reach : len;
        if (at == holder && goes_on(loss, p.reach)) {
            p.to = at;
            break;
        }
        const double w = weight(s, at, loss);
        if (!p.to || w < least || (!(w > least) && at->used < p.to->used)) {
            p.to = at;
            least = w;
        }
    }
    if (p.ahead < p.reach + SCHED_WORTH)
        p.leader = NULL;
    return p;
}

void sched_note_part(slot *at, uint32_t n) {
    uint32_t i = 0;
    while (i < at->n_parts && at->parts[i] < n)
        i++;
    if (n <= at->read || n >= at->job->r.n || at->n_parts == SCHED_PARTS || (i < at->n_parts && at->parts[i] == n))
        return;
    memmove(at->parts + i + 1, at->parts + i, (at->n_parts - i) * sizeof *at->parts);
    at->parts[i] = n;
    at->n_parts++;
}

/* ---- taking ---- */

/* Keep the first n ids, or as many of them as that needs no reading. */
static uint32_t go_to(rt_session *s, uint32_t n) {
    for (uint32_t there; (there = rt_session_go_back(s, n)) < n;)
        n = there;
    return n;
}

/* Back to where it is known what comes next; false: there is no such place. */
static bool go_to_known(rt_session *s) {
    rt_place at;
    uint32_t n = 0;
    if (rt_session_is_read(s))
        return true;
    for (uint32_t i = 0; rt_seq_place(rt_ctx_seq(rt_session_ctx(s)), i, &at); i++)
        if (at.logits && kv_checkpoint_reached(at.state, rt_ctx_cache(rt_session_ctx(s))))
            n = kv_checkpoint_len(at.state);
    if (n < CONTEXTS_LEAST || n < rt_session_lent(s))
        return false;
    rt_session_go_back(s, n);
    return rt_session_is_read(s);
}

/* Is what a slot has read to be kept where it is overwritten? */
static bool is_kept(const scheduler *s, const slot *at) {
    return s->contexts && !at->named && rt_session_len(at->s) >= CONTEXTS_LEAST;
}

static void put_away(scheduler *s, rt_session *old, bool kept) {
    if (kept && go_to_known(old))
        shelf_keep(s->shelf, old);
    else
        rt_session_free(old);
}

/* The slot goes on from what it has read itself. */
static bool stays(const scheduler *s, const sched_place *p) {
    const rt_session *own = p->to->s;
    if (p->from != own || rt_session_lent(own) > p->reach)
        return false;
    return !is_kept(s, p->to) || goes_on(rt_session_len(own) - p->reach, p->reach);
}

/* Give the slot an empty session of the kind that the job needs; *old: that which it had, or NULL where it is the same. */
static kv_status renew(scheduler *s, const sched_place *p, const sched_job *j, rt_session **old, kv_err *err) {
    slot *at = p->to;
    const bool free_to_use = p->from != at->s && !strcmp(at->stamp, j->stamp) && !rt_session_lent(at->s);
    const bool keep = is_kept(s, at);
    const rt_ctx_cfg *cfg = p->from && strcmp(j->stamp, s->stamp) ? rt_session_cfg(p->from) : &s->ctx;
    rt_session *fresh = NULL;
    kv_status st = free_to_use && !keep ? KV_OK : rt_session_new_in(s->pool, cfg, &fresh, err);
    *old = NULL;
    if (fresh) {
        *old = at->s;
        at->s = fresh;
        at->bytes = rt_session_bytes(fresh);
        strcpy(at->stamp, j->stamp);
    } else if (free_to_use) { /* its memory is there already, and perhaps no more */
        rt_session_go_back(at->s, 0);
        st = KV_OK;
    }
    return st;
}

/* It goes on from what another session has read, or from nothing. */
static kv_status move_in(scheduler *s, const sched_place *p, const sched_job *j, kv_err *err) {
    rt_session *old;
    uint32_t reached = 0;
    const bool kept = is_kept(s, p->to);
    kv_status st = renew(s, p, j, &old, err);
    if (st)
        return st;
    if (p->from)
        rt_session_share(p->to->s, p->from, p->common, &reached, NULL); /* or all is read anew */
    p->to->read = go_to(p->to->s, reached);
    if (old)
        put_away(s, old, kept);
    p->to->named = j->r.context;
    return KV_OK;
}

kv_status sched_take_place(scheduler *s, const sched_place *p, sched_job *j, kv_err *err) {
    slot *at = p->to;
    kv_status st = KV_OK;
    if (stays(s, p))
        at->read = go_to(at->s, p->common);
    else
        st = move_in(s, p, j, err);
    if (st)
        return st;
    if (at->read == j->r.n && !rt_session_is_read(at->s)) /* not as it was thought */
        at->read = go_to(at->s, 0);
    j->stats.cached = at->read;
    at->n_parts = 0;
    if (p->common >= at->read + SCHED_WORTH / 2)
        sched_note_part(at, p->common);
    return KV_OK;
}
