/* Inside the template engine: memory, values, syntax trees, and the state of a run.
 *
 * template.c           the two entries, values from JSON
 * lex.c                text to tokens; parse.c, parse_expr.c, nodes.c: tokens to a tree; tree.h: its nodes
 * exec.c, scope.c      statements and variables; eval.c, operate.c: expressions
 * value.c              what values are; print.c: their text; json.c: their JSON
 * buf.c, chars.c       texts that grow and know where their bytes come from, and what they are made of
 * table*.c             filters, tests, methods and functions, a row each; text.c, format.c: what they share
 *
 * Everything lives in an arena and is freed at once. A run that has failed goes on as a run in which everything is undefined,
 * until loops notice: functions give a value back and leave the status in the run (run->st), and only the first error counts.
 */
#ifndef RT_TPL_INTERNAL_H
#define RT_TPL_INTERNAL_H

#include "template/template.h"

/* ---- memory (arena.c) ---- */

typedef struct tpl_chunk tpl_chunk;
typedef struct tpl_arena {
    tpl_chunk *last;
    size_t used, max; /* bytes given out; most of them, 0: any number */
    bool full;        /* the limit was met, else memory itself was */
} tpl_arena;
void *tpl_arena_get(tpl_arena *a, size_t bytes); /* aligned, zeroed; NULL: no more */
/* More room for what has `bytes`; moves unless it was the last to be given out. */
void *tpl_arena_grow(tpl_arena *a, void *p, size_t bytes, size_t wanted);
void tpl_arena_free(tpl_arena *a);

/* ---- values (value.c) ---- */

typedef enum tpl_kind {
    TPL_UNDEF,  /* prints as nothing; may be asked whether it is defined, and little else */
    TPL_ABSENT, /* an argument that was not given */
    TPL_NONE,
    TPL_BOOL,
    TPL_INT,
    TPL_FLOAT,
    TPL_STR,
    TPL_LIST,
    TPL_DICT,
    TPL_SPACE, /* namespace(): a dict whose values can be set */
    TPL_LOOP,
    TPL_MACRO,
    TPL_METHOD, /* a function of a value */
    TPL_FUNC,
} tpl_kind;

typedef struct tpl_str {
    const char *s;
    size_t len;
    const uint8_t *mark; /* (len) 1: from the input; NULL: all bytes are what `input` says */
    bool input;
    bool safe; /* was escaped for HTML, or declared to be: what is added to it is escaped */
} tpl_str;

typedef enum tpl_form {
    TPL_A_LIST,
    TPL_A_TUPLE,
    TPL_A_GROUP, /* a tuple of groupby, with names */
    TPL_A_RANGE,
    TPL_A_VIEW,   /* keys(), values(), items(): no indices */
    TPL_A_STREAM, /* of a generator: no indices, no length, and can be read once */
} tpl_form;

typedef struct tpl_list tpl_list;
typedef struct tpl_dict tpl_dict;
typedef struct tpl_loop tpl_loop;
typedef struct tpl_macro tpl_macro;
typedef struct tpl_method tpl_method;
typedef struct tpl_row tpl_row;

typedef struct tpl_value {
    uint8_t kind; /* tpl_kind */
    bool unsafe;  /* of what is undefined: a function that would change its value */
    union {
        bool b;
        int64_t i;
        double f;
        const tpl_str *s;
        const tpl_str *name; /* of what is undefined; or NULL */
        tpl_list *l;
        tpl_dict *d;
        tpl_loop *loop;
        const tpl_macro *macro;
        const tpl_method *method;
        const tpl_row *func;
    };
} tpl_value;

struct tpl_list {
    tpl_value *v; /* (n) */
    size_t n;
    uint8_t form; /* tpl_form */
    bool spent;   /* a stream that was read */
};

typedef struct tpl_pair {
    tpl_value key, value;
} tpl_pair;

struct tpl_dict {
    tpl_pair *p; /* (n), in the order in which they were added */
    size_t n, cap;
};

struct tpl_method {
    tpl_value self;
    const tpl_row *row;
};

#define TPL_UNDEFINED ((tpl_value){.kind = TPL_UNDEF})
#define TPL_NULL      ((tpl_value){.kind = TPL_NONE})

static inline tpl_value tpl_bool(bool b) {
    return (tpl_value){.kind = TPL_BOOL, .b = b};
}
static inline tpl_value tpl_int(int64_t i) {
    return (tpl_value){.kind = TPL_INT, .i = i};
}
static inline tpl_value tpl_float(double f) {
    return (tpl_value){.kind = TPL_FLOAT, .f = f};
}
static inline bool tpl_is_number(tpl_value v) {
    return v.kind == TPL_BOOL || v.kind == TPL_INT || v.kind == TPL_FLOAT;
}
static inline bool tpl_is_whole(tpl_value v) {
    return v.kind == TPL_BOOL || v.kind == TPL_INT;
}
static inline int64_t tpl_whole(tpl_value v) {
    return v.kind == TPL_BOOL ? v.b : v.i;
}
static inline double tpl_real(tpl_value v) {
    return v.kind == TPL_FLOAT ? v.f : (double)tpl_whole(v);
}
static inline bool tpl_str_is(const tpl_str *s, const char *what) {
    size_t n = 0;
    while (n < s->len && what[n] && s->s[n] == what[n])
        n++;
    return n == s->len && !what[n];
}

/* ---- a run ---- */

typedef struct tpl_buf tpl_buf;
typedef struct tpl_scope tpl_scope;

typedef enum tpl_signal { TPL_GO_ON, TPL_BREAK, TPL_CONTINUE } tpl_signal;

typedef struct tpl_above tpl_above;
typedef struct tpl_run {
    const tpl_above *above;
    const tpl *t;
    tpl_arena arena;
    kv_status st;
    kv_err *err;
    uint64_t steps, max_steps;
    uint32_t depth, max_depth;
    uint32_t line;          /* of what is running */
    const char *what, *who; /* "filter", "join": in front of messages; or NULL */
    int64_t now;
    tpl_value *root; /* (names of the template) variables outside of all scopes */
    tpl_scope *scope;
    tpl_buf *out; /* where output goes */
    tpl_signal signal;
} tpl_run;

/* Fail, unless the run has failed already; gives something undefined. */
tpl_value tpl_fail(tpl_run *r, kv_status st, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Is there time for n more steps? Fails else; false, too, in a run that has failed. */
bool tpl_steps(tpl_run *r, uint64_t n);
bool tpl_deeper(tpl_run *r); /* one more level; false: too deep, which fails. Then tpl_up. */
void tpl_up(tpl_run *r);
void *tpl_get(tpl_run *r, size_t n, size_t size);  /* (n) of them, zeroed; NULL: fails */
bool tpl_fits(tpl_run *r, int64_t n, size_t size); /* would n > 0 of them fit? Fails else, before any work is done */

/* ---- texts (buf.c) ---- */

/* Starts as {.r = run}. */
struct tpl_buf {
    tpl_run *r;
    char *s;
    uint8_t *mark;        /* as in tpl_str, once there are bytes of both kinds */
    size_t len, cap, max; /* max: most bytes, 0: any number */
    bool input, safe;
};
void tpl_put(tpl_buf *b, const char *s, size_t len, bool input);
void tpl_puts(tpl_buf *b, const char *s); /* of the template */
void tpl_put_str(tpl_buf *b, const tpl_str *s);
void tpl_put_part(tpl_buf *b, const tpl_str *s, size_t from, size_t len);
bool tpl_from_input(const tpl_str *s, size_t at); /* does this byte come from the input? */
tpl_value tpl_take(tpl_buf *b);                   /* as a value; b is not used any more */
tpl_value tpl_part(tpl_run *r, const tpl_str *s, size_t from, size_t len);
tpl_value tpl_text_value(tpl_run *r, const char *s, size_t len, bool input); /* s: borrowed for the run */

/* ---- what values are (value.c) ---- */

const char *tpl_type(tpl_value v); /* "str", "dict", ... */
bool tpl_truth(tpl_value v);
bool tpl_equal(tpl_run *r, tpl_value a, tpl_value b);
int tpl_order(tpl_run *r, tpl_value a, tpl_value b,
              const char *op);                                /* <0, 0, >0; 2: neither (NaN). Fails where there is none. */
tpl_value tpl_list_new(tpl_run *r, tpl_form form, size_t n);  /* of n undefined values */
tpl_value tpl_pair_new(tpl_run *r, tpl_value a, tpl_value b); /* a tuple */
tpl_value tpl_dict_new(tpl_run *r, tpl_kind kind, size_t room);
const tpl_value *tpl_dict_find(tpl_run *r, const tpl_dict *d, tpl_value key); /* NULL: not there */
void tpl_dict_set(tpl_run *r, tpl_dict *d, tpl_value key, tpl_value value);
/* What a loop goes over: elements, keys, characters. Reads a stream. Fails for what cannot be gone over. */
tpl_list *tpl_elements(tpl_run *r, tpl_value v);
size_t tpl_length(tpl_run *r, tpl_value v); /* fails for what has none */
bool tpl_has_length(tpl_value v);
tpl_value tpl_attr(tpl_run *r, tpl_value v, const tpl_str *name); /* v.name */
tpl_value tpl_item(tpl_run *r, tpl_value v, tpl_value key);       /* v[key] */
tpl_value tpl_slice(tpl_run *r, tpl_value v, const tpl_value part[3]);
bool tpl_contains(tpl_run *r, tpl_value all, tpl_value one);

/* ---- characters (chars.c): of UTF-8, in which a byte that is part of no character counts as one ---- */

size_t tpl_char(const char *s, size_t len, int32_t *c); /* bytes of the first one; *c: U+FFFD for such a byte */
size_t tpl_count(const char *s, size_t len);
size_t tpl_offset(const char *s, size_t len, size_t n); /* of the n-th character */
bool tpl_is_space(int32_t c);                           /* as Python's str.isspace */
size_t tpl_spaces(const char *s, size_t len);           /* bytes of white space in front */
size_t tpl_spaces_end(const char *s, size_t len);       /* and at the end */
typedef enum tpl_case { TPL_LOWER, TPL_UPPER, TPL_TITLE } tpl_case;
void tpl_put_case(tpl_buf *b, const tpl_str *s, size_t from, size_t len, tpl_case to);

/* ---- text of values (print.c, json.c) ---- */

void tpl_print(tpl_buf *b, tpl_value v);            /* as str() */
void tpl_repr(tpl_buf *b, tpl_value v);             /* as repr() */
const tpl_str *tpl_string(tpl_run *r, tpl_value v); /* as str(), never NULL */
void tpl_put_float(tpl_buf *b, double f);
void tpl_put_json(tpl_buf *b, tpl_value v, const tpl_value arg[4]); /* arg: ensure_ascii, indent, separators, sort_keys */

/* ---- operators (operate.c) ---- */

tpl_value tpl_operate(tpl_run *r, int op, tpl_value a, tpl_value b);
tpl_value tpl_negate(tpl_run *r, tpl_value v);
tpl_value tpl_concat(tpl_run *r, tpl_value a, tpl_value b); /* a + b of texts */
tpl_value tpl_format_percent(tpl_run *r, const tpl_str *format, tpl_value args);

/* ---- filters, tests, methods, functions (table.c and table_*.c) ---- */

enum { TPL_PARAMS = 6 };

/* Arguments as they were written. */
typedef struct tpl_call {
    tpl_value *v; /* (n) */
    size_t n;
    tpl_dict *named; /* or NULL */
} tpl_call;

/* arg: (TPL_PARAMS) one for each parameter of the row, TPL_ABSENT where none was given. */
typedef tpl_value (*tpl_fn)(tpl_run *r, tpl_value self, const tpl_value *arg, const tpl_call *call);
struct tpl_row {
    const char *name;
    tpl_fn fn;          /* NULL: not for templates */
    const char *params; /* names, separated by spaces; NULL: any arguments */
    int8_t required;    /* how many of them must be given */
};

typedef enum tpl_table { TPL_FILTERS, TPL_TESTS, TPL_FUNCTIONS, TPL_STR_METHODS, TPL_DICT_METHODS, TPL_LIST_METHODS } tpl_table;
const tpl_row *tpl_find(tpl_table table, const tpl_str *name); /* NULL: no such row */
tpl_value tpl_call_row(tpl_run *r, const char *what, const tpl_row *row, tpl_value self, const tpl_call *call);
tpl_value tpl_filter(tpl_run *r, const tpl_str *name, tpl_value v, const tpl_call *call);
bool tpl_test(tpl_run *r, const tpl_str *name, tpl_value v, const tpl_call *call);

extern const tpl_row tpl_filter_rows[], tpl_filter_list_rows[], tpl_test_rows[], tpl_function_rows[], tpl_str_rows[],
    tpl_dict_rows[], tpl_list_rows[]; /* each ends with a row without a name */

/* Arguments of rows. */
int64_t tpl_arg_int(tpl_run *r, tpl_value v, int64_t otherwise); /* otherwise: for one that is absent */
const tpl_str *tpl_arg_str(tpl_run *r, tpl_value v);             /* NULL: absent or none; fails where it is no text */
/* An attribute by its path, "a.b.0". */
tpl_value tpl_path(tpl_run *r, tpl_value v, tpl_value path);

/* ---- calls ---- */

tpl_value tpl_invoke(tpl_run *r, tpl_value f, const tpl_call *call);            /* eval.c */
tpl_value tpl_call_macro(tpl_run *r, const tpl_macro *m, const tpl_call *call); /* exec.c */
tpl_value tpl_loop_attr(tpl_run *r, tpl_loop *l, const tpl_str *name);
tpl_value tpl_loop_again(tpl_run *r, const tpl_loop *l, const tpl_call *call); /* loop(...) of a recursive loop */

/* What files need of those that stand above them: values have methods, filters call filters, expressions run macros. */
struct tpl_above {
    const tpl_row *(*find)(tpl_table table, const tpl_str *name);
    tpl_value (*filter)(tpl_run *r, const tpl_str *name, tpl_value v, const tpl_call *call);
    bool (*test)(tpl_run *r, const tpl_str *name, tpl_value v, const tpl_call *call);
    tpl_value (*call_macro)(tpl_run *r, const tpl_macro *m, const tpl_call *call);
    tpl_value (*loop_attr)(tpl_run *r, tpl_loop *l, const tpl_str *name);
    tpl_value (*loop_again)(tpl_run *r, const tpl_loop *l, const tpl_call *call);
};

#endif
