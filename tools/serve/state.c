/* How the server is: for monitors, and for people who look. */
#include "serve/handlers.h"

#include <stdio.h>
#include <stdlib.h>

kv_status handle_health(sv_exchange *x, kv_err *err) {
    (void)err;
    if (!atomic_load(&x->sv->ready))
        return x->http = 503, kv_fail(err, KV_EBUSY, "the model is being loaded");
    if (atomic_load(&x->sv->stopping))
        return x->http = 503, kv_fail(err, KV_EBUSY, "the server is stopping");
    out_json(&x->out, json_pack("{s:s}", "status", "ok"));
    return KV_OK;
}

static kv_status add_slots(json_t *all, const sv_model *m, kv_err *err) {
    sched_slot first;
    const uint32_t n = sched_get_slots(m->engine.s, &first, 1);
    sched_slot *slots = calloc(n ? n : 1, sizeof *slots);
    if (!slots)
        return kv_fail(err, KV_ENOMEM, "out of memory for %u slots", n);
    sched_get_slots(m->engine.s, slots, n);
    for (uint32_t i = 0; i < n; i++)
        json_array_append_new(all, json_pack("{s:I,s:s,s:I,s:b,s:I,s:I,s:I,s:I}", "id", (json_int_t)i, "model", m->name,
                                             "n_ctx", (json_int_t)m->engine.n_ctx, "is_processing", slots[i].busy, "tokens",
                                             (json_int_t)slots[i].len, "prompt_tokens", (json_int_t)slots[i].prompt,
                                             "prompt_read", (json_int_t)slots[i].read, "said", (json_int_t)slots[i].said));
    free(slots);
    return KV_OK;
}

kv_status handle_slots(sv_exchange *x, kv_err *err) {
    json_t *all = json_array();
    kv_status st = KV_OK;
    for (size_t i = 0; !st && i < x->sv->models.n; i++) {
        sv_model *m = &x->sv->models.v[i];
        if (!models_peek(m))
            continue;
        st = add_slots(all, m, err);
        models_leave(m);
    }
    if (st)
        json_decref(all);
    else
        out_json(&x->out, all);
    return st;
}

/* Of all models that are loaded; memory: with their weights. What those that were unloaded have done is forgotten. */
static void sum_facts(sv_server *sv, sched_facts *all, unsigned *loaded) {
    *all = (sched_facts){0};
    *loaded = 0;
    for (size_t i = 0; i < sv->models.n; i++) {
        sv_model *m = &sv->models.v[i];
        sched_facts f;
        if (!models_peek(m))
            continue;
        sched_get_facts(m->engine.s, &f);
        all->memory += models_takes(m);
        models_leave(m);
        ++*loaded;
        all->slots += f.slots;
        all->busy += f.busy;
        all->waiting += f.waiting;
        all->cache_bytes += f.cache_bytes;
        all->cache_bytes_f16 += f.cache_bytes_f16;
        all->shared_bytes += f.shared_bytes;
        all->tokens += f.tokens;
        all->exact_tokens += f.exact_tokens;
        all->encoded_tokens += f.encoded_tokens;
        all->prompt_tokens += f.prompt_tokens;
        all->cached_tokens += f.cached_tokens;
        all->said_tokens += f.said_tokens;
        all->requests += f.requests;
        all->prefill_s += f.prefill_s;
        all->decode_s += f.decode_s;
    }
}

/* Prometheus' text format, version 0.0.4. */
static void metric(sv_out *o, const char *name, const char *type, const char *help, double value) {
    char line[512];
    snprintf(line, sizeof line, "# HELP kvrun_%s %s\n# TYPE kvrun_%s %s\nkvrun_%s %.15g\n", name, help, name, type, name,
             value);
    out_text(o, line);
}

kv_status handle_metrics(sv_exchange *x, kv_err *err) {
    sv_server *sv = x->sv;
    sched_facts f;
    sv_out *o = &x->out;
    char line[128];
    unsigned loaded;
    (void)err;
    sum_facts(sv, &f, &loaded);
    metric(o, "prompt_tokens_total", "counter", "Tokens of prompts.", (double)f.prompt_tokens);
    metric(o, "prompt_tokens_cached_total", "counter", "Tokens of prompts that did not have to be read.",
           (double)f.cached_tokens);
    metric(o, "tokens_predicted_total", "counter", "Tokens said.", (double)f.said_tokens);
    metric(o, "prompt_seconds_total", "counter", "Seconds that reading prompts took, summed over requests.", f.prefill_s);
    metric(o, "tokens_predicted_seconds_total", "counter", "Seconds that answering took, summed over requests.", f.decode_s);
    metric(o, "jobs_total", "counter", "Answers that were begun.", (double)f.requests);
    metric(o, "models_loaded", "gauge", "Models that are loaded.", loaded);
    metric(o, "memory_bytes", "gauge", "Bytes that loaded models take, with their caches and workspaces.", (double)f.memory);
    metric(o, "slots", "gauge", "Answers that can be at work at the same time.", f.slots);
    metric(o, "requests_processing", "gauge", "Answers at work.", f.busy);
    metric(o, "requests_deferred", "gauge", "Answers that wait for a slot.", f.waiting);
    metric(o, "cache_bytes", "gauge", "Bytes of KV cache that slots hold.", (double)f.cache_bytes);
    metric(o, "cache_f16_bytes", "gauge", "Bytes that the same would take in f16.", (double)f.cache_bytes_f16);
    metric(o, "cache_shared_bytes", "gauge", "Of these bytes, those that several slots use.", (double)f.shared_bytes);
    metric(o, "tokens_held", "gauge", "Tokens that slots hold.", f.tokens);
    metric(o, "tokens_exact", "gauge", "Of these, those in f16 or f32; as a mean over KV heads.", f.exact_tokens);
    metric(o, "tokens_encoded", "gauge", "Of these, those that are encoded; a budget let go of the rest.", f.encoded_tokens);
    metric(o, "context_progress", "gauge", "How much of the context that is being made is read, 0 to 1; -1: none is made.",
           (double)atomic_load(&sv->made) / 1000);
    metric(o, "http_requests_total", "counter", "Requests of all kinds.", (double)atomic_load(&sv->n_requests));
    metric(o, "clients_left_total", "counter", "Clients that left before their answer was whole.",
           (double)atomic_load(&sv->n_gone));
    metric(o, "refused_total", "counter", "Requests that found no place in the queue.", (double)atomic_load(&sv->n_refused));
    metric(o, "start_time_seconds", "gauge", "When the server began, in seconds since 1970.", (double)sv->started);
    out_text(o, "# HELP kvrun_http_responses_total Answers by the first digit of their status.\n"
                "# TYPE kvrun_http_responses_total counter\n");
    for (int i = 2; i < 6; i++) {
        snprintf(line, sizeof line, "kvrun_http_responses_total{code=\"%dxx\"} %llu\n", i, atomic_load(&sv->n_errors[i]));
        out_text(o, line);
    }
    x->type = "text/plain; version=0.0.4; charset=utf-8";
    return KV_OK;
}
