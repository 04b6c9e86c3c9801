#include "session/store.h"

#include "session/session_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* What comes before the bytes of a checkpoint. */
typedef struct mark_head {
    uint32_t len, asked;
} mark_head;

enum { MOST_CHAT = 1 << 30 };

/* ---- settings ---- */

static void copy_text(char *to, size_t size, const char *from) {
    snprintf(to, size, "%s", from ? from : "");
}

static void note_settings(const rt_ctx_cfg *cfg, ctx_settings *to) {
    *to = (ctx_settings){.window = cfg->window,
                         .sinks = cfg->sinks,
                         .recent = cfg->recent,
                         .budget_tokens = cfg->budget.tokens,
                         .budget_share = (double)cfg->budget.share,
                         .ada = cfg->ada,
                         .equal_budgets = cfg->equal_budgets,
                         .profile = cfg->profile != NULL};
    copy_text(to->ctk, sizeof to->ctk, cfg->ctk < 0 ? NULL : kv_codec_names[cfg->ctk].name);
    copy_text(to->ctv, sizeof to->ctv, cfg->ctv < 0 ? NULL : kv_codec_names[cfg->ctv].name);
    copy_text(to->evict, sizeof to->evict, cfg->evict < 0 ? NULL : kv_evict_names[cfg->evict].name);
}

static kv_status take_name(const char *name, int (*by_name)(const char *), int *to, const char *path, kv_err *err) {
    if (*to >= 0 || !*name)
        return KV_OK;
    *to = by_name(name);
    return *to >= 0 ? KV_OK : kv_fail(err, KV_EUNSUPP, "%s: was written with '%s', which is not known here", path, name);
}

static int take_number(int said, int64_t stored) {
    return said >= 0 || stored < 0 || stored > INT32_MAX ? said : (int)stored;
}

/* What cfg leaves open is as it was when the file was written. */
static kv_status fill_settings(const ctx_about *a, const char *path, rt_ctx_cfg *cfg, kv_err *err) {
    const ctx_settings *s = &a->settings;
    kv_status st;
    if ((st = take_name(s->ctk, kv_codec_by_name, &cfg->ctk, path, err)) ||
        (st = take_name(s->ctv, kv_codec_by_name, &cfg->ctv, path, err)) ||
        (st = take_name(s->evict, kv_evict_by_name, &cfg->evict, path, err)))
        return st;
    cfg->window = take_number(cfg->window, s->window);
    cfg->sinks = take_number(cfg->sinks, s->sinks);
    cfg->recent = take_number(cfg->recent, s->recent);
    if (!kv_budget_given(cfg->budget))
        cfg->budget = (kv_budget){.tokens = s->budget_tokens, .share = (float)s->budget_share};
    cfg->ada |= s->ada;
    cfg->equal_budgets |= s->equal_budgets;
    cfg->n_ctx = cfg->n_ctx ? cfg->n_ctx : a->n_ctx;
    if (!s->profile)
        cfg->profile = NULL;
    return KV_OK;
}

/* ---- saving ---- */

/* Places to go back to, the last of which is where it stands: those of the sequence that can still be reached, and one that was
 * made for it if there is none yet. */
typedef struct places {
    rt_place at[RT_CHECKPOINTS + 1];
    uint32_t n;
    kv_checkpoint *own;
} places;

static kv_status find_places(rt_session *s, bool lean, places *p, kv_err *err) {
    const kv_cache *c = rt_ctx_cache(s->ctx);
    rt_place here;
    *p = (places){.n = 0};
    for (uint32_t i = 0; rt_seq_place(rt_ctx_seq(s->ctx), i, &here); i++)
        if (kv_checkpoint_reached(here.state, c) && !lean)
            p->at[p->n++] = here;
    if (p->n && kv_checkpoint_len(p->at[p->n - 1].state) == s->n)
        return KV_OK;
    kv_status st = (lean ? kv_checkpoint_tight : kv_checkpoint_new)(c, &p->own, err);
    if (st)
        return st;
    if (p->n == RT_CHECKPOINTS) /* one more than a sequence keeps: not the first, which may be asked for */
        memmove(p->at + 1, p->at + 2, (--p->n - 1) * sizeof *p->at);
    p->at[p->n++] = (rt_place){.state = p->own, .asked = true};
    return KV_OK;
}

static kv_status write_places(const rt_session *s, ctx_writer *w, places *p, kv_err *err) {
    const size_t logits_bytes = rt_model_hparams(s->m)->n_vocab * sizeof(float);
    kv_status st = KV_OK;
    /* Where the last token can be read again, its logits need no place; they are many. */
    p->at[p->n - 1].logits = kv_cache_can_truncate(rt_ctx_cache(s->ctx), (uint32_t)s->n - 1) ? NULL : s->logits;
    for (uint32_t i = 0; i < p->n && !st; i++) {
        size_t bytes;
        const void *data = kv_checkpoint_data(p->at[i].state, &bytes);
        const mark_head head = {kv_checkpoint_len(p->at[i].state), p->at[i].asked};
        if ((st = ctx_writer_begin(w, CTX_MARK, i, err)) || (st = ctx_writer_add(w, &head, sizeof head, err)) ||
            (st = ctx_writer_add(w, data, bytes, err)) || (st = ctx_writer_end(w, err)))
            break;
        if (p->at[i].logits)
            st = ctx_writer_put(w, CTX_MARK_LOGITS, i, p->at[i].logits, logits_bytes, err);
    }
    return st;
}

static kv_status write_about(const rt_session *s, const rt_save_cfg *cfg, uint32_t n_marks, ctx_writer *w, kv_err *err) {
    const rt_hparams *hp = rt_model_hparams(s->m);
    const kv_cache *c = rt_ctx_cache(s->ctx);
    ctx_about a = {.saved = time(NULL),
                   .n_tokens = (uint32_t)s->n,
                   .n_ctx = rt_ctx_n_ctx(s->ctx),
                   .n_marks = n_marks,
                   .bytes_f16 = kv_cache_f16_bytes(c, (uint32_t)s->n)};
    char *text = NULL;
    size_t len;
    copy_text(a.title, sizeof a.title, cfg->title);
    copy_text(a.program, sizeof a.program, cfg->program);
    copy_text(a.model, sizeof a.model, hp->name);
    copy_text(a.arch, sizeof a.arch, hp->arch);
    kv_cache_words(c, a.cache, sizeof a.cache);
    kv_cache_stamp(c, a.cache_id);
    note_settings(&s->cfg, &a.settings);
    kv_status st = rt_model_identity(s->m, NULL, NULL, a.model_id, err);
    if (!st && !(st = ctx_about_format(&a, &text, &len, err)))
        st = ctx_writer_put(w, CTX_ABOUT, 0, text, len, err);
    free(text);
    return st;
}

static kv_status write_all(const rt_session *s, const rt_save_cfg *cfg, places *p, ctx_writer *w, kv_progress progress,
                           void *user, kv_err *err) {
    kv_status st = write_about(s, cfg, p->n, w, err);
    if (st || (st = ctx_writer_put(w, CTX_IDS, 0, s->ids, s->n * sizeof *s->ids, err)) ||
        (cfg->chat && (st = ctx_writer_put(w, CTX_CHAT, 0, cfg->chat, strlen(cfg->chat), err))) ||
        (st = rt_store_pieces(s, cfg->packed, w, progress, user, err)))
        return st;
    return write_places(s, w, p, err);
}

kv_status rt_session_save(rt_session *s, const char *path, const rt_save_cfg *cfg, kv_progress progress, void *user,
                          kv_err *err) {
    const kv_progress_part reading = {progress, user, 0, 0.9}, writing = {progress, user, 0.9, 1};
    ctx_writer *w = NULL;
    places p = {.n = 0};
    rt_session_leave_guesses(s);
    kv_status st = rt_session_read(s, kv_progress_of_part, (void *)&reading, err);
    if (st || (st = find_places(s, cfg->lean, &p, err)) || (st = ctx_writer_open(path, cfg->packed, &w, err)) ||
        (cfg->cache && (st = ctx_writer_as_cache(w, err))))
        goto done;
    st = write_all(s, cfg, &p, w, kv_progress_of_part, (void *)&writing, err);
    if (!st) {
        st = ctx_writer_commit(w, err);
        w = NULL;
    }
done:
    ctx_writer_abort(w);
    kv_checkpoint_free(p.own);
    return st;
}

/* ---- opening ---- */

static kv_status not_of_it(const ctx_file *f, const kv_err *why, kv_err *err) {
    return kv_fail(err, why->code, "%s: %s", ctx_file_path(f), why->msg);
}

kv_status rt_stored_ids(ctx_file *f, const ctx_about *about, const int32_t **ids, kv_err *err) {
    const void *data;
    size_t bytes;
    kv_status st = ctx_file_section(f, CTX_IDS, 0, about->n_tokens * sizeof **ids, &data, &bytes, err);
    if (!st && (!about->n_tokens || bytes != about->n_tokens * sizeof **ids))
        st = kv_fail(err, KV_EFORMAT, "%s: holds no tokens, or not as many as it says", ctx_file_path(f));
    *ids = data;
    return st;
}

kv_status rt_stored_fits(const ctx_file *f, const ctx_about *about, const rt_model *m, kv_err *err) {
    char id[33];
    kv_status st = rt_model_identity(m, NULL, NULL, id, err);
    if (st || !strcmp(id, about->model_id))
        return st;
    const rt_hparams *hp = rt_model_hparams(m);
    return kv_fail(err, KV_EMISMATCH,
                   "%s: is of another model, %.100s (%.40s); this one is %.100s (%.40s)%s: take that one, or read the document "
                   "anew",
                   ctx_file_path(f), about->model, about->arch, hp->name, hp->arch,
                   strcmp(hp->name, about->model) ? "" : ", which has other weights, vocabulary or settings");
}

/* A section that holds a place. */
static kv_status find_place(ctx_file *f, uint32_t i, mark_head *head, const uint8_t **state, size_t *bytes, kv_err *err) {
    const void *data;
    kv_status st = ctx_file_section(f, CTX_MARK, i, (size_t)1 << 40, &data, bytes, err);
    if (st)
        return st;
    if (!data || *bytes < sizeof *head)
        return kv_fail(err, KV_EFORMAT, "%s: place %u to go back to is missing", ctx_file_path(f), i);
    memcpy(head, data, sizeof *head);
    *state = (const uint8_t *)data + sizeof *head;
    *bytes -= sizeof *head;
    return KV_OK;
}

static kv_status check_places(const ctx_file *f, const ctx_about *about, kv_err *err) {
    if (about->n_marks && about->n_marks <= RT_CHECKPOINTS)
        return KV_OK;
    return kv_fail(err, KV_EFORMAT, "%s: has %u places to go back to", ctx_file_path(f), about->n_marks);
}

kv_status rt_stored_places(ctx_file *f, const ctx_about *about, uint32_t len[RT_CHECKPOINTS], uint32_t *n, kv_err *err) {
    kv_status st = check_places(f, about, err);
    for (*n = 0; !st && *n < about->n_marks; ++*n) {
        mark_head head;
        const uint8_t *state;
        size_t bytes;
        if (!(st = find_place(f, *n, &head, &state, &bytes, err)))
            len[*n] = head.len;
    }
    return st;
}

static kv_status check_cache(const ctx_file *f, const ctx_about *a, const kv_cache *c, kv_err *err) {
    char id[33], words[sizeof a->cache];
    kv_cache_stamp(c, id);
    if (!strcmp(id, a->cache_id))
        return KV_OK;
    kv_cache_words(c, words, sizeof words);
    return kv_fail(
        err, KV_EMISMATCH,
        "%s: its cache is stored as %.200s%s, and this session's as %.200s%s: give the profile and options that it was "
        "read with, or read the document anew",
        ctx_file_path(f), a->cache, a->settings.profile ? " by a profile" : "", words,
        strcmp(words, a->cache) ? "" : ", but by another profile or for another length");
}

static kv_status read_place(rt_session *s, ctx_file *f, uint32_t i, rt_place *to, kv_err *err) {
    const size_t logits_bytes = rt_model_hparams(s->m)->n_vocab * sizeof(float);
    const void *data;
    const uint8_t *saved = NULL;
    size_t bytes;
    mark_head head;
    kv_err why = {0};
    kv_status st = find_place(f, i, &head, &saved, &bytes, err);
    if (st)
        return st;
    if (kv_checkpoint_read(rt_ctx_cache(s->ctx), head.len, saved, bytes, &to->state, &why))
        return not_of_it(f, &why, err);
    to->asked = head.asked != 0;
    if ((st = ctx_file_section(f, CTX_MARK_LOGITS, i, logits_bytes, &data, &bytes, err)))
        return st;
    if (data && bytes != logits_bytes)
        return kv_fail(err, KV_EFORMAT, "%s: place %u to go back to has logits of another vocabulary", ctx_file_path(f), i);
    to->logits = data;
    return KV_OK;
}

static kv_status take_ids(rt_session *s, ctx_file *f, const ctx_about *a, const int32_t **ids, kv_err *err) {
    const uint32_t n_vocab = rt_model_hparams(s->m)->n_vocab;
    kv_status st = rt_stored_ids(f, a, ids, err);
    for (uint32_t i = 0; i < a->n_tokens && !st; i++)
        if ((*ids)[i] < 0 || (uint32_t)(*ids)[i] >= n_vocab)
            st = kv_fail(err, KV_EFORMAT, "%s: token %u is outside the vocabulary", ctx_file_path(f), i);
    return st ? st : rt_session_add(s, *ids, a->n_tokens, err);
}

/* Into a session that is empty. */
static kv_status restore(rt_session *s, ctx_file *f, const ctx_about *a, kv_err *err) {
    const int32_t *ids;
    rt_place at[RT_CHECKPOINTS] = {{0}};
    kv_err why = {0};
    kv_piece *pieces = calloc(kv_cache_pieces(rt_ctx_cache(s->ctx)) + 1, sizeof *pieces);
    kv_status st = pieces ? KV_OK : kv_fail(err, KV_ENOMEM, "%s: out of memory", ctx_file_path(f));
    if (st || (st = check_places(f, a, err)) || (st = take_ids(s, f, a, &ids, err)) ||
        (st = rt_stored_pieces(s, f, pieces, err)))
        goto done;
    for (uint32_t i = 0; i < a->n_marks && !st; i++)
        st = read_place(s, f, i, &at[i], err);
    const float *logits = at[a->n_marks - 1].logits;
    if (st)
        goto done;
    if ((st = rt_seq_restore(rt_ctx_seq(s->ctx), ids, a->n_tokens, pieces, at, a->n_marks, &why))) {
        st = not_of_it(f, &why, err);
        goto done;
    }
    if (logits) {
        memcpy(s->logits, logits, rt_model_hparams(s->m)->n_vocab * sizeof *logits);
        s->fresh = true;
    }
done:
    for (uint32_t i = 0; i < RT_CHECKPOINTS; i++)
        kv_checkpoint_free(at[i].state);
    free(pieces);
    return st;
}

/* f: moves where that succeeds. */
static kv_status take_file(rt_session *s, ctx_file *f, const ctx_about *a, kv_err *err) {
    kv_status st = check_cache(f, a, rt_ctx_cache(s->ctx), err);
    if (st || (st = restore(s, f, a, err)) || (st = ctx_file_unchanged(f, err)))
        return st;
    s->file = f;
    return KV_OK;
}

static kv_status check_room(const ctx_file *f, const ctx_about *a, uint32_t n_ctx, kv_err *err) {
    if (a->n_tokens <= n_ctx)
        return KV_OK;
    return kv_fail(err, KV_ERANGE, "%s: holds %u tokens, more than a context of %u: allow more", ctx_file_path(f), a->n_tokens,
                   n_ctx);
}

kv_status rt_session_load(rt_session *s, const char *path, kv_progress progress, void *user, ctx_about *about, kv_err *err) {
    ctx_about own, *a = about ? about : &own;
    ctx_file *f = NULL;
    if (s->n)
        return kv_fail(err, KV_EINVAL, "%s: the session that it was to be read into is not empty", path);
    rt_ctx_clear(s->ctx); /* from now on it does not need the file that it came from */
    rt_session_give_back(s);
    ctx_file_close(s->file);
    s->file = NULL;
    kv_status st = ctx_file_open(path, true, progress, user, &f, err);
    if (!st && !(st = ctx_file_about(f, a, err)) && !(st = rt_stored_fits(f, a, s->m, err)) &&
        !(st = check_room(f, a, rt_ctx_n_ctx(s->ctx), err)))
        st = take_file(s, f, a, err);
    if (st) {
        s->n = 0;
        s->fresh = false;
        rt_ctx_clear(s->ctx);
        ctx_file_close(f);
    }
    return st;
}

kv_status rt_session_chat(const rt_session *s, const char **chat, size_t *len, kv_err *err) {
    const void *data = NULL;
    *len = 0;
    kv_status st = s->file ? ctx_file_section(s->file, CTX_CHAT, 0, MOST_CHAT, &data, len, err) : KV_OK;
    *chat = data;
    return st;
}

kv_status rt_session_open(const rt_model *m, rt_pool *p, const rt_ctx_cfg *given, const char *path, kv_progress progress,
                          void *user, rt_session **out, kv_err *err) {
    rt_ctx_cfg cfg = *given;
    ctx_about about;
    rt_session *s = NULL;
    ctx_file *f = NULL;
    *out = NULL;
    kv_status st = ctx_file_open(path, true, progress, user, &f, err);
    if (st || (st = ctx_file_about(f, &about, err)) || (st = rt_stored_fits(f, &about, m, err)) ||
        (st = fill_settings(&about, path, &cfg, err)))
        goto done;
    if (about.settings.profile && !cfg.profile) {
        st = kv_fail(err, KV_EMISMATCH, "%s: was written with a profile, and there is none now: give the same", path);
        goto done;
    }
    if ((st = check_room(f, &about, cfg.n_ctx, err)) ||
        (st = p ? rt_session_new_in(p, &cfg, &s, err) : rt_session_new(m, &cfg, &s, err)) ||
        (st = take_file(s, f, &about, err)))
        goto done;
    *out = s;
    s = NULL;
    f = NULL;
done:
    rt_session_free(s);
    ctx_file_close(f);
    return st;
}
