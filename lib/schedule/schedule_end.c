/* What others see of the slots, and how jobs end. */
#include "cache/cache_file.h"
#include "schedule/schedule_internal.h"

/* ---- what others see ---- */

/* Blocks that slots use elsewhere: how many bytes several use, and how many are in no slot any more; each counted once. */
static void look_elsewhere(const scheduler *s, uint64_t *shared, uint64_t *left) {
    *shared = *left = 0;
    for (uint32_t i = 0; i < s->n_slots; i++) {
        const rt_session *lender = rt_session_lender(s->slots[i].s);
        uint64_t own, more;
        uint32_t before = 0, users = 0, owners = 0;
        for (uint32_t k = 0; k < s->n_slots && lender; k++) {
            const bool uses = rt_session_lender(s->slots[k].s) == lender;
            before += uses && k < i;
            users += uses;
            owners += s->slots[k].s == lender;
        }
        if (!lender || before)
            continue;
        kv_cache_used(rt_ctx_cache(rt_session_ctx(s->slots[i].s)), &own, &more);
        *shared += users + owners > 1 ? more : 0;
        *left += owners ? 0 : more;
    }
}

static void show(scheduler *s) {
    sched_facts *f = &s->facts;
    f->busy = 0;
    f->cache_bytes_f16 = f->checkpoint_bytes = 0;
    f->tokens = f->exact_tokens = f->encoded_tokens = 0;
    f->memory = rt_pool_bytes(s->pool) + shelf_bytes(s->shelf);
    look_elsewhere(s, &f->shared_bytes, &f->cache_bytes);
    for (uint32_t i = 0; i < s->n_slots; i++) {
        const slot *at = &s->slots[i];
        const kv_cache *c = rt_ctx_cache(rt_session_ctx(at->s));
        uint64_t own, more;
        double exact, encoded;
        kv_cache_used(c, &own, &more);
        kv_cache_states(c, &exact, &encoded);
        f->tokens += rt_session_len(at->s);
        f->exact_tokens += exact;
        f->encoded_tokens += encoded;
        f->busy += at->job != NULL;
        f->cache_bytes += own;
        f->checkpoint_bytes += rt_seq_checkpoint_bytes(rt_ctx_seq(rt_session_ctx(at->s)));
        f->cache_bytes_f16 += kv_cache_f16_bytes(c, rt_session_len(at->s));
        s->shown[i] = (sched_slot){.busy = at->job != NULL, .len = rt_session_len(at->s)};
        if (at->job) {
            s->shown[i].prompt = at->job->stats.prompt;
            s->shown[i].read = at->stage == STAGE_READS || at->stage == STAGE_SAYS ? at->read : 0;
            s->shown[i].said = at->job->stats.said;
        }
        f->memory += at->bytes;
    }
    f->memory += f->checkpoint_bytes;
}

void sched_show(scheduler *s) {
    pthread_mutex_lock(&s->lock);
    show(s);
    pthread_mutex_unlock(&s->lock);
}

/* ---- ending ---- */

void sched_end_job(scheduler *s, sched_job *j, slot *at, sched_why why, const kv_err *err) {
    double *part = !at ? &j->stats.wait_s : at->stage == STAGE_SAYS ? &j->stats.decode_s : &j->stats.prefill_s;
    *part += sched_job_lap(j);
    j->r.events.on_end(j->r.user, why, &j->stats, why == SCHED_FAILED ? err : NULL);
    pthread_mutex_lock(&s->lock);
    if (at) {
        at->job = NULL;
        at->share = 0;
        s->facts.prefill_s += j->stats.prefill_s;
        s->facts.decode_s += j->stats.decode_s;
        s->facts.cached_tokens += j->stats.cached;
        s->facts.prompt_tokens += j->stats.prompt;
        s->facts.said_tokens += j->stats.said;
        show(s);
    } else {
        s->facts.waiting--;
    }
    pthread_cond_broadcast(&s->ended);
    pthread_mutex_unlock(&s->lock);
    sched_job_free(j);
}
