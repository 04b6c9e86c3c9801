/* What goes into eval_run and what comes out of it, for the subcommands of kveval. */
#ifndef EVAL_IO_H
#define EVAL_IO_H

#include "eval/eval.h"

#include <jansson.h>

/* A text as eval_run wants it. */
typedef struct eval_text {
    int32_t *ids;
    size_t n;
    char hash[33]; /* XXH3-128 of the text as it was read */
} eval_text;

/* parse_special: pieces that are special tokens become those. path NULL: KV_EINVAL that asks for --text. Caller frees with
 * eval_text_free. */
kv_status eval_text_load(const rt_model *m, const char *path, bool parse_special, eval_text *out, kv_err *err);
void eval_text_free(eval_text *t);

/* XXH3-128 as 32 hex digits. */
void eval_hash(const void *data, size_t len, char out[33]);

/* The figures of a result. All are numbers; those that are not known (NaN) are null in JSON. */
typedef struct eval_figure {
    const char *key;
    double value;
    bool count; /* a whole number */
} eval_figure;
enum { EVAL_FIGURES = 27 };
void eval_figures(const eval_result *r, eval_figure out[EVAL_FIGURES]);

/* Set all figures in the object; false when out of memory. */
bool eval_set_figures(json_t *object, const eval_result *r);

/* "0.0126 ± 0.0004": as many decimals as the standard error justifies; "2.1e-08 ± 3e-09" where those would be many. Returns
 * buf. */
enum { EVAL_PM = 64 };
char *eval_plus_minus(double mean, double se, bool sign, char buf[EVAL_PM]);

/* A text with everything that is not valid UTF-8 replaced by U+FFFD. NULL when out of memory; caller frees. */
char *eval_utf8(const char *s);

#endif
