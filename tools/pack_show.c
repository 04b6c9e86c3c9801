#include "pack_show.h"

#include "cli.h"

#include <stdio.h>
#include <string.h>

#include <jansson.h>

enum { FIRST_SIZE = 4096, LAST_SIZE = 128 * 1024, DIGITS = 9 };

double pack_token_bytes(const prof *p, const pack_shape *shape, bool f16) {
    double bits = 0;
    for (uint32_t l = 0; l < shape->n_layer; l++)
        for (uint32_t h = 0; h < shape->n_kv_head; h++)
            bits += f16 ? 16 + 16 : (double)prof_head_k(p, l, h).bits + (double)prof_head_v(p, l, h).bits;
    return bits / 8 * shape->head_dim;
}

/* A cache of n tokens: sinks and window in f16, the others encoded. */
static double cache_bytes(const prof *p, const pack_shape *shape, uint32_t n) {
    uint32_t exact = p->sinks + p->window < n ? p->sinks + p->window : n;
    return exact * pack_token_bytes(p, shape, true) + (n - exact) * pack_token_bytes(p, shape, false);
}

static bool known(const pack_shape *shape) {
    return shape->n_layer && shape->n_kv_head && shape->head_dim;
}

static uint32_t shown_layers(const prof *p) {
    return p->layers ? p->n_layer : 0;
}

/* ---- text ---- */

static void show_identity(const prof *p, const char *where) {
    printf("%s\n", where);
    if (p->model_name[0] || p->model_hash[0])
        printf("model     %s (%s), hash %s\n", p->model_name[0] ? p->model_name : "unnamed", p->arch[0] ? p->arch : "?",
               p->model_hash[0] ? p->model_hash : "none");
    else
        printf("model     any\n");
    if (p->n_layer && p->n_head)
        printf("shape     %u layers, %u heads, %u KV heads of %u\n", p->n_layer, p->n_head, p->n_kv_head, p->head_dim);
    if (p->calib_tokens)
        printf("made      by kvcalib %s from %u tokens in chunks of %u (text %.8s), target %g bits, seed %llu\n",
               p->tool_version, p->calib_tokens, p->calib_ctx, p->text_hash, p->target_bits, (unsigned long long)p->seed);
    else
        printf("made      by hand\n");
    printf("policy    the first %u and the newest %u tokens stay f16, the others are encoded\n", p->sinks, p->window);
    if (!p->layers)
        printf("codecs    K %s (%g bits), V %s (%g bits) in every layer\n", kv_codec_names[p->default_k].name,
               (double)prof_head_k(p, 0, 0).bits, kv_codec_names[p->default_v].name, (double)prof_head_v(p, 0, 0).bits);
}

static void show_measured(const prof *p) {
    if (!p->n_measured)
        printf("measured  nothing (kveval ppl measures)\n");
    for (uint32_t i = 0; i < p->n_measured; i++) {
        const prof_measured *m = &p->measured[i];
        printf("measured  KLD %.5f +- %.5f, perplexity %+.2f %%, same top token %.1f %%; K %.2f, V %.2f bits\n", m->kld,
               m->kld_se, m->dppl_percent, m->top1, m->bits_k, m->bits_v);
        printf("          on %u tokens, context %u, %s\n", m->tokens, m->ctx, m->text);
    }
}

static void show_layers(const prof *p) {
    if (!shown_layers(p))
        return;
    printf("\nlayer  K           V           entropy, bits      budget\n");
    for (uint32_t i = 0; i < p->n_layer; i++) {
        const prof_layer *l = &p->layers[i];
        printf("%5u  %-5s%5.2f  %-5s%5.2f", i, kv_codec_names[l->k.codec].name, (double)l->k.bits,
               kv_codec_names[l->v.codec].name, (double)l->v.bits);
        if (l->entropy) {
            float least = l->entropy[0], most = l->entropy[0];
            double sum = 0;
            for (uint32_t h = 0; h < p->n_head; h++) {
                least = l->entropy[h] < least ? l->entropy[h] : least;
                most = l->entropy[h] > most ? l->entropy[h] : most;
                sum += (double)l->entropy[h];
            }
            printf("  %5.2f (%.2f..%.2f)", sum / p->n_head, (double)least, (double)most);
        }
        if (l->budget)
            printf("%*u", l->entropy ? 8 : 27, l->budget);
        putchar('\n');
    }
    printf("entropy: mean over heads (least..most); budget: PyramidKV advice in tokens, not applied\n");
}

static void show_sizes(const prof *p, const pack_shape *shape) {
    if (!known(shape))
        return;
    const double now = pack_token_bytes(p, shape, false), f16 = pack_token_bytes(p, shape, true);
    char a[24], b[24];
    printf("\nan encoded token takes %.0f bytes, in f16 %.0f: %.2f times smaller\n\n", now, f16, f16 / now);
    printf("tokens          f16  this profile\n");
    for (uint32_t n = FIRST_SIZE; n <= LAST_SIZE; n *= 2)
        printf("%5uK  %11s  %12s\n", n / 1024, cli_bytes(n * f16, a), cli_bytes(cache_bytes(p, shape, n), b));
    if (shape->sliding_window)
        printf("some layers slide over %u tokens and hold no more than that: the whole takes less, in f16 too\n",
               shape->sliding_window);
}

kv_status pack_show_text(const prof *p, const pack_shape *shape, const char *where, kv_err *err) {
    show_identity(p, where);
    show_measured(p);
    show_layers(p);
    show_sizes(p, shape);
    return fflush(stdout) ? kv_fail(err, KV_EIO, "cannot write to stdout") : KV_OK;
}

/* ---- JSON ---- */

static json_t *text_or_null(const char *s) {
    return *s ? json_string(s) : json_null();
}

static json_t *floats(const float *v, uint32_t n) {
    json_t *list = json_array();
    for (uint32_t i = 0; v && i < n; i++)
        json_array_append_new(list, json_real((double)v[i]));
    return list;
}

static json_t *json_kv(prof_head kv) {
    return json_pack("{s:s, s:f}", "codec", kv_codec_names[kv.codec].name, "bits", (double)kv.bits);
}

static json_t *json_measured(const prof *p) {
    json_t *list = json_array();
    for (uint32_t i = 0; i < p->n_measured; i++) {
        const prof_measured *m = &p->measured[i];
        json_array_append_new(list, json_pack("{s:s, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "text", m->text, "ctx",
                                              (json_int_t)m->ctx, "tokens", (json_int_t)m->tokens, "kld", m->kld, "kld_se",
                                              m->kld_se, "dppl_percent", m->dppl_percent, "top1", m->top1, "bits_k", m->bits_k,
                                              "bits_v", m->bits_v, "bytes_per_token", m->bytes_per_token, "f16_bytes_per_token",
                                              m->f16_bytes_per_token));
    }
    return list;
}

static json_t *json_layers(const prof *p) {
    json_t *list = json_array();
    for (uint32_t i = 0; i < shown_layers(p); i++)
        json_array_append_new(list, json_pack("{s:o, s:o, s:o, s:o, s:I}", "k", json_kv(prof_head_k(p, i, 0)), "v",
                                              json_kv(prof_head_v(p, i, 0)), "entropy", floats(p->layers[i].entropy, p->n_head),
                                              "importance", floats(p->layers[i].importance, p->n_kv_head), "budget",
                                              (json_int_t)p->layers[i].budget));
    return list;
}

static json_t *json_token_bytes(const prof *p, const pack_shape *shape, bool f16) {
    return known(shape) ? json_real(pack_token_bytes(p, shape, f16)) : json_null();
}

static json_t *json_sizes(const prof *p, const pack_shape *shape) {
    json_t *list = json_array();
    for (uint32_t n = FIRST_SIZE; known(shape) && n <= LAST_SIZE; n *= 2)
        json_array_append_new(list, json_pack("{s:i, s:f, s:f}", "tokens", (int)n, "f16_bytes",
                                              n * pack_token_bytes(p, shape, true), "bytes", cache_bytes(p, shape, n)));
    return list;
}

kv_status pack_show_json(const prof *p, const pack_shape *shape, const char *where, kv_err *err) {
    json_t *model = json_pack("{s:o, s:o, s:o, s:i, s:i, s:i, s:i}", "hash", text_or_null(p->model_hash), "name",
                              text_or_null(p->model_name), "arch", text_or_null(p->arch), "layers", (int)shape->n_layer,
                              "heads", (int)p->n_head, "kv_heads", (int)shape->n_kv_head, "head_dim", (int)shape->head_dim);
    json_t *made =
        json_pack("{s:o, s:o, s:I, s:I, s:I, s:I, s:f}", "tool", text_or_null(p->tool_version), "text",
                  text_or_null(p->text_hash), "tokens", (json_int_t)p->calib_tokens, "ctx", (json_int_t)p->calib_ctx,
                  "entropy_sinks", (json_int_t)p->entropy_sinks, "seed", (json_int_t)p->seed, "target_bits", p->target_bits);
    json_t *policy = json_pack("{s:i, s:i}", "sinks", (int)p->sinks, "window", (int)p->window);
    if (!p->layers) {
        json_object_set_new(policy, "k", json_kv(prof_head_k(p, 0, 0)));
        json_object_set_new(policy, "v", json_kv(prof_head_v(p, 0, 0)));
    }
    json_t *all = json_pack("{s:s, s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "file", where, "version", PROF_VERSION,
                            "model", model, "made", made, "policy", policy, "measured", json_measured(p), "layers",
                            json_layers(p), "bytes_per_token", json_token_bytes(p, shape, false), "f16_bytes_per_token",
                            json_token_bytes(p, shape, true), "cache", json_sizes(p, shape));
    if (!all)
        return kv_fail(err, KV_EFORMAT, "%s: cannot be shown as JSON (is its path UTF-8?)", where);
    int failed =
        json_dumpf(all, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(DIGITS)) || putchar('\n') == EOF || fflush(stdout);
    json_decref(all);
    return failed ? kv_fail(err, KV_EIO, "cannot write to stdout") : KV_OK;
}
