/* Mixtures of experts: how many, how wide, in which layers, and how their router goes about it. */
#include "model/hparams_internal.h"

/* How the router goes about it. */
static kv_status read_router(const rt_reader *r, const rt_arch *a, rt_hparams *hp) {
    enum { UNSAID, SOFTMAX, SIGMOID };
    uint32_t gating = UNSAID;
    kv_status st;
    hp->expert_sigmoid = a->router_sigmoid;
    hp->expert_norm = !a->experts_as_is;
    hp->expert_scale = 1;
    hp->n_expert_group = hp->n_group_used = 1;
    if (!a->router_keys)
        return KV_OK;
    if ((st = rt_key_u32(r, "expert_gating_func", false, &gating)) ||
        (st = rt_key_bool(r, "expert_weights_norm", &hp->expert_norm)) ||
        (st = rt_read_numbers(r, &(rt_number){"expert_weights_scale", &hp->expert_scale, 0, 1e6f}, 1)) ||
        (st = rt_key_u32(r, "expert_group_count", false, &hp->n_expert_group)) ||
        (st = rt_key_u32(r, "expert_group_used_count", false, &hp->n_group_used)))
        return st;
    if (gating > SIGMOID)
        return kv_fail(r->err, KV_EUNSUPP, "%s: %s.expert_gating_func = %u: only softmax (1) and sigmoid (2) are supported",
                       gguf_path(r->g), r->arch, gating);
    if (gating != UNSAID)
        hp->expert_sigmoid = gating == SIGMOID;
    if (hp->expert_scale == 0) /* what 0 means in files */
        hp->expert_scale = 1;
    if (hp->n_expert_group <= 1)
        hp->n_expert_group = hp->n_group_used = 1;
    if (hp->n_expert % hp->n_expert_group || !hp->n_group_used || hp->n_group_used > hp->n_expert_group ||
        hp->n_expert_used > hp->n_expert / hp->n_expert_group * hp->n_group_used)
        return kv_fail(r->err, KV_EUNSUPP, "%s: %u of %u experts from %u of %u groups: this does not come out even",
                       gguf_path(r->g), hp->n_expert_used, hp->n_expert, hp->n_group_used, hp->n_expert_group);
    return KV_OK;
}

/* Widths of an expert and of the shared one, and which layers have experts. */
static kv_status read_expert_layers(const rt_reader *r, const rt_arch *a, rt_hparams *hp) {
    uint32_t shared = 0;
    kv_status st;
    hp->n_ff_shared = a->shared_as_ff ? hp->n_ff : 0;
    hp->expert_every = 1;
    if ((a->experts_own_ff && (st = rt_key_u32(r, "expert_feed_forward_length", false, &hp->n_ff_expert))) ||
        (st = rt_key_u32(r, "expert_shared_feed_forward_length", false, &hp->n_ff_shared)))
        return st;
    if (a->dense_layers && ((st = rt_key_u32(r, "leading_dense_block_count", false, &hp->n_dense)) ||
                            (st = rt_key_u32(r, "interleave_moe_layer_step", false, &hp->expert_every))))
        return st;
    if (a->shared_by_count) {
        if ((st = rt_key_u32(r, "expert_shared_count", false, &shared)))
            return st;
        if (shared > 1024)
            return kv_fail(r->err, KV_EUNSUPP, "%s: %u shared experts: at most 1024", gguf_path(r->g), shared);
        hp->n_ff_shared = shared * (hp->n_ff_shared ? hp->n_ff_shared : hp->n_ff_expert);
    }
    return hp->expert_every ? KV_OK
                            : kv_fail(r->err, KV_EFORMAT, "%s: %s.interleave_moe_layer_step is 0", gguf_path(r->g), r->arch);
}

kv_status rt_read_experts(const rt_reader *r, const rt_arch *a, rt_hparams *hp) {
    kv_status st;
    hp->n_ff_expert = hp->n_ff;
    if (!a->experts)
        return KV_OK;
    if ((st = rt_key_u32(r, "expert_count", false, &hp->n_expert)) || !hp->n_expert)
        return st;
    if ((st = rt_key_u32(r, "expert_used_count", true, &hp->n_expert_used)) || (st = read_expert_layers(r, a, hp)))
        return st;
    if (hp->n_expert > RT_MAX_EXPERTS || !hp->n_expert_used || hp->n_expert_used > hp->n_expert)
        return kv_fail(r->err, KV_EUNSUPP, "%s: %u of %u experts for a token: expected 1 to all of at most %d", gguf_path(r->g),
                       hp->n_expert_used, hp->n_expert, RT_MAX_EXPERTS);
    if (!hp->n_ff_expert || hp->n_ff_expert % 32 || hp->n_ff_shared % 32 || hp->n_ff_expert > 1 << 22 ||
        hp->n_ff_shared > 1 << 22)
        return kv_fail(r->err, KV_EUNSUPP, "%s: experts of widths %u and %u: expected multiples of 32", gguf_path(r->g),
                       hp->n_ff_expert, hp->n_ff_shared);
    return read_router(r, a, hp);
}
