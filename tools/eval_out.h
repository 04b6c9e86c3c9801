/* Writing results: cells of a table, JSON, CSV; and finding out beforehand whether files can be written. */
#ifndef EVAL_OUT_H
#define EVAL_OUT_H

#include "status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include <jansson.h>

/* Find out now, not after an hour of work, whether the results can be written. NULL and "-" are passed over. */
kv_status eval_check_writable(const char *const *paths, size_t n, kv_err *err);

/* Columns on a terminal that valid UTF-8 takes. */
size_t eval_columns(const char *s);
/* Print s on stdout in at least so many columns, and two blanks. */
void eval_cell(const char *s, size_t width, bool left);

/* A string of any bytes (what is not UTF-8 becomes U+FFFD), or null for NULL. */
json_t *eval_json_text(const char *s);
/* Write it to a file, which appears whole or not at all, or with "-" to standard output. Takes the reference; NULL: KV_ENOMEM.
 */
kv_status eval_write_json(json_t *j, const char *path, kv_err *err);
/* In quotes, after RFC 4180. */
void eval_csv_text(FILE *f, const char *s);

#endif
