/* Reading .kv files: everything is looked at before anything of it is used. */
#include "base/map_guard.h"
#include "context/context_internal.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>
#include <zstd.h>

enum {
    MOST_SECTIONS = 1 << 16,
    MOST_ABOUT = 1 << 16,
    SUM_STEP = 16 << 20 /* bytes between two looks at whether to go on */
};

struct ctx_file {
    char *path;
    const uint8_t *map;
    size_t size;
    map_guard *guard;
    const ctx_row *rows;
    uint32_t n;
    bool packed;
    void **unpacked; /* (n) sections that were asked for; NULL: not yet */
};

static kv_status damaged(const ctx_file *f, kv_err *err, const char *what) {
    return kv_fail(err, KV_EFORMAT, "%s: is damaged: %s (get it again, or read the document anew)", f->path, what);
}

static kv_status map_it(ctx_file *f, kv_err *err) {
    struct stat info;
    kv_status st = KV_OK;
    const int fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return kv_fail(err, KV_EIO, "%s: cannot open: %s", f->path, strerror(errno));
    if (fstat(fd, &info))
        st = kv_fail(err, KV_EIO, "%s: cannot read its size: %s", f->path, strerror(errno));
    else if (!S_ISREG(info.st_mode))
        st = kv_fail(err, KV_EIO, "%s: is %s, not a .kv file", f->path,
                     S_ISDIR(info.st_mode) ? "a directory" : "a pipe or a device");
    else if ((size_t)info.st_size < sizeof(ctx_head) + sizeof(ctx_tail))
        st = kv_fail(err, KV_EFORMAT, "%s: is not a .kv file, or only the beginning of one: %lld bytes", f->path,
                     (long long)info.st_size);
    if (!st) {
        void *map = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_SHARED, fd, 0);
        if (map == MAP_FAILED) {
            st = kv_fail(err, KV_EIO, "%s: cannot map into memory: %s", f->path, strerror(errno));
        } else {
            f->map = map;
            f->size = (size_t)info.st_size;
            f->guard = map_guard_take(map, f->size);
        }
    }
    close(fd);
    return st;
}

static kv_status check_head(const ctx_file *f, kv_err *err) {
    const ctx_head expected = CTX_HEAD;
    ctx_head head;
    memcpy(&head, f->map, sizeof head);
    if (memcmp(head.magic, expected.magic, sizeof head.magic)) {
        if (!memcmp(head.magic, CTX_MAGIC, 7))
            return damaged(f, err, "its first bytes were changed, as sending it as text does");
        return kv_fail(err, KV_EFORMAT, "%s: is not a .kv file", f->path);
    }
    if (head.version != CTX_VERSION)
        return kv_fail(err, KV_EUNSUPP, "%s: is of version %u, and this program reads version %d: read the document anew",
                       f->path, head.version, CTX_VERSION);
    return memcmp(&head, &expected, sizeof head) ? damaged(f, err, "its head") : KV_OK;
}

/* Sections lie one after the other, without gaps, from the head to the table. */
static kv_status check_rows(const ctx_file *f, uint64_t table, kv_err *err) {
    uint64_t at = sizeof(ctx_head);
    for (uint32_t i = 0; i < f->n; i++) {
        const ctx_row *r = &f->rows[i];
        if (r->offset != at || r->bytes > table - at || r->how >= CTX_HOWS || (!f->packed && r->how != CTX_PLAIN) ||
            (r->how == CTX_PLAIN && r->raw != r->bytes))
            return damaged(f, err, "its table");
        at += r->bytes;
        if (ctx_padding(at) > table - at)
            return damaged(f, err, "its table");
        at += ctx_padding(at);
    }
    return at == table ? KV_OK : damaged(f, err, "its table");
}

static kv_status check_table(ctx_file *f, kv_err *err) {
    ctx_tail tail;
    memcpy(&tail, f->map + f->size - sizeof tail, sizeof tail);
    if (memcmp(tail.magic, CTX_TAIL_MAGIC, sizeof tail.magic) || tail.bytes != f->size)
        return damaged(f, err, "its end is missing, or was changed");
    if (tail.sum != XXH3_64bits(&tail, offsetof(ctx_tail, sum)))
        return damaged(f, err, "its tail");
    if (tail.n > MOST_SECTIONS || tail.packed > 1 || tail.table % CTX_ALIGN || tail.table < sizeof(ctx_head) ||
        tail.table > f->size || f->size - tail.table != tail.n * sizeof(ctx_row) + sizeof tail)
        return damaged(f, err, "its tail");
    f->rows = (const ctx_row *)(f->map + tail.table);
    f->n = tail.n;
    f->packed = tail.packed;
    if (tail.table_sum != XXH3_64bits(f->rows, f->n * sizeof *f->rows))
        return damaged(f, err, "its table");
    return check_rows(f, tail.table, err);
}

static kv_status check_sums(const ctx_file *f, kv_progress progress, void *user, kv_err *err) {
    XXH3_state_t *sum = XXH3_createState();
    kv_status st = sum ? KV_OK : kv_fail(err, KV_ENOMEM, "%s: out of memory", f->path);
    for (uint32_t i = 0; i < f->n && !st; i++) {
        const ctx_row *r = &f->rows[i];
        const size_t end = r->offset + r->bytes + ctx_padding(r->offset + r->bytes);
        XXH3_64bits_reset(sum);
        for (size_t at = r->offset, step; at < end && !st; at += step) {
            step = end - at < SUM_STEP ? end - at : SUM_STEP;
            XXH3_64bits_update(sum, f->map + at, step);
            if (progress && !progress(user, (double)(at + step) / (double)f->size))
                st = kv_fail(err, KV_ECANCEL, "%s: stopped while it was checked", f->path);
        }
        if (!st && XXH3_64bits_digest(sum) != r->sum)
            st = damaged(f, err, "what it holds is not what was written");
    }
    XXH3_freeState(sum);
    return st;
}

bool ctx_file_is(const char *path) {
    char begin[sizeof(((ctx_head *)0)->magic)] = "";
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    const ssize_t n = fd < 0 ? -1 : read(fd, begin, sizeof begin);
    if (fd >= 0)
        close(fd);
    return n == sizeof begin && !memcmp(begin, CTX_MAGIC, sizeof begin);
}

kv_status ctx_file_open(const char *path, bool sums, kv_progress progress, void *user, ctx_file **out, kv_err *err) {
    ctx_file *f = calloc(1, sizeof *f);
    *out = NULL;
    if (!f || !(f->path = strdup(path))) {
        free(f);
        return kv_fail(err, KV_ENOMEM, "%s: out of memory", path);
    }
    kv_status st = map_it(f, err);
    if (st || (st = check_head(f, err)) || (st = check_table(f, err)))
        goto done;
    if (!(f->unpacked = calloc(f->n + 1, sizeof *f->unpacked))) {
        st = kv_fail(err, KV_ENOMEM, "%s: out of memory", path);
        goto done;
    }
    if ((sums && (st = check_sums(f, progress, user, err))) || (st = ctx_file_unchanged(f, err)))
        goto done;
    *out = f;
    f = NULL;
done:
    ctx_file_close(f);
    return st;
}

void ctx_file_close(ctx_file *f) {
    if (!f)
        return;
    for (uint32_t i = 0; f->unpacked && i < f->n; i++)
        free(f->unpacked[i]);
    free(f->unpacked);
    map_guard_leave(f->guard);
    if (f->map)
        munmap((void *)f->map, f->size);
    free(f->path);
    free(f);
}

const char *ctx_file_path(const ctx_file *f) {
    return f->path;
}
uint64_t ctx_file_bytes(const ctx_file *f) {
    return f->size;
}
bool ctx_file_packed(const ctx_file *f) {
    return f->packed;
}

kv_status ctx_file_unchanged(const ctx_file *f, kv_err *err) {
    if (!map_guard_lost(f->guard))
        return KV_OK;
    return kv_fail(err, KV_EIO, "%s: some of it could not be read: its disk fails, or it was changed meanwhile", f->path);
}

/* The row of a section, or NULL; it is looked at by how much it may hold. */
static kv_status find(const ctx_file *f, ctx_kind kind, uint32_t index, size_t most, const ctx_row **out, kv_err *err) {
    *out = NULL;
    for (uint32_t i = 0; i < f->n && !*out; i++)
        if (f->rows[i].kind == (uint16_t)kind && f->rows[i].index == index)
            *out = &f->rows[i];
    return *out && (*out)->raw > most ? damaged(f, err, "a section is longer than it can be") : KV_OK;
}

static kv_status make_room(ctx_file *f, const ctx_row *r, kv_err *err) {
    void **room = &f->unpacked[r - f->rows];
    if (!*room)
        *room = aligned_alloc(CTX_ALIGN, (r->raw / CTX_ALIGN + 1) * CTX_ALIGN);
    return *room ? KV_OK : kv_fail(err, KV_ENOMEM, "%s: out of memory for %llu bytes", f->path, (unsigned long long)r->raw);
}

static kv_status unpack(ctx_file *f, const ctx_row *r, kv_err *err) {
    void *const *room = &f->unpacked[r - f->rows];
    if (*room)
        return KV_OK;
    if (r->how != CTX_ZSTD)
        return damaged(f, err, "a section is packed in a way that is not for it");
    kv_status st = make_room(f, r, err);
    if (st || ZSTD_decompress(*room, r->raw, f->map + r->offset, r->bytes) == r->raw)
        return st;
    free(*room);
    f->unpacked[r - f->rows] = NULL;
    return damaged(f, err, "a section cannot be unpacked");
}

kv_status ctx_file_section(ctx_file *f, ctx_kind kind, uint32_t index, size_t most, const void **data, size_t *bytes,
                           kv_err *err) {
    const ctx_row *r;
    kv_status st = find(f, kind, index, most, &r, err);
    *data = NULL;
    *bytes = 0;
    if (st || !r || (r->how != CTX_PLAIN && (st = unpack(f, r, err))))
        return st;
    *data = r->how == CTX_PLAIN ? f->map + r->offset : f->unpacked[r - f->rows];
    *bytes = r->raw;
    return KV_OK;
}

kv_status ctx_file_coded(ctx_file *f, ctx_kind kind, uint32_t index, size_t most, ctx_coded *out, kv_err *err) {
    const ctx_row *r;
    kv_status st = find(f, kind, index, most, &r, err);
    *out = (ctx_coded){.data = NULL};
    if (st || !r || r->how != CTX_CODED || (st = make_room(f, r, err)))
        return st;
    *out = (ctx_coded){f->map + r->offset, r->bytes, f->unpacked[r - f->rows], r->raw};
    return KV_OK;
}

kv_status ctx_file_about(ctx_file *f, ctx_about *out, kv_err *err) {
    const void *text;
    size_t len;
    kv_status st = ctx_file_section(f, CTX_ABOUT, 0, MOST_ABOUT, &text, &len, err);
    if (st)
        return st;
    return text ? ctx_about_parse(text, len, f->path, out, err) : damaged(f, err, "its description is missing");
}
