/* What the reader knows of a file beyond its public parts; shared by gguf_*.c. */
#ifndef KV_GGUF_INTERNAL_H
#define KV_GGUF_INTERNAL_H

#include "gguf/gguf.h"

#include <string.h>
#include <sys/stat.h>

/* Open-addressing hash table over an array of items, each of which starts with its name (a gguf_str). */
typedef struct gguf_index {
    const void *items;
    size_t stride;   /* bytes per item */
    size_t mask;     /* slots - 1, a power of two less one */
    uint64_t seed;   /* of the hash */
    uint32_t *slots; /* item number + 1; 0 = empty */
} gguf_index;

/* Room for n items that are still to come; false: out of memory. */
bool gguf_index_alloc(gguf_index *x, const void *items, size_t stride, size_t n);
/* Enter item i, whose name is set; false: there is one of that name. */
bool gguf_index_add(gguf_index *x, size_t i);
const void *gguf_index_find(const gguf_index *x, gguf_str name); /* NULL: none */

_Static_assert(offsetof(gguf_kv, key) == 0 && offsetof(gguf_tensor, name) == 0, "gguf_index finds the name first");

/* Value types, indexed by gguf_type. */
typedef struct gguf_type_info {
    const char *name;
    uint8_t size; /* bytes of a value; 0: depends on its content */
    char kind;    /* 'u' unsigned, 'i' signed, 'f' float, 0 no number; bool counts as unsigned */
} gguf_type_info;

extern const gguf_type_info gguf_types[GGUF_TYPE_COUNT];

/* A tensor that was edited (gguf_edit). */
typedef struct gguf_change {
    const uint8_t *was; /* its bytes in the mapping, of the part that it is in */
    uint8_t *now;       /* owned */
    size_t nbytes;
} gguf_change;

struct gguf {
    char *path;
    const uint8_t *map;
    size_t size;
    int fd;                /* of the file that is mapped; -1: none */
    struct timespec mtime; /* when it was changed last, as of opening */
    struct map_guard *guard;
    dev_t dev; /* which file this is, whatever its path says by now */
    ino_t ino;
    uint32_t version, alignment;
    size_t n_kv, n_tensors;
    gguf_kv *kv;
    gguf_tensor *tensors;
    gguf_index by_key, by_name;
    size_t infos_begin, infos_end; /* the tensor descriptions, as they lie in the file */
    size_t data_begin;             /* start of the data section; = size where there is none */
    /* The other parts of a split model, in order, owned. This one is the first, and has the tensors of all. */
    gguf **others;
    size_t n_others;
    uint8_t **own; /* keys that were set (gguf_override) and their values */
    size_t n_own;
    gguf_change *changes; /* tensors that were edited */
    size_t n_changes;
};

/* ---- gguf_hash.c ---- */

/* Every field at a fixed size, and the name with its length, so that no two descriptions give the same bytes. */
struct XXH3_state_s;
void gguf_hash_tensor(struct XXH3_state_s *hash, const gguf_tensor *t);
int gguf_by_name(const void *a, const void *b); /* for qsort of const gguf_tensor * */

/* Open and check one file, as gguf_open does a model. */
kv_status gguf_open_file(const char *path, gguf **out, kv_err *err);

static inline uint64_t gguf_load_u64(const uint8_t *p) {
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline uint32_t gguf_load_u32(const uint8_t *p) {
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

#endif
