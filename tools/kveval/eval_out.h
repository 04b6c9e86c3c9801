/* Writing results: cells of a table, JSON, CSV; and finding out beforehand whether files can be written. */
#ifndef EVAL_OUT_H
#define EVAL_OUT_H

#include "base/status.h"
#include "cli/cli.h"
#include "cli/cli_json.h"
#include "measure/ask.h"
#include "report/report.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include <jansson.h>

/* Columns on a terminal that valid UTF-8 takes. */
size_t eval_columns(const char *s);
/* Print s on stdout in at least so many columns, and two blanks. */
void eval_cell(const char *s, size_t width, bool left);

/* The members of both in one object. Takes both references; either may be NULL, and so is the result then. */
json_t *eval_json_join(json_t *a, json_t *b);
/* Add n, hits, share (null for none) and its 95 % confidence interval lo, hi. Takes j, which may be NULL; NULL when out of
 * memory. */
json_t *eval_tally_json(json_t *j, ask_tally t);
/* How results of the model at `path` come about; borrows all. */
report_origin eval_origin(const rt_model *m, const char *path, const char *tool, int argc, char **argv);
/* tool, version, date, command and model: path, name, hash. NULL when out of memory. */
json_t *eval_origin_json(const report_origin *o);
/* Write it to a file, which appears whole or not at all, or with "-" to standard output. Takes the reference; NULL: KV_ENOMEM.
 */
kv_status eval_write_json(json_t *j, const char *path, kv_err *err);
/* Of several results that are written one after the other: one that fails keeps none of the others from being written, and the
 * first failure is told. */
static inline kv_status eval_first(kv_status before, kv_status now) {
    return before ? before : now;
}
/* In quotes, after RFC 4180. */
void eval_csv_text(FILE *f, const char *s);

#endif
