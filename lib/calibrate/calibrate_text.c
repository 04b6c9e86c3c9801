/* Text -> tokens -> chunks. Files are tokenised one by one and joined; chunks are consecutive pieces of ctx tokens.
 *
 * Where there are more chunks than wanted, the text is cut into as many equal parts as chunks are wanted and the seed chooses
 * one chunk of each: spread over the whole text, which changes subject as it goes, yet different for every seed.
 */
#include "calibrate/calibrate_text.h"

#include "base/splitmix64.h"
#include "base/text.h"
#include "corpus.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

enum {
    MAX_TEXT = 1 << 30,
    HELD_PERCENT = 15,
    RECALL_CTX = 2048, /* shorter chunks leave no room between a passage and the questions about it */
    CTX_LEAST = 64,
    OWN_CHUNKS = 8 /* of a text of one's own, where chunks may be as short as that takes */
};

typedef struct ids {
    int32_t *v;
    size_t n;
} ids;

/* Append the tokens of one text. */
static kv_status append(const tok *t, const calibrate_cfg *cfg, const char *text, size_t len, XXH3_state_t *hash, ids *to,
                        kv_err *err) {
    int32_t *v = NULL;
    size_t n = 0;
    kv_status st = tok_encode(t, text, len, cfg->parse_special ? TOK_SPECIAL : 0, &v, &n, err);
    if (st)
        return st;
    int32_t *grown = realloc(to->v, (to->n + n + 1) * sizeof *grown);
    if (grown) {
        memcpy(grown + to->n, v, n * sizeof *v);
        *to = (ids){grown, to->n + n};
    } else
        st = kv_fail(err, KV_ENOMEM, "out of memory for %zu tokens of text", to->n + n);
    XXH3_128bits_update(hash, text, len);
    free(v);
    return st;
}

static kv_status append_file(const tok *t, const calibrate_cfg *cfg, const char *path, XXH3_state_t *hash, ids *to,
                             kv_err *err) {
    char *text = NULL;
    size_t len = 0;
    kv_status st = text_read(path, MAX_TEXT, &text, &len, err);
    if (!st)
        st = append(t, cfg, text, len, hash, to, err);
    free(text);
    return st;
}

/* `want` of the `have` chunks at `from`, one from each of `want` equal parts: copied to *out. As when measuring perplexity, BOS
 * replaces the first token of a chunk where the model wants one. */
static kv_status pick(const tok *t, const int32_t *from, size_t have, uint32_t want, uint32_t ctx, uint64_t seed, int32_t **out,
                      kv_err *err) {
    *out = malloc((size_t)want * ctx * sizeof **out);
    if (!*out)
        return kv_fail(err, KV_ENOMEM, "out of memory for %u chunks of %u tokens", want, ctx);
    for (uint32_t i = 0; i < want; i++) {
        size_t lo = i * have / want, hi = (i + 1) * have / want; /* never empty, as want <= have */
        size_t at = lo + splitmix64(&seed) % (hi - lo);
        memcpy(*out + (size_t)i * ctx, from + at * ctx, ctx * sizeof **out);
        if (tok_add_bos(t) && tok_bos(t) >= 0)
            (*out)[(size_t)i * ctx] = tok_bos(t);
    }
    return KV_OK;
}

static uint32_t chunks_for(uint32_t tokens, uint32_t ctx, size_t have) {
    size_t want = (tokens + ctx - 1) / ctx;
    return (uint32_t)(want < have ? want : have);
}

/* Choose chunks of fit[0..n_fit) and held[0..n_held) tokens. */
static kv_status choose(const tok *t, const calibrate_cfg *cfg, ids fit, ids held, calibrate_text *out, kv_err *err) {
    const uint32_t ctx = out->ctx;
    size_t have = fit.n / ctx, have_held = held.n / ctx;
    if (cfg->chunks > have)
        return kv_fail(err, KV_ERANGE, "%s has %zu chunks of %u tokens to fit on, not the %u that were asked for", out->name,
                       have, ctx, cfg->chunks);
    out->n_fit = cfg->chunks ? cfg->chunks : chunks_for(CALIBRATE_TOKENS, ctx, have);
    out->n_held = chunks_for(CALIBRATE_MEASURED, ctx, have_held);
    kv_status st = pick(t, fit.v, have, out->n_fit, ctx, cfg->seed, &out->fit, err);
    return st ? st : pick(t, held.v, have_held, out->n_held, ctx, 0, &out->held, err);
}

/* ---- passages and questions about them ---- */

/* Write a text over the beginning or the end of `room` tokens, where it fits. */
static kv_status overwrite(const tok *t, const char *text, size_t len, XXH3_state_t *hash, int32_t *at, size_t room,
                           bool at_end, kv_err *err) {
    ids got = {0};
    kv_status st = append(t, &(calibrate_cfg){0}, text, len, hash, &got, err);
    if (!st && got.n <= room)
        memcpy(at_end ? at + room - got.n : at, got.v, got.n * sizeof *at);
    free(got.v);
    return st;
}

/* Chunk i begins with a passage and ends with the questions about it. */
static kv_status add_recall(const tok *t, XXH3_state_t *hash, calibrate_text *text, kv_err *err) {
    const size_t from = tok_add_bos(t) && tok_bos(t) >= 0, room = (text->ctx - from) / 2;
    size_t n_texts = 0;
    kv_status st = KV_OK;
    while (cal_corpus_recall(n_texts))
        n_texts++;
    for (uint32_t i = 0; !st && i < text->n_fit; i++) {
        /* NOLINTNEXTLINE(clang-analyzer-core.DivideZero): the corpus has such texts */
        const char *passage = cal_corpus_recall(i % n_texts), *rule = strstr(passage, CAL_CORPUS_ASKS);
        const char *asks = rule + strlen(CAL_CORPUS_ASKS);
        int32_t *chunk = text->fit + (size_t)i * text->ctx;
        if (!(st = overwrite(t, passage, (size_t)(rule + 1 - passage), hash, chunk + from, room, false, err)))
            st = overwrite(t, asks, strlen(asks), hash, chunk + text->ctx - room, room, true, err);
    }
    return st;
}

static kv_status load_built_in(const tok *t, const calibrate_cfg *cfg, XXH3_state_t *hash, calibrate_text *out, kv_err *err) {
    ids fit = {0}, held = {0};
    size_t len;
    const char *text = cal_corpus_fit(&len);
    snprintf(out->name, sizeof out->name, "built-in text");
    kv_status st = append(t, cfg, text, len, hash, &fit, err);
    if (st)
        goto done;
    text = cal_corpus_heldout(&len);
    if ((st = append(t, cfg, text, len, hash, &held, err)))
        goto done;
    if (fit.n < out->ctx || held.n < out->ctx)
        st = kv_fail(err, KV_ERANGE,
                     "the built-in text has %zu tokens to fit on and %zu to measure on; chunks of %u need more: take shorter "
                     "ones or a text of your own",
                     fit.n, held.n, out->ctx);
    else
        st = choose(t, cfg, fit, held, out, err);
    if (!st && out->ctx >= RECALL_CTX)
        st = add_recall(t, hash, out, err);
done:
    free(fit.v);
    free(held.v);
    return st;
}

/* Choose from the tokens of a whole text, the end of which is held out. */
static kv_status split(const tok *t, const calibrate_cfg *cfg, ids all, calibrate_text *out, kv_err *err) {
    while (!cfg->ctx && out->ctx > CTX_LEAST && all.n < OWN_CHUNKS * (size_t)out->ctx)
        out->ctx /= 2;
    const size_t chunks = all.n / out->ctx, held = (chunks * HELD_PERCENT + 50) / 100;
    if (chunks < 2)
        return kv_fail(
            err, KV_ERANGE,
            "%s has %zu tokens; %zu are needed, a chunk of %u to fit on and one to measure on: give more text or take "
            "shorter chunks",
            out->name, all.n, 2 * (size_t)out->ctx, out->ctx);
    const size_t fit = (chunks - (held ? held : 1)) * out->ctx;
    return choose(t, cfg, (ids){all.v, fit}, (ids){all.v + fit, chunks * out->ctx - fit}, out, err);
}

static kv_status load_text(const tok *t, const calibrate_cfg *cfg, XXH3_state_t *hash, calibrate_text *out, kv_err *err) {
    ids all = {0};
    snprintf(out->name, sizeof out->name, "text given");
    kv_status st = append(t, cfg, cfg->text, cfg->text_len, hash, &all, err);
    if (!st)
        st = split(t, cfg, all, out, err);
    free(all.v);
    return st;
}

static kv_status load_files(const tok *t, const calibrate_cfg *cfg, XXH3_state_t *hash, calibrate_text *out, kv_err *err) {
    ids all = {0};
    kv_status st = KV_OK;
    const char *slash = strrchr(cfg->texts[0], '/'), *base = slash ? slash + 1 : cfg->texts[0];
    snprintf(out->name, sizeof out->name, cfg->n_texts > 1 ? "%.40s and %zu more" : "%.60s", base, cfg->n_texts - 1);
    for (size_t i = 0; i < cfg->n_texts && !st; i++)
        st = append_file(t, cfg, cfg->texts[i], hash, &all, err);
    if (!st)
        st = split(t, cfg, all, out, err);
    free(all.v);
    return st;
}

kv_status calibrate_text_load(const tok *t, const calibrate_cfg *cfg, uint32_t most, calibrate_text *out, kv_err *err) {
    *out = (calibrate_text){.ctx = cfg->ctx ? cfg->ctx : CALIBRATE_CTX};
    while (!cfg->ctx && out->ctx > most)
        out->ctx /= 2;
    XXH3_state_t *hash = XXH3_createState();
    if (!hash)
        return kv_fail(err, KV_ENOMEM, "out of memory");
    XXH3_128bits_reset(hash);
    kv_status st = (cfg->n_texts ? load_files : cfg->text ? load_text : load_built_in)(t, cfg, hash, out, err);
    XXH128_hash_t h = XXH3_128bits_digest(hash);
    snprintf(out->hash, sizeof out->hash, "%016" PRIx64 "%016" PRIx64, h.high64, h.low64);
    XXH3_freeState(hash);
    return st;
}

void calibrate_text_free(calibrate_text *t) {
    free(t->fit);
    free(t->held);
    *t = (calibrate_text){0};
}
