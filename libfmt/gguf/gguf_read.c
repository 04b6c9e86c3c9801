/* The strict GGUF reader. Layout of a file (all little endian):
 *
 *   "GGUF", u32 version, u64 n_tensors, u64 n_kv
 *   n_kv times:       string key, u32 type, value      string: u64 length, bytes      array: u32 type, u64 count, elements
 *   n_tensors times:  string name, u32 n_dims, u64 dims[n_dims], u32 type, u64 offset
 *   padding to general.alignment (default 32), then the data section that the offsets count from
 *
 * One cursor walks the mapping once, from front to back. Every read goes through take(), which compares with the bytes that
 * are left; nothing is allocated from a number in the file before that number is known to fit. Once a file is open, all
 * pointers in the keys and tensors lie inside the mapping, and nobody has to check again. Source: the GGUF specification in the
 * ggml repository, docs/gguf.md.
 */
#include "base/map_guard.h"
#include "gguf/gguf_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "values are read as they lie in the file: little endian hosts only");

enum {
    MAX_ITEMS = 1 << 16, /* keys, or tensors: far above any real model */
    MAX_KEY = 65535,     /* by the specification */
    MAX_NAME = 64,       /* by the specification */
    MIN_KV_BYTES = 8 + 1 + 4 + 1,
    MIN_TENSOR_BYTES = 8 + 1 + 4 + 8 + 4 + 8,
    DEFAULT_ALIGNMENT = 32,
    MIN_ALIGNMENT = 8, /* by the specification a multiple of 8 */
    MAX_ALIGNMENT = 1 << 20,
};

const gguf_type_info gguf_types[GGUF_TYPE_COUNT] = {
    [GGUF_U8] = {"u8", 1, 'u'},     [GGUF_I8] = {"i8", 1, 'i'},     [GGUF_U16] = {"u16", 2, 'u'},
    [GGUF_I16] = {"i16", 2, 'i'},   [GGUF_U32] = {"u32", 4, 'u'},   [GGUF_I32] = {"i32", 4, 'i'},
    [GGUF_F32] = {"f32", 4, 'f'},   [GGUF_BOOL] = {"bool", 1, 'u'}, [GGUF_STRING] = {"string", 0, 0},
    [GGUF_ARRAY] = {"array", 0, 0}, [GGUF_U64] = {"u64", 8, 'u'},   [GGUF_I64] = {"i64", 8, 'i'},
    [GGUF_F64] = {"f64", 8, 'f'},
};

/* A cursor over the mapping, and the place that messages name. The first failure stays: from then on reads give zeros, and
 * further failures are not recorded, so that a run of reads needs only one look at `status`. */
typedef struct reader {
    const uint8_t *map;
    size_t size, pos;
    const char *path;
    char place[160];
    kv_status status;
    kv_err *err;
} reader;

__attribute__((format(printf, 3, 4))) static kv_status fail(reader *r, kv_status code, const char *fmt, ...) {
    if (r->status != KV_OK)
        return r->status;
    char what[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    return r->status = kv_fail(r->err, code, "%s: %s: %s", r->path, r->place, what);
}

/* Set the place: "key 'general.name'". Names come from the file: what is not printable ASCII shows as '?'. */
static void set_place(reader *r, const char *kind, gguf_str name) {
    char shown[100];
    size_t n = name.len < sizeof shown ? name.len : sizeof shown - 1;
    for (size_t i = 0; i < n; i++)
        shown[i] = name.s[i] >= ' ' && name.s[i] <= '~' ? name.s[i] : '?';
    shown[n] = 0;
    snprintf(r->place, sizeof r->place, "%s '%s'", kind, shown);
}

/* The next n bytes, or NULL. */
static const uint8_t *take(reader *r, uint64_t n) {
    if (r->status == KV_OK && n > r->size - r->pos)
        fail(r, KV_EFORMAT, "%" PRIu64 " bytes wanted at byte %zu, but the file has only %zu (truncated? get it again)", n,
             r->pos, r->size);
    if (r->status != KV_OK)
        return NULL;
    r->pos += n;
    return r->map + r->pos - n;
}

static uint32_t take_u32(reader *r) {
    const uint8_t *p = take(r, 4);
    return p ? gguf_load_u32(p) : 0;
}

static uint64_t take_u64(reader *r) {
    const uint8_t *p = take(r, 8);
    return p ? gguf_load_u64(p) : 0;
}

static gguf_str take_str(reader *r) {
    uint64_t len = take_u64(r);
    const uint8_t *p = take(r, len);
    return p ? (gguf_str){(const char *)p, len} : (gguf_str){"", 0};
}

/* The name of key or tensor number i, which becomes the place. */
static gguf_str take_name(reader *r, const char *kind, uint64_t i, size_t max) {
    snprintf(r->place, sizeof r->place, "%s %" PRIu64, kind, i);
    gguf_str name = take_str(r);
    if (!name.len || name.len > max || memchr(name.s, 0, name.len))
        fail(r, KV_EFORMAT, "a name of %zu bytes (1 to %zu are allowed, none of them NUL)", name.len, max);
    set_place(r, kind, name);
    return name;
}

/* ---- keys ---- */

static void check_bools(reader *r, const uint8_t *p, uint64_t n) {
    for (uint64_t i = 0; i < n; i++)
        if (p[i] > 1)
            fail(r, KV_EFORMAT, "a bool has the value %u (must be 0 or 1)", p[i]);
}

/* Step over `count` values of one type and check them. */
static void take_values(reader *r, uint32_t type, uint64_t count) {
    if (type == GGUF_STRING) {
        for (uint64_t i = 0; i < count && r->status == KV_OK; i++)
            take_str(r);
        return;
    }
    size_t size = type < GGUF_TYPE_COUNT ? gguf_types[type].size : 0;
    if (type == GGUF_ARRAY)
        fail(r, KV_EFORMAT, "arrays of arrays are not allowed");
    else if (!size)
        fail(r, KV_EFORMAT, "value type %u does not exist", type);
    else if (count > (r->size - r->pos) / size)
        fail(r, KV_EFORMAT,
             "%" PRIu64 " values of type %s wanted at byte %zu, but the file has only %zu (truncated? get it again)", count,
             gguf_types[type].name, r->pos, r->size);
    else if (type == GGUF_BOOL)
        check_bools(r, r->map + r->pos, count);
    take(r, count * size);
}

static void read_kv(reader *r, uint64_t i, gguf_kv *kv) {
    kv->key = take_name(r, "key", i, MAX_KEY);
    uint32_t type = take_u32(r), elem = 0;
    kv->count = 1;
    if (type == GGUF_ARRAY) {
        elem = take_u32(r);
        kv->count = take_u64(r);
    }
    kv->raw = r->map + r->pos;
    take_values(r, type == GGUF_ARRAY ? elem : type, kv->count);
    kv->raw_bytes = (size_t)(r->map + r->pos - kv->raw);
    kv->type = (gguf_type)type;
    kv->elem_type = (gguf_type)elem;
}

static kv_status read_kvs(reader *r, gguf *g) {
    g->kv = calloc(g->n_kv + 1, sizeof *g->kv);
    if (!g->kv || !gguf_index_alloc(&g->by_key, g->kv, sizeof *g->kv, g->n_kv))
        return fail(r, KV_ENOMEM, "out of memory");
    for (size_t i = 0; i < g->n_kv && r->status == KV_OK; i++) {
        read_kv(r, i, &g->kv[i]);
        if (r->status == KV_OK && !gguf_index_add(&g->by_key, i))
            fail(r, KV_EFORMAT, "appears twice");
    }
    return r->status;
}

static kv_status read_alignment(reader *r, gguf *g) {
    g->alignment = DEFAULT_ALIGNMENT;
    const gguf_kv *kv = gguf_index_find(&g->by_key, (gguf_str){"general.alignment", strlen("general.alignment")});
    if (!kv)
        return KV_OK;
    set_place(r, "key", kv->key);
    if (kv->type != GGUF_U32)
        return fail(r, KV_EFORMAT, "is a value of type %s (must be u32)", gguf_types[kv->type].name);
    g->alignment = gguf_load_u32(kv->raw);
    if (g->alignment < MIN_ALIGNMENT || g->alignment > MAX_ALIGNMENT || (g->alignment & (g->alignment - 1)))
        return fail(r, KV_EFORMAT, "is %u (must be a power of two from %d to %d)", g->alignment, MIN_ALIGNMENT, MAX_ALIGNMENT);
    return KV_OK;
}

/* ---- tensors ---- */

/* Names of the types that we do not read, for the message. */
static const char *foreign_type(uint32_t id) {
    static const char *const names[] = {
        [9] = "Q8_1", [15] = "Q8_K", [24] = "I8", [25] = "I16", [26] = "I32", [27] = "I64", [28] = "F64", [41] = "Q1_0",
    };
    return id < sizeof names / sizeof *names && names[id] ? names[id] : "unknown";
}

/* dims, type and nbytes; every product is checked. */
static kv_status read_shape(reader *r, gguf_tensor *t) {
    uint64_t elems = 1, bytes;
    t->n_dims = take_u32(r);
    if (t->n_dims < 1 || t->n_dims > 4)
        return fail(r, KV_EFORMAT, "%u dimensions (1 to 4 are allowed)", t->n_dims);
    for (uint32_t i = 0; i < 4; i++) {
        t->dims[i] = i < t->n_dims ? take_u64(r) : 1;
        if (!t->dims[i])
            return fail(r, KV_EFORMAT, "dimension %u is zero", i);
        if (__builtin_mul_overflow(elems, t->dims[i], &elems))
            return fail(r, KV_EFORMAT, "the number of elements does not fit in 64 bits");
    }
    uint32_t type = take_u32(r);
    t->type = qtype_get(type);
    if (!t->type)
        return fail(r, KV_EUNSUPP, "tensor type %u (%s) is not supported (supported: %s; convert the model to one of these)",
                    type, foreign_type(type), qtype_list());
    if (t->dims[0] % t->type->block_elems)
        return fail(r, KV_EFORMAT, "rows of %" PRIu64 " elements are not whole blocks of %u (%s)", t->dims[0],
                    t->type->block_elems, t->type->name);
    if (__builtin_mul_overflow(elems / t->type->block_elems, (uint64_t)t->type->block_bytes, &bytes) || bytes > SIZE_MAX)
        return fail(r, KV_EFORMAT, "%" PRIu64 " elements of type %s cannot be addressed", elems, t->type->name);
    t->nbytes = bytes;
    return r->status;
}

static kv_status read_tensors(reader *r, gguf *g) {
    g->tensors = calloc(g->n_tensors + 1, sizeof *g->tensors);
    if (!g->tensors || !gguf_index_alloc(&g->by_name, g->tensors, sizeof *g->tensors, g->n_tensors))
        return fail(r, KV_ENOMEM, "out of memory");
    g->infos_begin = r->pos;
    for (size_t i = 0; i < g->n_tensors && r->status == KV_OK; i++) {
        gguf_tensor *t = &g->tensors[i];
        t->name = take_name(r, "tensor", i, MAX_NAME);
        if (read_shape(r, t) == KV_OK && !gguf_index_add(&g->by_name, i))
            fail(r, KV_EFORMAT, "appears twice");
        t->offset = take_u64(r);
    }
    g->infos_end = r->pos;
    return r->status;
}

/* Turn offsets into pointers. */
static kv_status place_tensors(reader *r, gguf *g) {
    size_t pad = -r->pos & (g->alignment - 1);
    g->data_begin = pad < r->size - r->pos ? r->pos + pad : r->size;
    size_t data_bytes = r->size - g->data_begin;
    for (size_t i = 0; i < g->n_tensors; i++) {
        gguf_tensor *t = &g->tensors[i];
        set_place(r, "tensor", t->name);
        if (t->offset & (g->alignment - 1))
            return fail(r, KV_EFORMAT, "offset %" PRIu64 " is not aligned to %u", t->offset, g->alignment);
        if (t->offset > data_bytes || t->nbytes > data_bytes - t->offset)
            return fail(r, KV_EFORMAT,
                        "%zu bytes at offset %" PRIu64 " of a data section of %zu bytes (truncated? get it again)", t->nbytes,
                        t->offset, data_bytes);
        t->data = g->map + g->data_begin + t->offset;
    }
    return KV_OK;
}

static int by_offset(const void *a, const void *b) {
    const gguf_tensor *x = *(gguf_tensor *const *)a, *y = *(gguf_tensor *const *)b;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

/* No two tensors share bytes: else a small file could describe terabytes of weights. */
static kv_status check_overlap(reader *r, const gguf *g) {
    const gguf_tensor **order = malloc((g->n_tensors + 1) * sizeof *order);
    if (!order)
        return fail(r, KV_ENOMEM, "out of memory");
    for (size_t i = 0; i < g->n_tensors; i++)
        order[i] = &g->tensors[i];
    qsort(order, g->n_tensors, sizeof *order, by_offset);
    for (size_t i = 1; i < g->n_tensors; i++)
        if (order[i]->data < order[i - 1]->data + order[i - 1]->nbytes) {
            set_place(r, "tensor", order[i]->name);
            fail(r, KV_EFORMAT, "its bytes overlap those of another tensor");
        }
    free(order);
    return r->status;
}

/* ---- the file ---- */

static size_t take_count(reader *r, const char *what) {
    uint64_t n = take_u64(r);
    if (n > MAX_ITEMS)
        fail(r, KV_EFORMAT, "%" PRIu64 " %s cannot be true (at most %d are allowed)", n, what, MAX_ITEMS);
    return n;
}

static kv_status read_header(reader *r, gguf *g) {
    snprintf(r->place, sizeof r->place, "header");
    if (r->size < 4 || memcmp(r->map, "GGUF", 4))
        return fail(r, KV_EFORMAT, "not a GGUF file (it must start with \"GGUF\")");
    take(r, 4);
    g->version = take_u32(r);
    if (g->version && !(g->version & 0xffff))
        return fail(r, KV_EUNSUPP, "a big-endian GGUF file (only little endian is supported; convert it)");
    if (g->version != 2 && g->version != 3) /* 2 and 3 have the same layout where little endian */
        return fail(r, KV_EUNSUPP, "GGUF version %u is not supported (2 and 3 are; convert the model again)", g->version);
    g->n_tensors = take_count(r, "tensors");
    g->n_kv = take_count(r, "keys");
    uint64_t least = g->n_tensors * MIN_TENSOR_BYTES + g->n_kv * MIN_KV_BYTES;
    if (least > r->size - r->pos)
        return fail(r, KV_EFORMAT, "%zu tensors and %zu keys do not fit in the %zu bytes that follow (truncated? get it again)",
                    g->n_tensors, g->n_kv, r->size - r->pos);
    return r->status;
}

static kv_status map_file(gguf *g, kv_err *err) {
    kv_status st = KV_OK;
    struct stat info;
    int fd = open(g->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* do not wait for the writer of a pipe */
    if (fd < 0)
        return kv_fail(err, KV_EIO, "%s: cannot open: %s", g->path, strerror(errno));
    if (fstat(fd, &info) != 0) {
        st = kv_fail(err, KV_EIO, "%s: cannot read its size: %s", g->path, strerror(errno));
    } else if (!S_ISREG(info.st_mode)) {
        st = kv_fail(err, KV_EIO, "%s: is %s, not a GGUF file", g->path,
                     S_ISDIR(info.st_mode) ? "a directory" : "a pipe or a device");
    } else if (info.st_size == 0) {
        st = kv_fail(err, KV_EFORMAT, "%s: the file is empty (get it again)", g->path);
    } else {
        void *map = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (map == MAP_FAILED) {
            st = kv_fail(err, KV_EIO, "%s: cannot map into memory: %s", g->path, strerror(errno));
        } else {
            g->map = map;
            g->size = (size_t)info.st_size;
            g->dev = info.st_dev;
            g->ino = info.st_ino;
            g->mtime = info.st_mtim;
            g->fd = fd;
            g->guard = map_guard_take(map, g->size);
            return KV_OK;
        }
    }
    close(fd);
    return st;
}

kv_status gguf_open_file(const char *path, gguf **out, kv_err *err) {
    gguf *g = calloc(1, sizeof *g);
    if (!g || !(g->path = strdup(path))) {
        free(g);
        return kv_fail(err, KV_ENOMEM, "%s: out of memory", path);
    }
    g->fd = -1;
    kv_status st = map_file(g, err);
    if (st == KV_OK) {
        reader r = {.map = g->map, .size = g->size, .path = g->path, .err = err};
        if (read_header(&r, g) == KV_OK && read_kvs(&r, g) == KV_OK && read_alignment(&r, g) == KV_OK &&
            read_tensors(&r, g) == KV_OK && place_tensors(&r, g) == KV_OK)
            check_overlap(&r, g);
        st = r.status;
        const kv_status now = gguf_unchanged(g, err); /* then what else is wrong with it does not matter */
        st = now ? now : st;
    }
    if (st == KV_OK)
        *out = g;
    else
        gguf_close(g);
    return st;
}

void gguf_tensor_rest(const gguf_tensor *t) {
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), at = (uintptr_t)t->data;
    const uintptr_t first = (at + page - 1) / page * page, end = (at + t->nbytes) / page * page; /* whole pages only */
    if (!t->edited && first < end)
        madvise((void *)first, end - first, MADV_DONTNEED);
}

void gguf_close(gguf *g) {
    if (!g)
        return;
    for (size_t i = 0; i < g->n_others; i++)
        gguf_close(g->others[i]);
    free(g->others);
    for (size_t i = 0; i < g->n_own; i++)
        free(g->own[i]);
    free(g->own);
    for (size_t i = 0; i < g->n_changes; i++)
        free(g->changes[i].now);
    free(g->changes);
    map_guard_leave(g->guard);
    if (g->map)
        munmap((void *)g->map, g->size);
    if (g->fd >= 0)
        close(g->fd);
    free(g->by_key.slots);
    free(g->by_name.slots);
    free(g->tensors);
    free(g->kv);
    free(g->path);
    free(g);
}
