/* Text into eval_run, figures out of it. */
#include "measure/eval_io.h"

#include "base/text.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>
#include <xxhash.h>

enum { MAX_TEXT = 1 << 30, MOST_DECIMALS = 7 };

void eval_hash(const void *data, size_t len, char out[33]) {
    XXH128_hash_t h = XXH3_128bits(data, len);
    snprintf(out, 33, "%016" PRIx64 "%016" PRIx64, (uint64_t)h.high64, (uint64_t)h.low64);
}

kv_status eval_text_load(const rt_model *m, const char *path, bool parse_special, eval_text *out, kv_err *err) {
    char *text = NULL;
    size_t len;
    *out = (eval_text){0};
    if (!path)
        return kv_fail(err, KV_EINVAL, "--text FILE is missing: which text to measure on");
    kv_status st = text_read(path, MAX_TEXT, &text, &len, err);
    if (!st && !len)
        st = kv_fail(err, KV_EFORMAT, "%s: there is no text in it", path);
    if (!st)
        st = tok_encode(rt_model_tok(m), text, len, TOK_BOS | (parse_special ? TOK_SPECIAL : 0u), &out->ids, &out->n, err);
    if (!st)
        eval_hash(text, len, out->hash);
    free(text);
    return st;
}

void eval_text_free(eval_text *t) {
    free(t->ids);
    *t = (eval_text){0};
}

void eval_figures(const eval_result *r, eval_figure out[EVAL_FIGURES]) {
    const eval_figure all[] = {
        {"kld", r->kld, false},
        {"kld_se", r->kld_se, false},
        {"kld_p50", r->kld_p50, false},
        {"kld_p90", r->kld_p90, false},
        {"kld_p99", r->kld_p99, false},
        {"kld_p99_9", r->kld_p999, false},
        {"kld_max", r->kld_max, false},
        {"top1", r->top1, false},
        {"ppl", r->ppl, false},
        {"ppl_se", r->ppl_se, false},
        {"ppl_base", r->ppl_base, false},
        {"ppl_base_se", r->ppl_base_se, false},
        {"dppl_percent", r->dppl_percent, false},
        {"dppl_se", r->dppl_se, false},
        {"bits_k", r->bits_k, false},
        {"bits_v", r->bits_v, false},
        {"kv_bytes", (double)r->kv_bytes, true},
        {"kv_bytes_f16", (double)r->kv_bytes_f16, true},
        {"held", r->held, false},
        {"budget_sinks", r->sinks, false},
        {"budget_newest", r->newest, false},
        {"budget_chosen", r->chosen, false},
        {"reads_percent", r->reads_percent, false},
        {"decode_tps", r->decode_tps, false},
        {"tokens", (double)r->tokens, true},
        {"chunks", (double)r->chunks, true},
        {"seconds", r->seconds, false},
    };
    _Static_assert(sizeof all / sizeof *all == EVAL_FIGURES, "EVAL_FIGURES counts these");
    memcpy(out, all, sizeof all);
}

/* JSON has no NaN. */
static json_t *number(const eval_figure *f) {
    return !isfinite(f->value) ? json_null() : f->count ? json_integer((json_int_t)f->value) : json_real(f->value);
}

bool eval_set_figures(json_t *object, const eval_result *r) {
    eval_figure f[EVAL_FIGURES];
    eval_figures(r, f);
    for (size_t i = 0; i < EVAL_FIGURES; i++)
        if (json_object_set_new(object, f[i].key, number(&f[i])))
            return false;
    return true;
}

char *eval_plus_minus(double mean, double se, bool sign, char buf[EVAL_PM]) {
    if (!isfinite(mean) || !isfinite(se) || se <= 0) {
        snprintf(buf, EVAL_PM, !isfinite(mean) ? "–" : sign ? "%+.3g" : "%.3g", mean);
        return buf;
    }
    /* Two digits of an error that begins with 1 or 2, else one. */
    const double power = floor(log10(se));
    const int decimals = (int)fmax(0, se / pow(10, power) < 3 ? 1 - power : -power);
    if (decimals > MOST_DECIMALS) {
        const int digits = (int)fmin(fmax(0, decimals + floor(log10(fmax(fabs(mean), se)))), MOST_DECIMALS);
        snprintf(buf, EVAL_PM, sign ? "%+.*e ± %.0e" : "%.*e ± %.0e", digits, mean, se);
    } else
        snprintf(buf, EVAL_PM, sign ? "%+.*f ± %.*f" : "%.*f ± %.*f", decimals, mean, decimals, se);
    return buf;
}

char *eval_utf8(const char *s) {
    static const char replacement[] = "\xef\xbf\xbd";
    const size_t len = strlen(s);
    char *out = malloc(3 * len + 1), *to = out;
    for (size_t at = 0; out && at < len;) {
        utf8proc_int32_t c;
        utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)s + at, (utf8proc_ssize_t)(len - at), &c);
        memcpy(to, n > 0 ? s + at : replacement, n > 0 ? (size_t)n : 3);
        to += n > 0 ? n : 3;
        at += n > 0 ? (size_t)n : 1;
    }
    if (out)
        *to = '\0';
    return out;
}
