/* Chat templates: the part of Jinja that model files use, run as the Python package transformers runs it (jinja2's immutable
 * sandbox with trim_blocks, lstrip_blocks, loop controls and {% generation %}). docs/tokenizers.md says what is in it.
 *
 * Every byte of the result says where it comes from: from the template, or from what the template was given. So text that a
 * user wrote can be told from the marks of a turn, whatever the template does with it on the way.
 *
 * A template can do nothing but compute its text: values never change, nothing outside can be reached, and time, depth, memory
 * and length of the result are bounded.
 */
#ifndef RT_TEMPLATE_H
#define RT_TEMPLATE_H

#include "base/status.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct tpl tpl;

/* Copies what it needs; caller frees with tpl_free. May be used by many threads at once. Errors name line and construct.
 * KV_EFORMAT: no valid Jinja; KV_EUNSUPP: a statement that needs other files, or blocks of them; KV_ENOMEM. */
kv_status tpl_new(const char *text, size_t len, tpl **out, kv_err *err);
void tpl_free(tpl *t); /* NULL is fine */

typedef struct tpl_cfg {
    /* Keys whose texts count as the template's own: of the values themselves, and of objects in lists among them (the role of a
     * message). Ends with NULL; NULL: none. */
    const char *const *own;
    int64_t now;        /* what strftime_now tells, in seconds since 1970, as local time */
    uint64_t max_steps; /* parts of the template that are run, and what they look through; 0: TPL_STEPS */
    uint32_t max_depth; /* of calls, expressions and values inside each other; 0: TPL_DEPTH */
    size_t max_bytes;   /* of the result; 0: TPL_BYTES and eight times the values' texts */
    size_t max_memory;  /* of all values on the way; 0: TPL_MEMORY and 64 times the values' texts */
} tpl_cfg;
enum { TPL_STEPS = 100 << 20, TPL_DEPTH = 1000, TPL_BYTES = 16 << 20, TPL_MEMORY = 256 << 20 };

/* A stretch of a text. */
typedef struct tpl_span {
    size_t len;
    bool input; /* it comes from the values, not from the template */
} tpl_span;

typedef struct tpl_text {
    char *s; /* NUL-terminated beyond its len bytes */
    size_t len;
    tpl_span *span; /* (n_spans) one after the other, in turns; their lengths add up to len */
    size_t n_spans;
} tpl_text; /* starts as {0}; free with tpl_text_free */
void tpl_text_free(tpl_text *t);
/* Put a text behind it that is input. KV_ENOMEM. */
kv_status tpl_text_add(tpl_text *t, const char *text, size_t len, kv_err *err);

/* values: an object, borrowed: "messages", "tools", ... cfg: NULL for the defaults. KV_EINVAL: the template does what it may
 * not, or raises an exception itself; KV_ERANGE: a limit, which is named; KV_ENOMEM. */
kv_status tpl_render(const tpl *t, const json_t *values, const tpl_cfg *cfg, tpl_text *out, kv_err *err);

#endif
