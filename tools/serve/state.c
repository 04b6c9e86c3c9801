/* How the server is: for monitors, and for people who look. */
#include "serve/handlers.h"

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

kv_status handle_health(sv_exchange *x, kv_err *err) {
    (void)err;
    if (!atomic_load(&x->sv->ready))
        return x->http = 503, kv_fail(err, KV_EBUSY, "the model is being loaded");
    if (atomic_load(&x->sv->stopping))
        return x->http = 503, kv_fail(err, KV_EBUSY, "the server is stopping");
    out_json(&x->out, json_pack("{s:s}", "status", "ok"));
    return KV_OK;
}

kv_status handle_slots(sv_exchange *x, kv_err *err) {
    const uint32_t n = sched_get_slots(x->sv->engine.s, NULL, 0);
    sched_slot *slots = calloc(n ? n : 1, sizeof *slots);
    json_t *all = json_array();
    if (!slots) {
        json_decref(all);
        return kv_fail(err, KV_ENOMEM, "out of memory for %u slots", n);
    }
    sched_get_slots(x->sv->engine.s, slots, n);
    for (uint32_t i = 0; i < n; i++)
        json_array_append_new(all, json_pack("{s:I,s:I,s:b,s:I,s:I,s:I,s:I}", "id", (json_int_t)i, "n_ctx",
                                             (json_int_t)x->sv->engine.n_ctx, "is_processing", slots[i].busy, "tokens",
                                             (json_int_t)slots[i].len, "prompt_tokens", (json_int_t)slots[i].prompt,
                                             "prompt_read", (json_int_t)slots[i].read, "said", (json_int_t)slots[i].said));
    free(slots);
    out_json(&x->out, all);
    return KV_OK;
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
    (void)err;
    sched_get_facts(sv->engine.s, &f);
    metric(o, "prompt_tokens_total", "counter", "Tokens of prompts.", (double)f.prompt_tokens);
    metric(o, "prompt_tokens_cached_total", "counter", "Tokens of prompts that did not have to be read.",
           (double)f.cached_tokens);
    metric(o, "tokens_predicted_total", "counter", "Tokens said.", (double)f.said_tokens);
    metric(o, "prompt_seconds_total", "counter", "Seconds that reading prompts took, summed over requests.", f.prefill_s);
    metric(o, "tokens_predicted_seconds_total", "counter", "Seconds that answering took, summed over requests.", f.decode_s);
    metric(o, "jobs_total", "counter", "Answers that were begun.", (double)f.requests);
    metric(o, "slots", "gauge", "Answers that can be at work at the same time.", f.slots);
    metric(o, "requests_processing", "gauge", "Answers at work.", f.busy);
    metric(o, "requests_deferred", "gauge", "Answers that wait for a slot.", f.waiting);
    metric(o, "cache_bytes", "gauge", "Bytes of KV cache that slots hold.", (double)f.cache_bytes);
    metric(o, "cache_f16_bytes", "gauge", "Bytes that the same would take in f16.", (double)f.cache_bytes_f16);
    metric(o, "cache_shared_bytes", "gauge", "Of these bytes, those that several slots use.", (double)f.shared_bytes);
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
