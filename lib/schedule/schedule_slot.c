/* Which slot a prompt goes to, and what of it need not be read there. */
#include "schedule/schedule_internal.h"

static uint32_t common(const rt_session *s, const sched_job *j) {
    const uint32_t len = rt_session_len(s), n = (uint32_t)j->r.n, most = len < n ? len : n;
    const int32_t *ids = rt_session_ids(s);
    uint32_t same = 0;
    while (same < most && ids[same] == j->ids[same])
        same++;
    return same;
}

/* The longest beginning; among equals the one that was not used for longest. */
slot *sched_find_slot(scheduler *s, const sched_job *j) {
    slot *best = NULL;
    uint32_t most = 0;
    for (uint32_t i = 0; i < s->n_slots; i++) {
        slot *at = &s->slots[i];
        if (at->job)
            continue;
        const uint32_t same = common(at->s, j);
        if (!best || same > most || (same == most && at->used < best->used)) {
            best = at;
            most = same;
        }
    }
    return best;
}

/* Keep the first n ids, or as many of them as that needs no reading. */
static uint32_t go_to(rt_session *s, uint32_t n) {
    for (uint32_t there; (there = rt_session_go_back(s, n)) < n;)
        n = there;
    return n;
}

void sched_enter_slot(slot *at, sched_job *j) {
    const uint32_t n = (uint32_t)j->r.n;
    at->read = go_to(at->s, j->sum ? 0 : common(at->s, j));              /* the mean of all tokens takes reading all */
    if (at->read == n && (j->r.embedding || !rt_session_is_read(at->s))) /* the last one is read again for what comes of it */
        at->read = go_to(at->s, n - 1);
    j->stats.cached = at->read;
}
