#include "serve/speech.h"

#include "base/clock.h"
#include "grammar/schema.h"
#include "serve/prompts.h"
#include "serve/voice.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

struct sv_speech {
    sv_speech_cfg cfg;
    sv_request q;
    sv_prompts prompts;
    grammar *rules;
    char *context;
    sv_voice *voices; /* (n_voices) */
    uint32_t n_voices, n_ended;
    pthread_mutex_t lock; /* of all below, and of voices */
    unsigned users;       /* the client's side, and every job */
    bool deaf, over;      /* nobody listens; nothing more comes */
    sv_writer w;
    sv_out out;
    sv_usage usage;
    kv_err err; /* of what failed */
    double told, began;
};

/* ---- making one ---- */

static kv_status make_rules(sv_speech *s, kv_err *err) {
    const sv_request *q = &s->q;
    const char *text = q->rules_text;
    char *calls = NULL;
    kv_status st = KV_OK;
    if (q->rules == SV_RULES_JSON)
        return grammar_of_json(&s->rules, err);
    if (q->rules == SV_RULES_SCHEMA)
        return grammar_of_schema(text, strlen(text), "json_schema", &s->rules, err);
    if (q->rules == SV_RULES_GRAMMAR)
        return grammar_parse(text, strlen(text), "grammar", &s->rules, err);
    if (q->tool_choice < SV_TOOLS_MUST || !s->cfg.e->answers)
        return KV_OK;
    st = reply_grammar(s->cfg.e->answers, q->tools, q->tool_choice == SV_TOOLS_ONE ? q->tool_name : NULL, &calls, err);
    if (!st)
        st = grammar_parse(calls, strlen(calls), "tools", &s->rules, err);
    free(calls);
    return st;
}

static bool embeds(const sv_speech *s) {
    return s->q.prompts && s->q.n_predict == 0 && !s->cfg.d->stream;
}

static kv_status make_voice(sv_speech *s, uint32_t i, kv_err *err) {
    sv_voice *v = &s->voices[i];
    const bool chat = s->q.messages != NULL;
    *v = (sv_voice){.speech = s,
                    .index = i,
                    .prompt = i / s->q.n,
                    .t = rt_model_tok(s->cfg.e->m),
                    .logprobs = s->q.logprobs,
                    .one_call = s->q.one_call};
    v->stop.texts = s->q.stops;
    v->stop.n = s->q.n_stops;
    if (embeds(s) && !(v->embedding = calloc(rt_model_hparams(s->cfg.e->m)->n_embd, sizeof *v->embedding)))
        return kv_fail(err, KV_ENOMEM, "out of memory for an embedding");
    const bool whole = !s->q.stream || s->cfg.d->streams == SV_NDJSON;
    return voice_init(v, chat ? s->cfg.e->answers : NULL, s->q.tools, s->prompts.thinking && !s->rules, whole, err);
}

static void speech_tell(sv_speech *s, const sv_event *e) {
    s->told = clock_now();
    writer_event(&s->w, e);
}

static void count_prompts(sv_speech *s) {
    for (size_t i = 0; i < s->prompts.n; i++)
        s->usage.prompt += (uint32_t)s->prompts.p[i].n;
    s->w.usage = s->usage;
}

static void free_all(sv_speech *s) {
    const sv_speech_cfg cfg = s->cfg;
    for (uint32_t i = 0; s->voices && i < s->n_voices; i++)
        voice_free(&s->voices[i]);
    free(s->voices);
    writer_free(&s->w);
    out_free(&s->out);
    prompts_free(&s->prompts);
    grammar_free(s->rules);
    request_free(&s->q);
    free(s->context);
    pthread_mutex_destroy(&s->lock);
    free(s);
    cfg.freed(cfg.owner);
}

kv_status speech_new(const sv_speech_cfg *cfg, sv_request *q, sv_speech **out, kv_err *err) {
    sv_speech *s = calloc(1, sizeof *s);
    kv_status st;
    if (!s) {
        request_free(q);
        cfg->freed(cfg->owner);
        return kv_fail(err, KV_ENOMEM, "out of memory for an answer");
    }
    s->cfg = *cfg;
    s->q = *q;
    *q = (sv_request){0};
    s->users = 1;
    s->told = clock_now();
    pthread_mutex_init(&s->lock, NULL);
    if (cfg->context && !(s->context = strdup(cfg->context))) {
        st = kv_fail(err, KV_ENOMEM, "out of memory for an answer");
        goto done;
    }
    if ((st = make_rules(s, err)) || (!s->q.load_only && (st = prompts_of(cfg->e, &s->q, s->context, &s->prompts, err))))
        goto done;
    s->n_voices = cfg->d == &sv_count || s->q.load_only ? 0 : (uint32_t)s->prompts.n * s->q.n;
    if (!(s->voices = calloc(s->n_voices ? s->n_voices : 1, sizeof *s->voices)) ||
        writer_init(&s->w, cfg->d, &s->q, cfg->id, cfg->model, (int64_t)time(NULL), s->n_voices ? s->n_voices : 1, &s->out)) {
        st = kv_fail(err, KV_ENOMEM, "out of memory for an answer");
        goto done;
    }
    count_prompts(s);
    for (uint32_t i = 0; !st && i < s->n_voices; i++) {
        st = make_voice(s, i, err);
        s->voices[i].tell = speech_tell;
    }
    *out = s;
done:
    if (st)
        free_all(s);
    return st;
}

/* ---- what the scheduler tells ---- */

static void leave(sv_speech *s) { /* under the lock, which is let go of */
    const bool last = !--s->users;
    pthread_mutex_unlock(&s->lock);
    if (last)
        free_all(s);
}

static void wake(sv_speech *s) {
    if (!s->deaf)
        s->cfg.wake(s->cfg.user);
}

static void clock_usage(sv_speech *s) {
    s->usage.all_s = clock_now() - s->cfg.since;
}

static void fail(sv_speech *s, kv_status st, const char *why) {
    if (s->over)
        return;
    kv_fail(&s->err, st, "%s", why);
    s->over = true;
    speech_tell(s, &(sv_event){.kind = SV_ERROR, .text = s->err.msg, .len = strlen(s->err.msg), .status = st});
    for (uint32_t i = 0; i < s->n_voices; i++)
        if (s->voices[i].job)
            sched_cancel(s->cfg.e->s, s->voices[i].job);
}

static void on_prefill(void *user, uint32_t done, uint32_t all, uint32_t cached) {
    sv_voice *v = user;
    sv_speech *s = v->speech;
    pthread_mutex_lock(&s->lock);
    if (s->q.progress && s->q.stream && !s->deaf && !v->index) {
        clock_usage(s);
        sv_usage u = s->usage;
        u.prompt = all;
        u.cached = cached;
        u.read = done;
        speech_tell(s, &(sv_event){.kind = SV_PROGRESS, .choice = v->index, .usage = &u});
        wake(s);
    }
    pthread_mutex_unlock(&s->lock);
}

static bool on_token(void *user, const sched_token *t) {
    sv_voice *v = user;
    sv_speech *s = v->speech;
    pthread_mutex_lock(&s->lock);
    const bool go_on = !s->deaf && !s->over && voice_token(v, t) && !s->out.failed;
    if (out_waiting(&s->out) > SV_MOST_WAITING)
        fail(s, KV_EBUSY, "what is said is not read: the rest is not said");
    if (s->q.stream && out_waiting(&s->out))
        wake(s);
    pthread_mutex_unlock(&s->lock);
    return go_on;
}

static double most(double a, double b) {
    return a > b ? a : b;
}

/* Of all choices of a prompt it was read for the first one; the others found it read. */
static void add_usage(sv_speech *s, const sv_voice *v) {
    if (v->index % s->q.n == 0) {
        const uint32_t ours = (uint32_t)s->prompts.p[v->prompt].n; /* of which we know already; a stored context has more */
        s->usage.prompt += v->stats.prompt > ours ? v->stats.prompt - ours : 0;
        s->usage.cached += v->stats.cached;
    }
    s->usage.said += v->stats.said;
    s->usage.prefill_s = most(s->usage.prefill_s, v->stats.prefill_s);
    s->usage.decode_s = most(s->usage.decode_s, v->stats.decode_s);
    clock_usage(s);
}

/* Of length 1, as OpenAI's are. */
static void tell_vector(sv_speech *s, sv_voice *v) {
    const size_t n = rt_model_hparams(s->cfg.e->m)->n_embd;
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)v->embedding[i] * (double)v->embedding[i];
    const float by = sum > 0 ? (float)(1 / sqrt(sum)) : 0;
    for (size_t i = 0; i < n; i++)
        v->embedding[i] *= by;
    speech_tell(s, &(sv_event){.kind = SV_VECTOR, .choice = v->index, .vector = v->embedding, .n_vector = n});
}

static void end_all(sv_speech *s) {
    for (uint32_t i = 0; i < s->n_voices && embeds(s); i++)
        tell_vector(s, &s->voices[i]);
    clock_usage(s);
    speech_tell(s, &(sv_event){.kind = SV_END, .usage = &s->usage});
    s->over = true;
}

static void end_choice(sv_speech *s, sv_voice *v, sched_why why) {
    sv_usage u = {.prompt = v->stats.prompt,
                  .cached = v->stats.cached,
                  .said = v->stats.said,
                  .prefill_s = v->stats.prefill_s,
                  .decode_s = v->stats.decode_s};
    sv_why end = why == SCHED_LIMIT || why == SCHED_CONTEXT ? SV_WHY_LENGTH : SV_WHY_STOP;
    if (end == SV_WHY_STOP && v->n_calls)
        end = SV_WHY_CALLS;
    speech_tell(s, &(sv_event){.kind = SV_CHOICE_END, .choice = v->index, .why = end, .stop = v->stop.found, .usage = &u});
}

static void on_end(void *user, sched_why why, const sched_stats *stats, const kv_err *err) {
    sv_voice *v = user;
    sv_speech *s = v->speech;
    pthread_mutex_lock(&s->lock);
    v->job = NULL;
    v->ended = true;
    v->stats = *stats;
    s->n_ended++;
    add_usage(s, v);
    if (!s->over && !s->deaf) {
        voice_end(v);
        if (why == SCHED_FAILED)
            fail(s, err->code, err->msg);
        else if (why == SCHED_CANCELLED)
            fail(s, KV_EBUSY, "the server is stopping");
        else if (v->st || s->out.failed)
            fail(s, KV_ENOMEM, "out of memory for the answer");
        else
            end_choice(s, v, why);
    }
    if (s->n_ended == s->n_voices && !s->over)
        end_all(s);
    wake(s);
    leave(s);
}

/* ---- beginning ---- */

static uint64_t drawn_seed(void) {
    uint64_t seed = 0;
    return getrandom(&seed, sizeof seed, 0) == sizeof seed ? seed : (uint64_t)(1e9 * clock_now());
}

static kv_status submit(sv_speech *s, sv_voice *v, uint64_t seed, kv_err *err) {
    const sv_prompt *p = &s->prompts.p[v->prompt];
    rt_sampling how = s->q.sampling;
    how.seed = seed + v->index % s->q.n;
    const sched_request r = {.ids = p->ids,
                             .n = p->n,
                             .sampling = &how,
                             .rules = s->rules,
                             .n_predict = s->q.n_predict,
                             .n_top = s->q.logprobs ? s->q.top : 0,
                             .logprobs = s->q.logprobs,
                             .context = s->context,
                             .embedding = v->embedding,
                             .last_token = s->q.last_token,
                             .events = {on_prefill, on_token, on_end},
                             .user = v};
    kv_status st = sched_submit(s->cfg.e->s, &r, &v->job, err);
    s->users += !st;
    return st;
}

kv_status speech_start(sv_speech *s, kv_err *err) {
    const uint64_t seed = s->q.seeded ? s->q.sampling.seed : drawn_seed();
    kv_status st = KV_OK;
    uint32_t begun = 0;
    pthread_mutex_lock(&s->lock); /* nothing is told before all have begun */
    s->began = clock_now();
    for (; !st && begun < s->n_voices; begun++)
        st = submit(s, &s->voices[begun], seed, err);
    if (st) {
        s->deaf = s->over = true;
        for (uint32_t i = 0; i < begun; i++)
            if (s->voices[i].job)
                sched_cancel(s->cfg.e->s, s->voices[i].job);
    } else if (!s->n_voices) {
        end_all(s);
    } else {
        speech_tell(s, &(sv_event){.kind = SV_BEGIN});
    }
    pthread_mutex_unlock(&s->lock);
    return st;
}

/* ---- the client's side ---- */

void speech_cancel(sv_speech *s) {
    pthread_mutex_lock(&s->lock);
    s->deaf = true;
    for (uint32_t i = 0; i < s->n_voices; i++)
        if (s->voices[i].job)
            sched_cancel(s->cfg.e->s, s->voices[i].job);
    pthread_mutex_unlock(&s->lock);
}

void speech_leave(sv_speech *s) {
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    s->deaf = true;
    leave(s);
}

bool speech_streams(const sv_speech *s) {
    return s->q.stream && s->cfg.d->stream;
}

sv_shape speech_shape(const sv_speech *s) {
    return speech_streams(s) ? s->cfg.d->streams : SV_JSON;
}

uint32_t speech_prompt(const sv_speech *s) {
    return s->w.usage.prompt;
}

size_t speech_take(sv_speech *s, char *to, size_t most_bytes, bool *over) {
    pthread_mutex_lock(&s->lock);
    const size_t n = out_take(&s->out, to, most_bytes);
    *over = s->over && !out_waiting(&s->out);
    pthread_mutex_unlock(&s->lock);
    return n;
}

bool speech_is_over(sv_speech *s) {
    pthread_mutex_lock(&s->lock);
    const bool over = s->over;
    pthread_mutex_unlock(&s->lock);
    return over;
}

kv_status speech_result(sv_speech *s, kv_err *err) {
    pthread_mutex_lock(&s->lock);
    kv_status st = s->err.code;
    if (st)
        kv_fail(err, st, "%s", s->err.msg);
    else if (s->over && s->out.failed)
        st = kv_fail(err, KV_ENOMEM, "out of memory for the answer");
    pthread_mutex_unlock(&s->lock);
    return st;
}

void speech_keep_alive(sv_speech *s, double quiet) {
    pthread_mutex_lock(&s->lock);
    if (!s->over && !s->deaf && speech_shape(s) == SV_SSE && clock_now() - s->told >= quiet) {
        s->told = clock_now();
        out_text(&s->out, ": still at work\n\n");
        wake(s);
    }
    pthread_mutex_unlock(&s->lock);
}

size_t speech_waiting(sv_speech *s) {
    pthread_mutex_lock(&s->lock);
    const size_t n = s->out.failed ? SIZE_MAX : out_waiting(&s->out);
    pthread_mutex_unlock(&s->lock);
    return n;
}
