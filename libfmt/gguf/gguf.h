/* GGUF v3 files: a strict memory-mapped reader and a writer that copies tensors byte for byte.
 *
 * Nothing in the file is trusted: every size, offset, type, count and string length is checked before use, so that a truncated
 * or hostile file gives KV_EFORMAT with the file, the place and what is wrong. Little endian only.
 */
#ifndef KV_GGUF_H
#define KV_GGUF_H

#include "base/progress.h"
#include "base/status.h"
#include "gguf/qtype.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum gguf_type {
    GGUF_U8 = 0,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64,
    GGUF_TYPE_COUNT
} gguf_type;

/* A string inside the mapping: not NUL-terminated, may hold any bytes. Borrowed from the gguf. */
typedef struct gguf_str {
    const char *s;
    size_t len;
} gguf_str;

/* One metadata key. `raw` points at the value as it lies in the file (for an array: the first element), borrowed. */
typedef struct gguf_kv {
    gguf_str key;
    gguf_type type;
    gguf_type elem_type; /* arrays only */
    uint64_t count;      /* arrays: elements; else 1 */
    const uint8_t *raw;
    size_t raw_bytes;
} gguf_kv;

typedef struct gguf_tensor {
    gguf_str name;
    const qtype_info *type;
    uint32_t n_dims;
    uint32_t edited;     /* data is a copy in memory (gguf_edit) */
    uint64_t dims[4];    /* dims[0] is the contiguous one (columns); unused ones are 1 */
    uint64_t offset;     /* from the start of the data section */
    const uint8_t *data; /* borrowed, nbytes long, inside the mapping, unless it is edited */
    size_t nbytes;
} gguf_tensor;

typedef struct gguf gguf;

/* Open and check a model. Of a split one (NAME-00001-of-00003.gguf) any part can be named: all are opened as if they were one
 * file. *out: caller frees with gguf_close. KV_EIO, KV_EFORMAT, KV_EUNSUPP (tensor type, version). */
kv_status gguf_open(const char *path, gguf **out, kv_err *err);
void gguf_close(gguf *g); /* NULL is fine */

/* Set a key for those who look into g; the file stays as it is. set: KEY=TYPE:VALUE, TYPE one of int, float, bool, str.
 * KV_EINVAL: another form; KV_ENOMEM. */
kv_status gguf_override(gguf *g, const char *set, kv_err *err);
bool gguf_overridden(const gguf *g); /* any was set */

/* Change a tensor for those who look into g, and what gguf_copy writes; the file stays as it is. *data: a copy of its bytes,
 * borrowed, to be written to; the same one the next time. KV_EINVAL: g has no such tensor; KV_ENOMEM. */
kv_status gguf_edit(gguf *g, const char *name, uint8_t **data, kv_err *err);

/* How many parts a model has, by the name of one of them; 1 where the name is no such one. */
unsigned gguf_split_count(const char *path);
/* The path of part no (1 ..) of the model that path is a part of. out: strlen(path) + 1
 * bytes, which may be those of path. */
void gguf_split_path(const char *path, unsigned no, char *out);

const char *gguf_path(const gguf *g);    /* of the first part */
uint64_t gguf_file_bytes(const gguf *g); /* of all parts */
uint32_t gguf_alignment(const gguf *g);
size_t gguf_n_kv(const gguf *g);
const gguf_kv *gguf_kv_at(const gguf *g, size_t i);
const gguf_kv *gguf_find(const gguf *g, const char *key); /* NULL where absent */
size_t gguf_n_tensors(const gguf *g);
const gguf_tensor *gguf_tensor_at(const gguf *g, size_t i);
const gguf_tensor *gguf_tensor_find(const gguf *g, const char *name); /* hashed; NULL where absent */

/* What the file holds is what it held when it was opened. KV_EIO, naming it and saying what has changed. A system call per
 * part: to be asked when a piece of work is done that read from the mapping. */
kv_status gguf_unchanged(const gguf *g, kv_err *err);
/* Once for the process: a handler of SIGBUS, by which what a file no longer holds is read as zeros, so that gguf_unchanged can
 * say so. Other faults go to the handler that was there before. KV_EIO. */
kv_status gguf_guard(kv_err *err);

/* A tensor has been copied and will hardly be read again: its pages no longer count as memory of this process. They come back
 * from the file by themselves where it is read after all. */
void gguf_tensor_rest(const gguf_tensor *t);

/* Typed look-ups. Absent key: *out is left alone and KV_OK returned (preset *out with the default), unless `required`.
 * A value of the wrong type or outside the range of *out: KV_EFORMAT naming file and key. Integers of any width convert. */
kv_status gguf_get_u32(const gguf *g, const char *key, bool required, uint32_t *out, kv_err *err);
kv_status gguf_get_f32(const gguf *g, const char *key, bool required, float *out, kv_err *err);
kv_status gguf_get_bool(const gguf *g, const char *key, bool required, bool *out, kv_err *err);
kv_status gguf_get_str(const gguf *g, const char *key, bool required, gguf_str *out, kv_err *err);
/* An array key whose elements have type `elem`; *out points at the gguf_kv. */
kv_status gguf_get_array(const gguf *g, const char *key, gguf_type elem, bool required, const gguf_kv **out, kv_err *err);
/* Walk a string array: *cursor starts at 0 and moves on; false at the end. */
bool gguf_next_str(const gguf_kv *array, size_t *cursor, gguf_str *out);
/* Numeric array element i as double / int64 (any numeric element type); i < count is the caller's business. */
double gguf_array_f64(const gguf_kv *array, uint64_t i);
int64_t gguf_array_i64(const gguf_kv *array, uint64_t i);

/* Identity of a model: XXH3-128 as 32 hex digits over name, type, shape and bytes of the tensors that make q, k and v
 * (blk.*.attn_q*, attn_k*, attn_v*, attn_qkv*, attn_norm*), in the order of their names. Other metadata does not matter, so a
 * packed file has the hash of its original. Of what is edited, the bytes as they are now. out: 33 bytes. */
kv_status gguf_model_hash(const gguf *g, char out[33], kv_err *err);
/* The same, kept in a folder and found again there, by which files it came from; the folder is made when it is needed. */
kv_status gguf_model_hash_kept(const gguf *g, const char *folder, char out[33], kv_err *err);
/* What the whole model is, as 32 hexadecimal digits: all tensors, the vocabulary and the hyper-parameters, with those that were
 * set by gguf_override; what else is in its keys does not count, a profile say. folder: where the hash of the tensors is kept
 * and found again, by which files they came from; NULL: nowhere. It is made when it is needed. KV_EIO, KV_EFORMAT, KV_ENOMEM,
 * KV_ECANCEL. */
kv_status gguf_identity(const gguf *g, const char *folder, kv_progress progress, void *user, char out[33], kv_err *err);

/* A key to write in place of, or after, those of the source file. The bytes are borrowed until gguf_copy returns. */
typedef struct gguf_set {
    const char *key;
    gguf_type type;   /* GGUF_STRING, GGUF_U32, or GGUF_ARRAY of GGUF_U8 */
    const void *data; /* string bytes, uint32_t *, u8 elements */
    size_t len;       /* bytes */
} gguf_set;

/* Write a copy of `src` to `path`: all keys but those that start with `drop_prefix` (NULL: none dropped), then `sets`, then all
 * tensors byte for byte (as they are now, if edited) at their alignment. A split model becomes one file, without the keys
 * split.*; but where path is called like a part of a model in as many files (NAME-00001-of-00003.gguf), it becomes as many
 * again, divided as they were: keys are changed in the first. Atomic: temporary names, fsync, rename; all parts or none.
 * KV_EIO; KV_EINVAL where a file to be written is src itself or a part of it, or path is called like a part and src does not
 * have as many. */
kv_status gguf_copy(const gguf *src, const char *path, const char *drop_prefix, const gguf_set *sets, size_t n_sets,
                    kv_err *err);

#endif
