/* Samplers: options of the public API as those of the engine. */
#include "sample/sampler.h"
#include "api/api_internal.h"

#include <stdlib.h>

struct kv_sampler {
    rt_sampler *rt;
};

/* Zero is off in members that came after the seed; in the engine's, too. */
static rt_sampling as_engine(const kv_sampler_options *o, const rt_logit_bias *bias) {
    return (rt_sampling){.temp = o->temperature,
                         .top_k = o->top_k,
                         .top_p = o->top_p,
                         .min_p = o->min_p,
                         .seed = o->seed,
                         .typical_p = o->typical_p,
                         .top_n_sigma = o->top_n_sigma,
                         .dynatemp_range = o->dynatemp_range,
                         .dynatemp_exponent = o->dynatemp_exponent,
                         .xtc_probability = o->xtc_probability,
                         .xtc_threshold = o->xtc_threshold,
                         .repeat_last_n = o->repeat_last_n,
                         .repeat_penalty = o->repeat_penalty,
                         .presence_penalty = o->presence_penalty,
                         .frequency_penalty = o->frequency_penalty,
                         .dry_multiplier = o->dry_multiplier,
                         .dry_base = o->dry_base,
                         .dry_allowed_length = o->dry_allowed_length,
                         .dry_penalty_last_n = o->dry_penalty_last_n,
                         .dry_breakers = o->dry_breakers,
                         .n_dry_breakers = o->n_dry_breakers,
                         .mirostat = o->mirostat,
                         .mirostat_tau = o->mirostat_tau,
                         .mirostat_eta = o->mirostat_eta,
                         .bias = bias,
                         .n_bias = o->n_logit_bias,
                         .ignore_eos = o->flags & KV_SAMPLER_IGNORE_EOS,
                         .order = o->order};
}

static kv_status check(const kv_sampler_options *o, kv_err *err) {
    kv_status st;
    if ((st = api_check_range("the temperature", o->temperature, 0, 100, err)) ||
        (st = api_check_range("top-p", o->top_p, 0, 1, err)) || (st = api_check_range("min-p", o->min_p, 0, 1, err)))
        return st;
    if (o->flags & ~(uint32_t)KV_SAMPLER_IGNORE_EOS)
        return kv_fail(err, KV_EINVAL, "unknown flags %#x of a sampler", o->flags & ~(uint32_t)KV_SAMPLER_IGNORE_EOS);
    if (o->n_logit_bias && !o->logit_bias)
        return api_missing("logit bias", err);
    for (size_t i = 0; o->dry_breakers && i < o->n_dry_breakers; i++)
        if (!o->dry_breakers[i])
            return api_missing("sequence breaker", err);
    return KV_OK;
}

kv_status kv_sampler_new(const kv_model *model, const kv_sampler_options *options, kv_sampler **out, kv_err *err) {
    static const kv_sampler_options defaults = KV_SAMPLER_OPTIONS_INIT;
    kv_sampler_options o;
    *out = NULL;
    kv_status st = api_options(options, &defaults, sizeof o, &o, "KV_SAMPLER_OPTIONS", err);
    if (st || (st = check(&o, err)))
        return st;
    kv_sampler *s = calloc(1, sizeof *s);
    rt_logit_bias *bias = calloc(o.n_logit_bias + 1, sizeof *bias);
    if (!s || !bias) {
        st = kv_fail(err, KV_ENOMEM, "out of memory for a sampler");
        goto done;
    }
    for (size_t i = 0; i < o.n_logit_bias; i++)
        bias[i] = (rt_logit_bias){o.logit_bias[i].id, o.logit_bias[i].bias};
    const rt_sampling how = as_engine(&o, bias);
    if ((st = rt_sampler_new(&how, model->rt, &s->rt, err)))
        goto done;
    *out = s;
    s = NULL;
done:
    free(bias);
    free(s);
    return st;
}

void kv_sampler_free(kv_sampler *sampler) {
    if (sampler)
        rt_sampler_free(sampler->rt);
    free(sampler);
}

int32_t kv_sampler_pick(kv_sampler *sampler, const float *logits) {
    return rt_sample(sampler->rt, logits, NULL, 0);
}

int32_t kv_sampler_pick_after(kv_sampler *sampler, const float *logits, const int32_t *ids, size_t n) {
    return rt_sample(sampler->rt, logits, ids, n);
}

int32_t api_pick(kv_sampler *sampler, uint32_t n_vocab, const float *logits, const int32_t *ids, size_t n) {
    if (sampler)
        return rt_sample(sampler->rt, logits, ids, n);
    uint32_t best = 0;
    for (uint32_t i = 1; i < n_vocab; i++)
        best = logits[i] > logits[best] ? i : best;
    return (int32_t)best;
}
