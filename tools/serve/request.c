#include "serve/request.h"

#include "serve/out.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void request_init(sv_request *q, const sv_defaults *d) {
    *q = (sv_request){.sampling = d->sampling, .n_predict = d->n_predict, .n = 1};
    q->sampling.bias = NULL;
    q->sampling.n_bias = 0;
}

void request_free(sv_request *q) {
    json_decref(q->messages);
    json_decref(q->tools);
    json_decref(q->extra);
    json_decref(q->prompts);
    for (size_t i = 0; i < q->n_stops; i++)
        free(q->stops[i]);
    free(q->stops);
    free(q->rules_text);
    free((void *)q->sampling.bias);
    *q = (sv_request){0};
}

static kv_status no_memory(kv_err *err) {
    return kv_fail(err, KV_ENOMEM, "out of memory for a request");
}

/* ---- values ---- */

static const char *type_name(json_type t) {
    static const char *const names[] = {"an object", "an array",  "a string",  "a whole number",
                                        "a number",  "a boolean", "a boolean", "null"};
    return names[t];
}

const json_t *take_some(const json_t *o, const char *key) {
    const json_t *v = json_object_get(o, key);
    return json_is_null(v) ? NULL : v;
}

kv_status take_kind(const json_t *o, const char *key, json_type type, const json_t **out, kv_err *err) {
    *out = take_some(o, key);
    if (*out && json_typeof(*out) != type)
        return kv_fail(err, KV_EINVAL, "%s: must be %s, not %s", key, type_name(type), type_name(json_typeof(*out)));
    return KV_OK;
}

kv_status take_bool(const json_t *o, const char *key, bool *dst, kv_err *err) {
    const json_t *v = take_some(o, key);
    if (v && !json_is_boolean(v))
        return kv_fail(err, KV_EINVAL, "%s: must be true or false, not %s", key, type_name(json_typeof(v)));
    if (v)
        *dst = json_is_true(v);
    return KV_OK;
}

static kv_status take_real(const json_t *o, const char *key, double min, double max, bool whole, double *dst, kv_err *err) {
    const json_t *v = take_some(o, key);
    if (!v)
        return KV_OK;
    const double x = json_number_value(v);
    if (!json_is_number(v) || (whole && floor(x) != x))
        return kv_fail(err, KV_EINVAL, "%s: must be a %snumber", key, whole ? "whole " : "");
    if (!(x >= min && x <= max))
        return kv_fail(err, KV_EINVAL, "%s: %g is not between %g and %g", key, x, min, max);
    *dst = x;
    return KV_OK;
}

kv_status take_int(const json_t *o, const char *key, int64_t min, int64_t max, int64_t *dst, kv_err *err) {
    double x = (double)*dst;
    if (json_is_integer(json_object_get(o, key))) { /* no detour by way of a double */
        const int64_t i = json_integer_value(json_object_get(o, key));
        if (i < min || i > max)
            return kv_fail(err, KV_EINVAL, "%s: %lld is not between %lld and %lld", key, (long long)i, (long long)min,
                           (long long)max);
        *dst = i;
        return KV_OK;
    }
    if (!take_some(o, key))
        return KV_OK;
    kv_status st = take_real(o, key, (double)min, (double)max, true, &x, err);
    if (!st)
        *dst = x >= 0x1p62 ? max : x <= -0x1p62 ? min : (int64_t)x;
    return st;
}

kv_status take_name(const json_t *o, const char *key, char dst[SV_NAME], kv_err *err) {
    const json_t *v;
    kv_status st = take_kind(o, key, JSON_STRING, &v, err);
    if (st || !v)
        return st;
    if (json_string_length(v) >= SV_NAME)
        return kv_fail(err, KV_EINVAL, "%s: a name of more than %d bytes", key, SV_NAME - 1);
    memcpy(dst, json_string_value(v), json_string_length(v) + 1);
    return KV_OK;
}

/* ---- the sampler ---- */

/* Numbers by name; several names of one field are told in turn. */
static const struct number {
    const char *key;
    size_t at;
    bool whole; /* the field is an int64_t */
    double min, max;
} numbers[] = {
#define REAL(key, field, min, max)                                                                                             \
    { key, offsetof(rt_sampling, field), false, min, max }
#define WHOLE(key, field, min, max)                                                                                            \
    { key, offsetof(rt_sampling, field), true, min, max }
    REAL("temperature", temp, 0, 100),
    WHOLE("top_k", top_k, -1, 1 << 30),
    REAL("top_p", top_p, 0, 1),
    REAL("min_p", min_p, 0, 1),
    REAL("typical_p", typical_p, 0, 1),
    REAL("top_n_sigma", top_n_sigma, -1, 100),
    REAL("dynatemp_range", dynatemp_range, 0, 100),
    REAL("dynatemp_exponent", dynatemp_exponent, 0, 100),
    REAL("xtc_probability", xtc_probability, 0, 1),
    REAL("xtc_threshold", xtc_threshold, 0, 1),
    WHOLE("repeat_last_n", repeat_last_n, -1, 1 << 30),
    REAL("repeat_penalty", repeat_penalty, 0, 100),
    REAL("repetition_penalty", repeat_penalty, 0, 100),
    REAL("presence_penalty", presence_penalty, -100, 100),
    REAL("frequency_penalty", frequency_penalty, -100, 100),
    REAL("dry_multiplier", dry_multiplier, 0, 100),
    REAL("dry_base", dry_base, 1, 100),
    WHOLE("dry_allowed_length", dry_allowed_length, 0, 1 << 30),
    WHOLE("dry_penalty_last_n", dry_penalty_last_n, -1, 1 << 30),
    WHOLE("mirostat", mirostat, 0, 2),
    REAL("mirostat_tau", mirostat_tau, 0, 100),
    REAL("mirostat_eta", mirostat_eta, 0, 100),
#undef REAL
#undef WHOLE
};

/* A bias of -100 and less is never, as OpenAI has it. */
static kv_status one_bias(rt_logit_bias *to, const char *id, const json_t *id_value, const json_t *bias, kv_err *err) {
    char *end = NULL;
    const long long n = id ? strtoll(id, &end, 10) : json_integer_value(id_value);
    if (id ? !*id || *end : !json_is_integer(id_value))
        return kv_fail(err, KV_EINVAL, "logit_bias: '%s' is no token id", id ? id : "?");
    if (n < 0 || n > INT32_MAX)
        return kv_fail(err, KV_EINVAL, "logit_bias: the model has no token %lld", n);
    if (!json_is_number(bias) && !json_is_false(bias))
        return kv_fail(err, KV_EINVAL, "logit_bias: the bias of token %lld is no number", n);
    const double x = json_is_false(bias) ? -100 : json_number_value(bias);
    *to = (rt_logit_bias){(int32_t)n, x <= -100 ? -INFINITY : (float)fmin(x, 1e6)};
    return KV_OK;
}

static kv_status take_bias(sv_request *q, const json_t *o, kv_err *err) {
    enum { MOST = 4096 };
    json_t *b = (json_t *)take_some(o, "logit_bias"), *v;
    const size_t n = json_is_object(b) ? json_object_size(b) : json_array_size(b);
    kv_status st = KV_OK;
    const char *key;
    size_t i;
    if (!b || !n)
        return KV_OK;
    if (n > MOST)
        return kv_fail(err, KV_EINVAL, "logit_bias: more than %d tokens", MOST);
    rt_logit_bias *bias = calloc(n, sizeof *bias);
    if (!bias)
        return no_memory(err);
    free((void *)q->sampling.bias);
    q->sampling.bias = bias;
    q->sampling.n_bias = 0;
    if (json_is_object(b)) {
        json_object_foreach(b, key, v) {
            if (!st)
                st = one_bias(&bias[q->sampling.n_bias++], key, NULL, v, err);
        }
        return st;
    }
    if (!json_is_array(b))
        return kv_fail(err, KV_EINVAL, "logit_bias: must be an object of token ids");
    json_array_foreach(b, i, v) {
        if (!st)
            st = one_bias(&bias[q->sampling.n_bias++], NULL, json_array_get(v, 0), json_array_get(v, 1), err);
    }
    return st;
}

kv_status request_sampling(sv_request *q, const json_t *o, kv_err *err) {
    kv_status st = KV_OK;
    int64_t seed = -1;
    for (size_t i = 0; !st && i < sizeof numbers / sizeof *numbers; i++) {
        void *field = (char *)&q->sampling + numbers[i].at;
        double x = numbers[i].whole ? (double)*(int64_t *)field : *(double *)field;
        if (take_some(o, numbers[i].key) &&
            !(st = take_real(o, numbers[i].key, numbers[i].min, numbers[i].max, numbers[i].whole, &x, err))) {
            if (numbers[i].whole)
                *(int64_t *)field = (int64_t)x;
            else
                *(double *)field = x;
        }
    }
    if (st || (st = take_int(o, "seed", INT64_MIN, INT64_MAX, &seed, err)) ||
        (st = take_bool(o, "ignore_eos", &q->sampling.ignore_eos, err)))
        return st;
    if (take_some(o, "seed") && seed != -1) {
        q->sampling.seed = (uint64_t)seed;
        q->seeded = true;
    }
    return take_bias(q, o, err);
}

/* ---- stops and forms ---- */

static kv_status one_stop(sv_request *q, const char *key, const json_t *v, kv_err *err) {
    if (!json_is_string(v))
        return kv_fail(err, KV_EINVAL, "%s: must be a string or a list of strings", key);
    if (!json_string_length(v)) /* would stop at once: clients mean none */
        return KV_OK;
    char *s = strdup(json_string_value(v));
    if (!s)
        return no_memory(err);
    q->stops[q->n_stops++] = s;
    return KV_OK;
}

kv_status request_stops(sv_request *q, const json_t *o, const char *key, kv_err *err) {
    const json_t *v = take_some(o, key);
    const size_t n = json_is_array(v) ? json_array_size(v) : 1;
    kv_status st = KV_OK;
    if (!v)
        return KV_OK;
    if (n > SV_MOST_STOPS)
        return kv_fail(err, KV_EINVAL, "%s: more than %d of them", key, SV_MOST_STOPS);
    if (!q->stops && !(q->stops = calloc(SV_MOST_STOPS, sizeof *q->stops)))
        return no_memory(err);
    while (q->n_stops)
        free(q->stops[--q->n_stops]);
    for (size_t i = 0; !st && i < n; i++)
        st = one_stop(q, key, json_is_array(v) ? json_array_get(v, i) : v, err);
    return st;
}

kv_status request_rules(sv_request *q, sv_rules kind, const json_t *j, kv_err *err) {
    free(q->rules_text);
    q->rules_text = NULL;
    q->rules = kind;
    if (kind == SV_RULES_SCHEMA)
        q->rules_text = json_dumps(j, JSON_COMPACT | JSON_ENCODE_ANY);
    else if (kind == SV_RULES_GRAMMAR)
        q->rules_text = strdup(json_string_value(j));
    else
        return KV_OK;
    return q->rules_text ? KV_OK : no_memory(err);
}

static kv_status take_response_format(sv_request *q, const json_t *f, kv_err *err) {
    const json_t *wrap = take_some(f, "json_schema"), *schema = take_some(json_is_object(wrap) ? wrap : f, "schema");
    const char *type = json_string_value(json_object_get(f, "type"));
    if (!json_is_object(f) || !type)
        return kv_fail(err, KV_EINVAL, "response_format: must be an object with a type");
    if (!strcmp(type, "text"))
        return KV_OK;
    if (!strcmp(type, "json_object"))
        return request_rules(q, schema ? SV_RULES_SCHEMA : SV_RULES_JSON, schema, err);
    if (strcmp(type, "json_schema"))
        return kv_fail(err, KV_EINVAL, "response_format.type: '%.40s' is none of text, json_object and json_schema", type);
    if (!schema)
        return kv_fail(err, KV_EINVAL, "response_format.json_schema: there is no schema in it");
    return request_rules(q, SV_RULES_SCHEMA, schema, err);
}

kv_status request_format(sv_request *q, const json_t *o, kv_err *err) {
    const json_t *f = take_some(o, "response_format"), *schema = take_some(o, "json_schema"), *gbnf;
    kv_status st = take_kind(o, "grammar", JSON_STRING, &gbnf, err);
    if (st || (f && (st = take_response_format(q, f, err))))
        return st;
    if ((q->rules != SV_RULES_NONE) + (schema != NULL) + (gbnf && json_string_length(gbnf)) > 1)
        return kv_fail(err, KV_EINVAL, "grammar: response_format, json_schema and grammar: only one of them");
    if (schema)
        return request_rules(q, SV_RULES_SCHEMA, schema, err);
    return gbnf && json_string_length(gbnf) ? request_rules(q, SV_RULES_GRAMMAR, gbnf, err) : KV_OK;
}

/* ---- prompts ---- */

static bool are_ids(const json_t *v) {
    for (size_t i = 0; i < json_array_size(v); i++) {
        const json_t *id = json_array_get(v, i);
        if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) > INT32_MAX)
            return false;
    }
    return json_array_size(v) > 0;
}

kv_status request_prompts(sv_request *q, const json_t *o, const char *key, kv_err *err) {
    json_t *v = (json_t *)take_some(o, key);
    if (!v)
        return kv_fail(err, KV_EINVAL, "%s: is missing", key);
    q->single = json_is_string(v) || are_ids(v);
    if (q->single) {
        q->prompts = json_pack("[O]", v);
        return q->prompts ? KV_OK : no_memory(err);
    }
    if (!json_array_size(v))
        return kv_fail(err, KV_EINVAL, "%s: must be a string, a list of token ids, or a list of these", key);
    if (json_array_size(v) > SV_MOST_PROMPTS)
        return kv_fail(err, KV_EINVAL, "%s: more than %d texts at once", key, SV_MOST_PROMPTS);
    for (size_t i = 0; i < json_array_size(v); i++)
        if (!json_is_string(json_array_get(v, i)) && !are_ids(json_array_get(v, i)))
            return kv_fail(err, KV_EINVAL, "%s[%zu]: is neither a text nor a list of token ids", key, i);
    q->prompts = json_incref(v);
    return KV_OK;
}

kv_status request_parallel(sv_request *q, const json_t *o, kv_err *err) {
    bool parallel = true;
    kv_status st = take_bool(o, "parallel_tool_calls", &parallel, err);
    q->one_call = !parallel;
    return st;
}

kv_status request_extra(sv_request *q, const char *key, json_t *value, kv_err *err) {
    if (!q->extra)
        q->extra = json_object();
    return json_object_set_new(q->extra, key, value) ? no_memory(err) : KV_OK;
}

kv_status request_own(sv_request *q, const json_t *o, kv_err *err) {
    const json_t *extra;
    kv_status st = take_name(o, "kv_context", q->context, err);
    if (st || (st = take_kind(o, "chat_template_kwargs", JSON_OBJECT, &extra, err)) || !extra)
        return st;
    if (!q->extra)
        q->extra = json_object();
    return json_object_update(q->extra, (json_t *)extra) ? no_memory(err) : KV_OK;
}
