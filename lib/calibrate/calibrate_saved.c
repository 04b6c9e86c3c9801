/* The file: a header, the bytes of the statistics (calib.h), and the XXH3-64 of all that.
 *
 * It is bound to what the statistics depend on: every byte of the model and every key that was set, the tokens of the text, the
 * options that the pass over it knows of, and the version. Threads and instruction sets are not among them.
 */
#include "calibrate/calibrate_saved.h"

#include "base/atomic_file.h"
#include "base/clock.h"
#include "calibrate/calibrate_budget.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <xxhash.h>

typedef struct header {
    char magic[8];
    char binding[32];
    calibrate_done done, all;
} header;
_Static_assert(sizeof(header) == 56, "as it lies in the file");

static const char magic[8] = "KVCAL\0\0\1";

/* Times as long as writing took must pass before it is done again: 1.7 % of the time. Where that would be long, a calibration
 * of a minute or two would never come to it: 5 % are allowed then. */
static const double CHEAP = 60, LEAST = 20, LONG = 15 /* seconds */;
static const double GUESS = 100e6; /* bytes that are written in a second, before any were */

/* ---- what it is bound to ---- */

static void bind_model(XXH3_state_t *hash, const gguf *g) {
    for (size_t i = 0; i < gguf_n_kv(g); i++) {
        const gguf_kv *kv = gguf_kv_at(g, i);
        XXH3_128bits_update(hash, kv->key.s, kv->key.len);
        XXH3_128bits_update(hash, kv->raw, kv->raw_bytes);
    }
    for (size_t i = 0; i < gguf_n_tensors(g); i++) {
        const gguf_tensor *t = gguf_tensor_at(g, i);
        XXH3_128bits_update(hash, t->name.s, t->name.len);
        XXH3_128bits_update(hash, t->dims, sizeof t->dims);
        XXH3_128bits_update(hash, t->data, t->nbytes);
        gguf_tensor_rest(t);
    }
}

static kv_status bind(calibrate_saved *s, const rt_model *m, const calibrate_cfg *cfg, const calibrate_text *text,
                      kv_err *err) {
    const uint64_t options[] = {cfg->ctx,   cfg->seed,   cfg->window,  cfg->sinks,
                                cfg->frame, text->n_fit, s->all.texts, rt_model_exec(m)->exact};
    XXH3_state_t *hash = XXH3_createState();
    if (!hash)
        return kv_fail(err, KV_ENOMEM, "out of memory");
    XXH3_128bits_reset(hash);
    XXH3_128bits_update(hash, KV_TOOL_VERSION, strlen(KV_TOOL_VERSION));
    bind_model(hash, rt_model_gguf(m));
    XXH3_128bits_update(hash, text->fit, (size_t)text->n_fit * text->ctx * sizeof *text->fit);
    XXH3_128bits_update(hash, options, sizeof options);
    XXH3_128bits_update(hash, cfg->narrower, cfg->n_narrower * sizeof *cfg->narrower);
    const XXH128_hash_t h = XXH3_128bits_digest(hash);
    XXH3_freeState(hash);
    snprintf(s->binding, sizeof s->binding, "%016" PRIx64 "%016" PRIx64, (uint64_t)h.high64, (uint64_t)h.low64);
    return gguf_unchanged(rt_model_gguf(m), err);
}

/* ---- reading and writing ---- */

typedef struct stream {
    FILE *f;
    XXH3_state_t *hash;
} stream;

static bool put(void *user, void *data, size_t n) {
    const stream *s = user;
    XXH3_64bits_update(s->hash, data, n);
    return fwrite(data, 1, n, s->f) == n;
}

static bool take(void *user, void *data, size_t n) {
    const stream *s = user;
    const bool good = fread(data, 1, n, s->f) == n;
    if (good)
        XXH3_64bits_update(s->hash, data, n);
    return good;
}

static bool count(void *user, void *data, size_t n) {
    (void)data;
    *(size_t *)user += n;
    return true;
}

static bool pass(const calibrate_sums *sums, cal_bytes *how, void *user) {
    for (size_t i = 0; i < PROF_MAX_WINDOWS && sums->stats[i]; i++)
        if (!cal_stats_pass(sums->stats[i], how, user))
            return false;
    return !sums->losses || cal_losses_pass(sums->losses, how, user);
}

static kv_status write_file(const calibrate_saved *s, calibrate_done done, const calibrate_sums *sums, kv_err *err) {
    header h = {.done = done, .all = s->all};
    atomic_file *file = NULL;
    stream to = {.hash = XXH3_createState()};
    kv_status st = to.hash ? atomic_file_open(s->keep.path, &file, err) : kv_fail(err, KV_ENOMEM, "out of memory");
    if (st)
        goto done;
    to.f = atomic_file_stream(file);
    memcpy(h.magic, magic, sizeof magic);
    memcpy(h.binding, s->binding, sizeof h.binding);
    XXH3_64bits_reset(to.hash);
    if (put(&to, &h, sizeof h) && pass(sums, put, &to)) {
        const uint64_t sum = XXH3_64bits_digest(to.hash);
        fwrite(&sum, 1, sizeof sum, to.f);
    }
    st = atomic_file_commit(file, err); /* says what could not be written */
done:
    XXH3_freeState(to.hash);
    return st;
}

static bool read_header(FILE *f, header *h) {
    return fread(h, 1, sizeof *h, f) == sizeof *h && !memcmp(h->magic, magic, sizeof magic);
}

bool calibrate_kept(const char *path, uint32_t *chunks, uint32_t *of) {
    header h;
    FILE *f = fopen(path, "rbe");
    const bool there = f && read_header(f, &h);
    if (f)
        fclose(f);
    if (!there)
        return false;
    *chunks = h.done.chunks + h.done.texts;
    *of = h.all.chunks + h.all.texts;
    return true;
}

/* From behind the header. */
static kv_status read_rest(const calibrate_saved *s, FILE *f, header *h, const calibrate_sums *sums, kv_err *err) {
    stream from = {f, XXH3_createState()};
    uint64_t sum;
    if (!from.hash)
        return kv_fail(err, KV_ENOMEM, "out of memory");
    XXH3_64bits_reset(from.hash);
    XXH3_64bits_update(from.hash, h, sizeof *h);
    const bool good = pass(sums, take, &from) && fread(&sum, 1, sizeof sum, f) == sizeof sum &&
                      sum == XXH3_64bits_digest(from.hash) && h->done.chunks <= s->all.chunks && h->done.texts <= s->all.texts;
    XXH3_freeState(from.hash);
    return good ? KV_OK
                : kv_fail(err, KV_EFORMAT, "%s: is damaged: remove it, or leave --resume out, to start anew", s->keep.path);
}

static kv_status read_file(calibrate_saved *s, const calibrate_sums *sums, kv_err *err) {
    header h;
    FILE *f = fopen(s->keep.path, "rbe");
    if (!f && errno == ENOENT)
        return KV_OK;
    if (!f)
        return kv_fail(err, KV_EIO, "%s: cannot open: %s", s->keep.path, strerror(errno));
    kv_status st = KV_OK;
    if (!read_header(f, &h))
        st = kv_fail(err, KV_EFORMAT, "%s: is no file of a calibration (a name that is taken by something else)", s->keep.path);
    else if (memcmp(h.binding, s->binding, sizeof h.binding))
        st = kv_fail(err, KV_EMISMATCH,
                     "%s: is of another model, text, option or version; start it as it was, or anew, without going on from it",
                     s->keep.path);
    else if (!(st = read_rest(s, f, &h, sums, err)))
        s->done = h.done;
    fclose(f);
    return st;
}

/* ---- when ---- */

static void note(const calibrate_saved *s, const char *sentence) {
    if (s->keep.note)
        s->keep.note(s->keep.user, sentence);
}

kv_status calibrate_saved_open(calibrate_saved *s, const rt_model *m, const calibrate_cfg *cfg, const calibrate_text *text,
                               const calibrate_sums *sums, kv_err *err) {
    char said[128];
    size_t bytes = 0;
    *s = (calibrate_saved){
        .keep = cfg->keep, .all = {text->n_fit, sums->losses ? CALIBRATE_LONG_TEXTS : 0}, .last = clock_now()};
    if (!s->keep.path)
        return KV_OK;
    pass(sums, count, &bytes);
    s->cost = (double)bytes / GUESS;
    kv_status st = bind(s, m, cfg, text, err);
    if (!st && s->keep.resume)
        st = read_file(s, sums, err);
    if (st || !s->keep.resume)
        return st;
    const uint32_t done = s->done.chunks + s->done.texts, all = s->all.chunks + s->all.texts;
    if (done)
        snprintf(said, sizeof said, "going on behind %u of %u pieces of text", done, all);
    else
        snprintf(said, sizeof said, "there is nothing to go on from: starting at the beginning");
    note(s, said);
    return KV_OK;
}

bool calibrate_save_due(double passed, double cost) {
    return passed >= CHEAP * cost || (passed >= LONG && passed >= LEAST * cost);
}

void calibrate_save(calibrate_saved *s, calibrate_done done, const calibrate_sums *sums) {
    const double started = clock_now();
    kv_err why = {0};
    if (!s->keep.path || !calibrate_save_due(started - s->last, s->cost))
        return;
    if (write_file(s, done, sums, &why)) {
        char said[sizeof why.msg + 64];
        snprintf(said, sizeof said, "what has been gathered cannot be kept for --resume: %s", why.msg);
        note(s, said);
        s->keep.path = NULL;
        return;
    }
    s->last = clock_now();
    s->cost = s->last - started;
}
