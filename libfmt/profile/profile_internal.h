/* Shared by the profile's files: the schema as tables of rows, and a walk over a profile along them. The parser, the formatter,
 * prof_round, prof_check and the test of docs/profile.md all read these rows; there is no second list of keys anywhere.
 */
#ifndef KV_PROFILE_INTERNAL_H
#define KV_PROFILE_INTERNAL_H

#include "profile/profile.h"

#include <stdbool.h>

typedef enum prof_kind {
    PK_CONST, /* no destination: always `min` */
    PK_INDEX, /* no destination: place of this element in its list */
    PK_U32,
    PK_U64,
    PK_F32,
    PK_F64,
    PK_STR,      /* char[size], UTF-8 */
    PK_HASH,     /* char[33], 32 lower-case hex digits */
    PK_CODEC,    /* kv_codec_id */
    PK_CODECS,   /* prof_kv: one codec, or a list of one per KV head */
    PK_F32S,     /* float *, prof_floats of them */
    PK_MAP,      /* keys of `sub`, destinations relative to offset */
    PK_LIST,     /* list of maps: array of `size`-byte elements at offset, uint32_t at `count` of them, at most `max` */
    PK_HEADS,    /* prof_kv: list of maps, one prof_head per KV head */
    PK_DIMS,     /* prof_tc *: bits per dimension as text; must agree with the binary part */
    PK_SPECTRUM, /* prof_tc *: written from the binary part; its type alone is checked on reading */
    PK_CHOICE,   /* prof_choice */
    PK_RANGES,   /* prof_ranges */
    PK_NAME,     /* an enum, by the names that `name` gives */
    PK_BOOL,
    PK_BUDGET,    /* kv_budget */
    PK_BUDGETS,   /* prof_layer: one integer, or a list of one per KV head */
    PK_PER_LAYER, /* one integer, or a list of one per layer: uint16_t * at `count`, whose greatest is at offset */
    PK_DATA,      /* the binary part (blob.h) */
    PK_COUNT
} prof_kind;

enum {
    PF_REQUIRED = 1,  /* must be given, is always written; others are left out when zero or empty */
    PF_NO_LAYERS = 2, /* only in a profile without `layers` */
    PF_POINTER = 4,   /* list: offset holds a pointer to the elements, not the elements */
    PF_FLOW = 8,      /* written on one line, unless it has heads; of a list: each entry */
    PF_PLAIN = 16,    /* codec: no calibrated one */
    PF_ALWAYS = 32,   /* always written where its mapping is, though it need not be given */
    PF_BUDGETS = 64,  /* written where layers have budgets */
    PF_STORED = 128,  /* of a layer: only where it has KV heads */
};

typedef struct prof_field {
    const char *key; /* NULL ends a table */
    prof_kind kind;
    unsigned flags;
    size_t offset, size, count;
    uint32_t per;    /* PK_F32S: numbers for each of `count`; 0: one, PROF_PER_DIM: head_dim */
    double min, max; /* inclusive */
    int digits;      /* significant ones, of floats */
    const struct prof_field *sub;
    const char *(*name)(unsigned i); /* NULL past the last */
} prof_field;

extern const prof_field prof_schema[];
/* How many numbers a PK_F32S of a layer has: the heads that `count` names, times `per`. */
uint32_t prof_floats(const prof *p, const prof_field *f, uint32_t layer);
extern const char *const prof_kind_names[PK_COUNT]; /* "integer", ...: for messages and docs */

enum { PROF_PATH = 128 }; /* longest "layers[3].k.bits", with room to spare */

/* "layers[3]" + "k" -> "layers[3].k" into out (PROF_PATH bytes). */
void prof_path_join(char *out, const char *path, const char *key);
void prof_path_index(char *out, const char *path, uint32_t i); /* "layers", 3 -> "layers[3]" */

/* Walk all that is to be written, in order. Maps and lists get a begin and an end; `value` points at the destination
 * (PK_F32S: at the first float; PK_LIST: at the first element; of a head: at a copy), n is the number of floats or elements, or
 * the index; of a map: whether it has heads. */
typedef enum prof_step { PROF_VALUE, PROF_BEGIN, PROF_ELEM_BEGIN, PROF_ELEM_END, PROF_END } prof_step;
typedef struct prof_place {
    prof_step step;
    const prof_field *field;
    const void *value;
    uint32_t n;
    const char *path;
} prof_place;
typedef kv_status (*prof_visit)(void *user, const prof_place *at, kv_err *err);
kv_status prof_walk(const prof *p, prof_visit visit, void *user, kv_err *err);

/* A float as the profile writes it: `digits` significant ones, and always readable as a float by YAML 1.1 ("1.0e-05"). */
void prof_number(char out[32], double v, int digits);
double prof_number_value(const char *text);
double prof_round_number(double v, int digits); /* as it comes back */
enum { PROF_BITS_DIGITS = 6 };

/* --- profile_tc.c: calibrated heads --- */
/* Rows of a basis are stored as integers below 2^PROF_BASIS_BITS times a power of two. That power: 2^(*exp); false where the
 * row is zero, not finite, or too large. */
enum { PROF_BASIS_BITS = 10 };
bool prof_row_exp(const float *row, uint32_t dim, int *exp);
void prof_tc_free(prof_tc *t);
void prof_tc_round(prof_tc *t);
kv_status prof_tc_check(const prof_tc *t, uint32_t dim, const char *where, const char *path, kv_err *err);

/* --- profile_evict.c: eviction, budgets, queries --- */
const char *prof_evict_name(unsigned policy); /* NULL: no such */
void prof_round_evict(prof *p);
void prof_mean_budgets(prof *p); /* `budget` of layers whose heads have their own */
kv_status prof_check_evict(const prof *p, const char *where, kv_err *err);
/* A query as it is stored: codes (dim) within -127..127 times *scale, which has 8 significant bits; the largest code is 127, or
 * all are 0. False where q is not exactly that. */
bool prof_query_code(const float *q, uint32_t dim, int8_t *codes, float *scale);

/* --- profile_window.c --- */
enum {
    PROF_WINDOWS_VERSION = 5, /* from which on a file may hold profiles for several windows, */
    PROF_FOLD_VERSION = 6,    /* and scales to fold */
};
enum { PROF_PER_DIM = UINT32_MAX };
kv_status prof_check_fold(const prof *p, const char *where, kv_err *err);
/* Whether p and those for narrower windows belong together. KV_ERANGE. */
kv_status prof_check_windows(const prof *p, const char *where, kv_err *err);

/* prof_check without those for narrower windows. */
kv_status prof_check_one(const prof *p, const char *where, kv_err *err);

bool prof_is_hash(const char *s);
bool prof_is_utf8(const char *s, size_t len);                       /* and free of control characters */
float prof_codec_bits(kv_codec_id id, bool key, uint32_t head_dim); /* kv_codec_bits, but 0 where head_dim is missing */

/* Calibrated heads, in the order of the binary part: layer, K before V, head. */
bool prof_has_tc(const prof *p);
bool prof_has_data(const prof *p); /* anything for the binary part */
bool prof_kv_has_tc(const prof_kv *kv, uint32_t n_kv_head);
size_t prof_n_tc(const prof *p); /* heads */
typedef struct prof_tc_iter {
    uint32_t layer, head;
    bool v;
} prof_tc_iter;
prof_tc *prof_tc_next(const prof *p, prof_tc_iter *it); /* start with {0}; NULL: no more */

/* A decimal number up to `most`; moves *text past it. */
bool prof_digits(const char **text, uint32_t most, uint32_t *out);
/* "6*3 0*61" into bits (dim); false where it is none, or is not of dim numbers up to PROF_MAX_BITS. */
bool prof_dims_parse(const char *text, uint32_t dim, uint8_t *bits);

/* A profile that is to be read. */
typedef struct prof_source {
    const char *text;
    size_t len;
    const uint8_t *frame; /* the binary parts as zstd frames, one after the other; NULL: in the text */
    size_t frame_len;
    const char *where;       /* for messages */
    const prof_model *model; /* what it must be for; or NULL */
} prof_source;
kv_status prof_parse_parts(const prof_source *from, prof **out, kv_err *err);
/* Like prof_format; with_data false: without the binary part. */
kv_status prof_format_parts(const prof *p, bool with_data, char **text, size_t *len, kv_err *err);

/* "0,2-3,11-" into ranges: rising, not overlapping; false where it is something else. */
bool prof_ranges_parse(const char *text, uint32_t most, prof_ranges *out);
/* KV_EMISMATCH: an override names a layer or head that a model of this shape does not have. 0: not known. */
kv_status prof_check_overrides(const prof *p, uint32_t n_layer, uint32_t n_kv_head, const char *where, kv_err *err);

#endif
