/* JSON that programs write. */
#ifndef CLI_JSON_H
#define CLI_JSON_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>

#include <jansson.h>

/* Of what keys are called and mean: grows when programs that read them would have to change, not when keys are added. 1 had no
 * key that says so. */
enum { CLI_JSON_FORMAT = 2 };

/* The same object with "format" first, a list with it in each of its objects. Takes the reference; NULL stays NULL, and is the
 * result when out of memory. */
json_t *cli_json(json_t *j);
/* A string of any bytes (what is not UTF-8 becomes U+FFFD), or null for NULL: names and texts of files are no reason for an
 * object not to be made. NULL when out of memory. */
json_t *cli_json_text(const char *s);
/* Add to a list, or to an object, and take the reference. Where there is no memory for it, or either is NULL, the whole becomes
 * NULL: what is not complete is not printed. */
void cli_json_add(json_t **list, json_t *item);
void cli_json_set(json_t **object, const char *key, json_t *value);
/* Programs that write JSON begin with cli_json_watch. Then cli_json_lost says whether jansson was refused memory in this thread
 * since it was asked last: a value may lack something, whoever looked or not. */
void cli_json_watch(void);
bool cli_json_lost(void);
/* cli_json on stdout, with flags of json_dumpf, and a newline. Takes the reference; NULL: KV_ENOMEM. */
kv_status cli_json_print(json_t *j, size_t flags, kv_err *err);

#endif
