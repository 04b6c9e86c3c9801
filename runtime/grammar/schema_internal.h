/* What the files that turn JSON schemas into GBNF share. */
#ifndef RT_SCHEMA_INTERNAL_H
#define RT_SCHEMA_INTERNAL_H

#include "grammar/schema.h"

#include <jansson.h>
#include <stdio.h>

enum { SCHEMA_DEPTH = 48, SCHEMA_REFS = 1024, SCHEMA_PATH = 512, SCHEMA_COUNT = 2000 };

/* Text that grows. */
typedef struct text {
    FILE *f;
    char *s;
    size_t len;
} text;

typedef struct writer {
    const json_t *root;
    const char *where;
    kv_err *err;
    kv_status st;
    text rules; /* those that are whole */
    unsigned n_rules, depth;
    const json_t *refs[SCHEMA_REFS]; /* schemas that have a rule, called ref<i> */
    unsigned n_refs, written;
    char path[SCHEMA_PATH]; /* where in the schema */
    size_t path_len;
    void (*write)(struct writer *w, FILE *to, const json_t *schema); /* a schema of any kind, as an expression */
} writer;

/* ---- schema_write.c ---- */

/* The first failure counts, and says where in the schema it is. */
void schema_fail(writer *w, kv_status st, const char *format, ...) __attribute__((format(printf, 3, 4)));
size_t schema_enter(writer *w, const char *key); /* further down; returns how to come back */
void schema_leave(writer *w, size_t before);
bool schema_open(writer *w, text *t);
void schema_close(text *t);
void schema_free(text *t);
void schema_literal(writer *w, FILE *to, const json_t *value); /* a value as a string of GBNF */
/* Every keyword is one of those, or an annotation. */
void schema_check_keys(writer *w, const json_t *schema, const char *const *known);
uint32_t schema_count(writer *w, const json_t *schema, const char *key, uint32_t absent);
void schema_part(writer *w, FILE *to, const char *key, const json_t *schema); /* one under a key of another, in brackets */
unsigned schema_rule(writer *w, text *t);                                     /* the text becomes a rule; returns its number */

/* ---- schema_scalar.c, schema_object.c: a schema of that type, as an expression ---- */

void schema_integer(writer *w, FILE *to, const json_t *schema);
void schema_number(writer *w, FILE *to, const json_t *schema);
void schema_string(writer *w, FILE *to, const json_t *schema);
void schema_array(writer *w, FILE *to, const json_t *schema);
void schema_object(writer *w, FILE *to, const json_t *schema);
bool schema_requires(const json_t *required, const char *key);

#endif
