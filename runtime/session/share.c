/* Sessions that begin alike. Whose blocks are used is counted: it lives until nobody does, whoever made it lets go of it first.
 */
#include "session/session_internal.h"

#include <string.h>

uint32_t rt_session_reach(const rt_session *s, uint32_t n) {
    const uint32_t len = rt_ctx_len(s->ctx);
    return rt_seq_reach(rt_ctx_seq(s->ctx), n < len ? n : len);
}

uint32_t rt_session_lent(const rt_session *s) {
    return atomic_load(&s->refs) > 1 ? s->lent : 0;
}

const rt_session *rt_session_lender(const rt_session *s) {
    return s->lender;
}

/* What comes next is known where `from` knows it. */
static void take_logits(rt_session *to, const rt_session *from) {
    const float *next = rt_seq_checkpoint_logits(rt_ctx_seq(to->ctx));
    if (from->fresh && from->n == to->n && !from->n_guess)
        next = from->logits;
    to->fresh = to->n && next;
    if (to->fresh)
        memcpy(to->logits, next, rt_model_hparams(to->m)->n_vocab * sizeof *next);
}

kv_status rt_session_share(rt_session *to, rt_session *from, uint32_t n, uint32_t *reached, kv_err *err) {
    *reached = 0;
    if (to->n || to == from)
        return kv_fail(err, KV_EINVAL, "the session that is to share what another has read is not empty");
    rt_ctx_clear(to->ctx);
    rt_session_give_back(to);
    const uint32_t there = rt_session_reach(from, n < from->n ? n : (uint32_t)from->n);
    kv_status st = rt_session_add(to, from->ids, there, err);
    if (!st)
        st = rt_seq_share(rt_ctx_seq(to->ctx), rt_ctx_seq(from->ctx), there, reached, err);
    to->n = *reached;
    if (st || !*reached) {
        rt_ctx_clear(to->ctx);
        to->n = *reached = 0;
        return st;
    }
    take_logits(to, from);
    from->lent = rt_session_lent(from) > *reached ? from->lent : *reached;
    atomic_fetch_add(&from->refs, 1);
    to->lender = from;
    return KV_OK;
}
