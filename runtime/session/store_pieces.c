/* The pieces of a session's cache as sections of a file. Those that a codec knows how to pack are packed and unpacked by all
 * threads together. */
#include "session/session_internal.h"

#include <stdlib.h>
#include <string.h>

enum { TOGETHER = 8 /* pieces for each thread, that wait for being written */ };

/* ---- kinds ---- */

/* Tokens of the same id are of a kind. of: (n), caller frees. */
static kv_status kinds_of(const rt_session *s, const int32_t *ids, uint32_t n, uint32_t **of, kv_kinds *out, kv_err *err) {
    uint32_t *kind = calloc(rt_model_hparams(s->m)->n_vocab, sizeof *kind); /* of an id, and one more; 0: none yet */
    *of = malloc((n + 1) * sizeof **of);
    *out = (kv_kinds){*of, n, 1};
    for (uint32_t i = 0; kind && *of && i < n; i++) {
        uint32_t *k = &kind[ids[i]];
        if (!*k)
            *k = out->n++;
        (*of)[i] = *k;
    }
    const bool made = kind && *of;
    free(kind);
    return made ? KV_OK : kv_fail(err, KV_ENOMEM, "out of memory for packing");
}

/* ---- writing ---- */

typedef struct packing {
    const kv_cache *cache;
    const kv_kinds *kinds;
    uint32_t first; /* piece */
    struct packed {
        uint8_t *data; /* NULL: it cannot be packed */
        size_t bytes, whole;
    } * pieces;
} packing;

static void pack_pieces(void *arg, int thread, size_t first, size_t end) {
    packing *p = arg;
    (void)thread;
    for (size_t i = first; i < end; i++)
        p->pieces[i].data = kv_cache_pack(p->cache, p->first + (uint32_t)i, p->kinds, &p->pieces[i].bytes, &p->pieces[i].whole);
}

static kv_status write_part(void *writer, const void *data, size_t bytes, kv_err *err) {
    return ctx_writer_add(writer, data, bytes, err);
}

static kv_status write_piece(const kv_cache *c, uint32_t i, const struct packed *p, ctx_writer *w, kv_err *err) {
    if (p->data)
        return ctx_writer_coded(w, CTX_BODY, i, p->data, p->bytes, p->whole, err);
    kv_status st = ctx_writer_begin(w, CTX_BODY, i, err);
    if (st || (st = kv_cache_write(c, i, write_part, w, err)))
        return st;
    return ctx_writer_end(w, err);
}

kv_status rt_store_pieces(const rt_session *s, bool packed, ctx_writer *w, kv_progress progress, void *user, kv_err *err) {
    const rt_exec *e = rt_ctx_exec(s->ctx);
    const kv_cache *c = rt_ctx_cache(s->ctx);
    const uint32_t n = kv_cache_pieces(c), room = TOGETHER * (uint32_t)e->n_threads;
    uint32_t *of = NULL;
    kv_kinds kinds = {.n = 1};
    packing p = {.cache = c, .kinds = &kinds, .pieces = calloc(room, sizeof *p.pieces)};
    kv_status st = p.pieces ? KV_OK : kv_fail(err, KV_ENOMEM, "out of memory for packing");
    if (!st && packed)
        st = kinds_of(s, s->ids, (uint32_t)s->n, &of, &kinds, err);
    for (; p.first < n && !st; p.first += room) {
        const uint32_t some = n - p.first < room ? n - p.first : room;
        if (packed)
            rt_for(e, some, 1, pack_pieces, &p);
        for (uint32_t i = 0; i < some; i++) {
            if (!st && progress && !progress(user, (double)(p.first + i) / n))
                st = kv_fail(err, KV_ECANCEL, "stopped while the context was written");
            if (!st)
                st = write_piece(c, p.first + i, &p.pieces[i], w, err);
            free(p.pieces[i].data);
        }
        memset(p.pieces, 0, room * sizeof *p.pieces);
    }
    free(p.pieces);
    free(of);
    return st;
}

/* ---- reading ---- */

typedef struct unpacking {
    const kv_cache *cache;
    const kv_kinds *kinds;
    const ctx_coded *coded; /* (pieces) */
    kv_status *st;          /* (pieces) */
} unpacking;

static void unpack_pieces(void *arg, int thread, size_t first, size_t end) {
    unpacking *u = arg;
    (void)thread;
    for (size_t i = first; i < end; i++) {
        const ctx_coded *p = &u->coded[i];
        if (p->data)
            u->st[i] = kv_cache_unpack(u->cache, (uint32_t)i, u->kinds, p->data, p->bytes, p->to, p->raw, NULL);
    }
}

static kv_status unpack_all(const rt_session *s, ctx_file *f, unpacking *u, uint32_t n, kv_err *err) {
    uint32_t *of = NULL;
    kv_kinds kinds;
    u->kinds = &kinds;
    kv_status st = kinds_of(s, s->ids, (uint32_t)s->n, &of, &kinds, err);
    if (!st)
        rt_for(rt_ctx_exec(s->ctx), n, 1, unpack_pieces, u);
    for (uint32_t i = 0; i < n && !st; i++)
        if (u->st[i])
            st = kv_fail(err, u->st[i],
                         u->st[i] == KV_ENOMEM ? "%s: out of memory for unpacking"
                                               : "%s: is damaged: what it packs cannot be unpacked",
                         ctx_file_path(f));
    free(of);
    return st;
}

kv_status rt_stored_pieces(const rt_session *s, ctx_file *f, kv_piece *pieces, kv_err *err) {
    const kv_cache *c = rt_ctx_cache(s->ctx);
    const uint32_t n = kv_cache_pieces(c);
    bool any = false;
    ctx_coded *coded = calloc(n + 1, sizeof *coded);
    kv_status *each = calloc(n + 1, sizeof *each);
    kv_status st = coded && each ? KV_OK : kv_fail(err, KV_ENOMEM, "%s: out of memory", ctx_file_path(f));
    for (uint32_t i = 0; i < n && !st; i++) {
        st = ctx_file_coded(f, CTX_BODY, i, kv_cache_piece_most(c, i), &coded[i], err);
        any |= coded[i].data != NULL;
    }
    if (!st && any)
        st = unpack_all(s, f, &(unpacking){.cache = c, .coded = coded, .st = each}, n, err);
    for (uint32_t i = 0; i < n && !st; i++)
        st = ctx_file_section(f, CTX_BODY, i, kv_cache_piece_most(c, i), &pieces[i].data, &pieces[i].bytes, err);
    free(coded);
    free(each);
    return st;
}
