/* Writing .kv files: context_file.h says what is where. */
#include "base/atomic_file.h"
#include "context/context_internal.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#include <zstd.h>

enum { LEVEL = 9, FIRST_ROWS = 64 };

struct ctx_writer {
    atomic_file *file;
    char *path;
    bool packed;
    uint64_t at; /* bytes written */
    ctx_row *rows;
    uint32_t n, cap;
    XXH3_state_t *sum; /* of the section that is being written */
    ZSTD_CCtx *zstd;   /* of packed files */
    uint8_t *out;      /* (ZSTD_CStreamOutSize) */
};

static kv_status no_memory(const ctx_writer *w, kv_err *err) {
    return kv_fail(err, KV_ENOMEM, "%s: out of memory for writing it", w->path);
}

static kv_status write_out(ctx_writer *w, const void *data, size_t bytes, kv_err *err) {
    if (bytes && fwrite(data, 1, bytes, atomic_file_stream(w->file)) != bytes)
        return kv_fail(err, KV_EIO, "%s: cannot write: %s (is the disk full?)", w->path, strerror(errno));
    w->at += bytes;
    return KV_OK;
}

/* Bytes of a section. */
static kv_status write_summed(ctx_writer *w, const void *data, size_t bytes, kv_err *err) {
    XXH3_64bits_update(w->sum, data, bytes);
    return write_out(w, data, bytes, err);
}

kv_status ctx_writer_open(const char *path, bool packed, ctx_writer **out, kv_err *err) {
    ctx_head head = CTX_HEAD;
    ctx_writer *w = calloc(1, sizeof *w);
    kv_status st = KV_OK;
    *out = NULL;
    if (!w || !(w->path = strdup(path)) || !(w->sum = XXH3_createState()) ||
        !(w->rows = calloc(w->cap = FIRST_ROWS, sizeof *w->rows)) ||
        (packed && (!(w->zstd = ZSTD_createCCtx()) || !(w->out = malloc(ZSTD_CStreamOutSize()))))) {
        ctx_writer_abort(w);
        return kv_fail(err, KV_ENOMEM, "%s: out of memory for writing it", path);
    }
    w->packed = packed;
    if (packed)
        ZSTD_CCtx_setParameter(w->zstd, ZSTD_c_compressionLevel, LEVEL);
    if (!(st = atomic_file_open(path, &w->file, err)))
        st = write_out(w, &head, sizeof head, err);
    if (st)
        ctx_writer_abort(w);
    else
        *out = w;
    return st;
}

kv_status ctx_writer_as_cache(ctx_writer *w, kv_err *err) {
    return atomic_file_as_cache(w->file, err);
}

kv_status ctx_writer_begin(ctx_writer *w, ctx_kind kind, uint32_t index, kv_err *err) {
    if (w->n == w->cap) {
        ctx_row *grown = realloc(w->rows, 2 * (size_t)w->cap * sizeof *grown);
        if (!grown)
            return no_memory(w, err);
        w->rows = grown;
        w->cap *= 2;
    }
    w->rows[w->n] = (ctx_row){.kind = (uint16_t)kind, .how = w->packed ? CTX_ZSTD : CTX_PLAIN, .index = index, .offset = w->at};
    XXH3_64bits_reset(w->sum);
    return KV_OK;
}

/* Through zstd; `end`: nothing follows. */
static kv_status compress(ctx_writer *w, const void *data, size_t bytes, ZSTD_EndDirective end, kv_err *err) {
    ZSTD_inBuffer in = {data, bytes, 0};
    kv_status st = KV_OK;
    for (size_t left = 1; !st && (end == ZSTD_e_end ? left != 0 : in.pos < in.size);) {
        ZSTD_outBuffer to = {w->out, ZSTD_CStreamOutSize(), 0};
        left = ZSTD_compressStream2(w->zstd, &to, &in, end);
        st = ZSTD_isError(left) ? kv_fail(err, KV_ENOMEM, "%s: zstd: %s", w->path, ZSTD_getErrorName(left))
                                : write_summed(w, w->out, to.pos, err);
    }
    return st;
}

kv_status ctx_writer_add(ctx_writer *w, const void *data, size_t bytes, kv_err *err) {
    w->rows[w->n].raw += bytes;
    return w->packed ? compress(w, data, bytes, ZSTD_e_continue, err) : write_summed(w, data, bytes, err);
}

kv_status ctx_writer_end(ctx_writer *w, kv_err *err) {
    static const uint8_t zeros[CTX_ALIGN] = {0};
    ctx_row *row = &w->rows[w->n];
    kv_status st = row->how == CTX_ZSTD ? compress(w, NULL, 0, ZSTD_e_end, err) : KV_OK;
    row->bytes = w->at - row->offset;
    if (!st)
        st = write_summed(w, zeros, ctx_padding(w->at), err);
    row->sum = XXH3_64bits_digest(w->sum);
    w->n++;
    return st;
}

kv_status ctx_writer_put(ctx_writer *w, ctx_kind kind, uint32_t index, const void *data, size_t bytes, kv_err *err) {
    kv_status st = ctx_writer_begin(w, kind, index, err);
    if (st || (st = ctx_writer_add(w, data, bytes, err)))
        return st;
    return ctx_writer_end(w, err);
}

kv_status ctx_writer_coded(ctx_writer *w, ctx_kind kind, uint32_t index, const void *data, size_t bytes, size_t raw,
                           kv_err *err) {
    kv_status st = ctx_writer_begin(w, kind, index, err);
    if (st)
        return st;
    w->rows[w->n].how = CTX_CODED;
    w->rows[w->n].raw = raw;
    return (st = write_summed(w, data, bytes, err)) ? st : ctx_writer_end(w, err);
}

static void free_writer(ctx_writer *w) {
    XXH3_freeState(w->sum);
    ZSTD_freeCCtx(w->zstd);
    free(w->out);
    free(w->rows);
    free(w->path);
    free(w);
}

kv_status ctx_writer_commit(ctx_writer *w, kv_err *err) {
    const size_t bytes = w->n * sizeof *w->rows;
    ctx_tail tail = {.magic = CTX_TAIL_MAGIC, .n = w->n, .packed = w->packed, .table = w->at};
    tail.bytes = w->at + bytes + sizeof tail;
    tail.table_sum = XXH3_64bits(w->rows, bytes);
    tail.sum = XXH3_64bits(&tail, offsetof(ctx_tail, sum));
    kv_status st = write_out(w, w->rows, bytes, err);
    if (st || (st = write_out(w, &tail, sizeof tail, err))) {
        ctx_writer_abort(w);
        return st;
    }
    st = atomic_file_commit(w->file, err);
    free_writer(w);
    return st;
}

void ctx_writer_abort(ctx_writer *w) {
    if (!w)
        return;
    atomic_file_abort(w->file);
    free_writer(w);
}
