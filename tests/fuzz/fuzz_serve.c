/* Bodies of requests through every dialect: the first byte chooses which, and whether it streams; and some of an answer in it.
 */
#include "fuzz/fuzz.h"

#include "serve/body.h"
#include "serve/dialect.h"

/* Whatever was asked, what is answered is JSON. */
static void check_answer(const sv_dialect *d, const sv_request *q, sv_out *out) {
    const size_t n = out_waiting(out);
    FUZZ_MUST(!out->failed);
    if (q->stream && d->stream) {
        FUZZ_MUST(n && out->s[out->len - 1] == '\n');
        return;
    }
    json_t *j = json_loadb(out->s + out->at, n, 0, NULL);
    FUZZ_MUST(j);
    json_decref(j);
}

static void answer(const sv_dialect *d, const sv_request *q) {
    static const float vector[] = {0.5f, -1};
    const sv_logprob top = {"\xc3", 1, -1};
    const sv_token token = {{"\xc3", 1, -1}, &top, 1};
    const sv_usage u = {.prompt = 5, .cached = 9, .said = 2, .prefill_s = 1};
    const uint32_t n = (uint32_t)(q->prompts ? json_array_size(q->prompts) : 1) * q->n;
    sv_writer w;
    sv_out out = {0};
    FUZZ_MUST(n && !writer_init(&w, d, q, "ABCDEFGHIJKLMNOPQRSTUVWX", *q->model ? q->model : "m", 1, n, &out));
    const sv_event events[] = {{.kind = SV_BEGIN},
                               {.kind = SV_PROGRESS, .usage = &u},
                               {.kind = SV_THOUGHT, .text = "t", .len = 1},
                               {.kind = SV_CONTENT, .text = "c", .len = 1, .tokens = &token, .n_tokens = q->logprobs},
                               {.kind = SV_CALL, .text = "f", .len = 1},
                               {.kind = SV_ARGUMENTS, .text = "{", .len = 1},
                               {.kind = SV_ARGUMENTS, .call = 7, .text = "}", .len = 1},
                               {.kind = SV_CALL_END},
                               {.kind = SV_VECTOR, .vector = vector, .n_vector = 2}};
    for (size_t i = 0; i < sizeof events / sizeof *events; i++)
        writer_event(&w, &events[i]);
    for (uint32_t i = 0; i < n; i++)
        writer_event(&w, &(sv_event){.kind = SV_CHOICE_END, .choice = i, .why = SV_WHY_CALLS, .usage = &u});
    writer_event(&w, &(sv_event){.kind = SV_END, .usage = &u});
    check_answer(d, q, &out);
    writer_free(&w);
    out_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    size_t n;
    const sv_dialect *const *all = sv_dialects(&n);
    const sv_defaults defaults = {RT_SAMPLING_DEFAULT, -1};
    sv_request q;
    kv_err err = {0};
    if (!size)
        return 0;
    const sv_dialect *d = all[*data % n];
    json_t *body;
    if (body_read((const char *)data + 1, size - 1, &body, &err)) {
        FUZZ_MUST(err.code == KV_EINVAL && *err.msg && !body);
        return 0;
    }
    request_init(&q, &defaults);
    const kv_status st = d->read(body, &q, &err);
    json_decref(body);
    if (st) {
        FUZZ_MUST(err.code == st && *err.msg && !strchr(err.msg, '\n'));
        json_t *j = d->error(http_of(st), st, err.msg);
        FUZZ_MUST(j);
        json_decref(j);
    } else {
        FUZZ_MUST(q.messages || q.prompts || q.load_only);
        FUZZ_MUST(q.n >= 1 && q.n <= SV_MOST_CHOICES && !rt_sampling_check(&q.sampling, &err));
        FUZZ_MUST(!q.messages || (json_is_array(q.messages) && json_array_size(q.messages)));
        answer(d, &q);
    }
    request_free(&q);
    return 0;
}
