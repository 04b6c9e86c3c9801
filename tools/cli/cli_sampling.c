#include "cli/cli_sampling.h"

#include "base/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* "15043+1", "15043-inf" */
static bool take_bias(const char *s, rt_logit_bias *out) {
    char *sign, *end;
    const long id = strtol(s, &sign, 10);
    if (sign == s || id < 0 || id > INT32_MAX || (*sign != '+' && *sign != '-') || strchr("+- \t", sign[1]))
        return false;
    *out = (rt_logit_bias){(int32_t)id, strtof(sign, &end)};
    return end != sign && !*end && !isnan(out->bias);
}

static kv_status take_biases(cli_sampling *c, kv_err *err) {
    if (!c->bias.n)
        return KV_OK;
    if (!(c->biases = calloc(c->bias.n, sizeof *c->biases)))
        return kv_fail(err, KV_ENOMEM, "out of memory for --logit-bias");
    for (size_t i = 0; i < c->bias.n; i++)
        if (!take_bias(c->bias.v[i], &c->biases[i]))
            return kv_fail(err, KV_EINVAL,
                           "--logit-bias: '%s' is not the number of a token, a sign and by how much, such as 15043+1",
                           c->bias.v[i]);
    c->how.bias = c->biases;
    c->how.n_bias = c->bias.n;
    return KV_OK;
}

static void free_texts(cli_sampling *c) {
    while (c->n_texts)
        free(c->texts[--c->n_texts]);
}

static kv_status take_breakers(cli_sampling *c, bool plain, kv_err *err) {
    if (!c->breakers.n)
        return KV_OK;
    if (!(c->texts = calloc(c->breakers.n, sizeof *c->texts)))
        return kv_fail(err, KV_ENOMEM, "out of memory for --dry-sequence-breaker");
    for (size_t i = 0; i < c->breakers.n; i++) {
        kv_status st;
        if (!strcmp(c->breakers.v[i], "none")) { /* nor those before it */
            free_texts(c);
            continue;
        }
        char *text = c->texts[c->n_texts++] = strdup(c->breakers.v[i]);
        if (!text)
            return kv_fail(err, KV_ENOMEM, "out of memory for --dry-sequence-breaker");
        if (!plain && (st = text_unescape("--dry-sequence-breaker", text, err)))
            return st;
    }
    c->how.dry_breakers = (const char *const *)c->texts;
    c->how.n_dry_breakers = c->n_texts;
    return KV_OK;
}

kv_status cli_sampling_read(cli_sampling *c, bool plain, kv_err *err) {
    kv_status st;
    c->how.seed = c->seed >= 0 ? (uint64_t)c->seed : (uint64_t)time(NULL);
    if ((st = take_biases(c, err)) || (st = take_breakers(c, plain, err)))
        return st;
    return rt_sampling_check(&c->how, err);
}

void cli_sampling_free(cli_sampling *c) {
    free_texts(c);
    free(c->texts);
    free(c->biases);
    free(c->bias.v);
    free(c->breakers.v);
}
