/* What the keys of a model mean here. A key that llama.cpp reads, and that would change what the model computes, is either used
 * or must have the value that changes nothing: none is passed over. Keys that nobody knows are not looked at. */
#include "model/model_internal.h"

#include <stdio.h>
#include <string.h>

/* Read by hparams.c and the tokenizer, or of no consequence for what is computed. `when`: only for these architectures. */
static bool multipliers(const rt_arch *a) {
    return a->multipliers;
}
static bool scales_logits(const rt_arch *a) {
    return a->scales_logits;
}
static bool caps_logits(const rt_arch *a) {
    return a->caps_logits;
}
static bool caps_scores(const rt_arch *a) {
    return a->caps_scores;
}
static bool temperature(const rt_arch *a) {
    return a->temperature;
}
static bool experts(const rt_arch *a) {
    return a->experts;
}
static bool router(const rt_arch *a) {
    return a->router_keys;
}
static bool dense_layers(const rt_arch *a) {
    return a->dense_layers;
}
static bool nextn(const rt_arch *a) {
    return a->nextn;
}
static bool shares_kv(const rt_arch *a) {
    return a->shares_kv;
}
static bool slides(const rt_arch *a) {
    return a->swa_every != 0;
}

static const struct {
    const char *key;
    bool (*when)(const rt_arch *a); /* NULL: always */
} used[] = {
    {"block_count", NULL},
    {"context_length", NULL},
    {"embedding_length", NULL},
    {"feed_forward_length", NULL},
    {"vocab_size", NULL},
    {"attention.head_count", NULL},
    {"attention.head_count_kv", NULL},
    {"attention.key_length", NULL},
    {"attention.value_length", NULL},
    {"attention.layer_norm_epsilon", NULL},
    {"attention.layer_norm_rms_epsilon", NULL},
    {"attention.sliding_window", NULL}, /* llama.cpp, too, reads it only where layers can slide */
    {"attention.sliding_window_pattern", NULL},
    {"attention.scale", multipliers},
    {"embedding_scale", multipliers},
    {"residual_scale", multipliers},
    {"logit_scale", scales_logits},
    {"attn_logit_softcapping", caps_scores},
    {"final_logit_softcapping", caps_logits},
    {"attention.temperature_scale", temperature},
    {"attention.temperature_length", NULL},
    {"rope.dimension_count", NULL},
    {"rope.freq_base", NULL},
    {"rope.freq_base_swa", slides},
    {"rope.scale_linear", NULL},
    {"rope.scaling.type", NULL},
    {"rope.scaling.factor", NULL},
    {"rope.scaling.attn_factor", NULL},
    {"rope.scaling.finetuned", NULL}, /* used where it is Granite's, of no consequence elsewhere */
    {"rope.scaling.original_context_length", NULL},
    {"rope.scaling.yarn_ext_factor", NULL},
    {"rope.scaling.yarn_attn_factor", NULL},
    {"rope.scaling.yarn_beta_fast", NULL},
    {"rope.scaling.yarn_beta_slow", NULL},
    {"rope.scaling.yarn_log_multiplier", NULL},
    {"expert_count", experts},
    {"expert_used_count", experts},
    {"expert_feed_forward_length", experts},
    {"expert_shared_feed_forward_length", experts},
    {"expert_shared_count", experts}, /* where it is not used, the tensors tell */
    {"expert_gating_func", router},
    {"expert_weights_norm", router},
    {"expert_weights_scale", router},
    {"expert_group_count", router},
    {"expert_group_used_count", router},
    {"leading_dense_block_count", dense_layers},
    {"interleave_moe_layer_step", dense_layers},
    {"nextn_predict_layers", nextn},
    {"attention.shared_kv_layers", shares_kv},
    {"pooling_type", NULL},          /* of embeddings */
    {"tensor_data_layout", NULL},    /* how the converter went about it */
    {"use_parallel_residual", NULL}, /* the tensors tell */
    {"classifier.output_labels", NULL},
};

/* Of other models, or of variants of these that are not computed here: must be 0, false or empty. */
static const char *const others[] = {
    "activation_sparsity_scale",
    "altup.active_idx",
    "altup.num_inputs",
    "attention.clamp_kqv",
    "attention.decay_lora_rank",
    "attention.gate_lora_rank",
    "attention.group_norm_epsilon",
    "attention.group_norm_groups",
    "attention.iclr_lora_rank",
    "attention.key_length_mla",
    "attention.key_length_swa",
    "attention.kv_lora_rank",
    "attention.max_alibi_bias",
    "attention.output_scale",
    "attention.q_lora_rank",
    "attention.relative_buckets_count",
    "attention.scale",
    "attention.shared_kv_layers",
    "attention.temperature_scale",
    "attention.value_length_mla",
    "attention.value_length_swa",
    "attention.value_residual_mix_lora_rank",
    "attn_logit_softcapping",
    "convnext.block_count",
    "convnext.embedding_length",
    "decoder_block_count",
    "embedding_length_out",
    "embedding_length_per_layer_input",
    "embedding_scale",
    "expert_chunk_feed_forward_length",
    "expert_count",
    "expert_feed_forward_length",
    "expert_gating_func",
    "expert_group_count",
    "expert_group_scale",
    "expert_group_used_count",
    "expert_shared_count",
    "expert_shared_feed_forward_length",
    "expert_used_count",
    "expert_weights_norm",
    "expert_weights_scale",
    "experts_per_group",
    "final_logit_softcapping",
    "full_attention_interval",
    "interleave_moe_layer_step",
    "kda.head_dim",
    "leading_dense_block_count",
    "logit_scale",
    "moe_every_n_layers",
    "moe_latent_size",
    "n_deepstack_layers",
    "nextn_predict_layers",
    "posnet.block_count",
    "posnet.embedding_length",
    "rescale_every_n_layers",
    "residual_scale",
    "rope.dimension_count_swa",
    "rope.dimension_sections",
    "rope.freq_base_swa",
    "rope.scaling.alpha",
    "router_logit_softcapping",
    "shortconv.l_cache",
    "ssm.conv_kernel",
    "ssm.dt_b_c_rms",
    "ssm.group_count",
    "ssm.inner_size",
    "ssm.state_size",
    "ssm.time_step_rank",
    "swiglu_clamp_exp",
    "swiglu_clamp_shexp",
    "swin_norm",
    "time_decay_extra_dim",
    "time_mix_extra_dim",
    "token_shift_count",
    "wkv.head_size",
};

static bool is_key(const char *s, size_t len, const char *key) {
    return strlen(key) == len && !memcmp(s, key, len);
}

static bool is_used(const rt_arch *a, const char *s, size_t len) {
    for (size_t i = 0; i < sizeof used / sizeof *used; i++)
        if (is_key(s, len, used[i].key))
            return !used[i].when || used[i].when(a);
    return false;
}

static bool is_other(const char *s, size_t len) {
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (is_key(s, len, others[i]))
            return true;
    return false;
}

/* 0, false, empty, or a list of such; a factor of 1. */
static bool changes_nothing(const gguf_kv *kv) {
    static const uint32_t one = 0x3f800000; /* 1, as an f32 */
    if (kv->type == GGUF_F32 && !memcmp(kv->raw, &one, sizeof one))
        return true;
    bool zero = true;
    for (size_t i = 0; kv->type != GGUF_STRING && i < kv->raw_bytes; i++)
        zero &= kv->raw[i] == 0;
    return kv->type == GGUF_STRING ? kv->raw_bytes <= sizeof(uint64_t) : zero;
}

kv_status rt_check_keys(const gguf *g, const rt_arch *a, kv_err *err) {
    const size_t prefix = strlen(a->name);
    for (size_t i = 0; i < gguf_n_kv(g); i++) {
        const gguf_kv *kv = gguf_kv_at(g, i);
        if (kv->key.len <= prefix || memcmp(kv->key.s, a->name, prefix) || kv->key.s[prefix] != '.')
            continue;
        const char *s = kv->key.s + prefix + 1;
        const size_t len = kv->key.len - prefix - 1;
        if (is_key(s, len, "attention.causal") && changes_nothing(kv))
            return kv_fail(err, KV_EUNSUPP, "%s: %.*s is false: a model that reads ahead has no KV cache", gguf_path(g),
                           (int)kv->key.len, kv->key.s);
        if (!is_used(a, s, len) && is_other(s, len) && !changes_nothing(kv))
            return kv_fail(err, KV_EUNSUPP, "%s: the key %.*s changes what the model computes, and is not supported for '%s'",
                           gguf_path(g), (int)kv->key.len, kv->key.s, a->name);
    }
    return KV_OK;
}
