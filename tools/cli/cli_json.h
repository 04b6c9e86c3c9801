/* JSON that programs write. */
#ifndef CLI_JSON_H
#define CLI_JSON_H

#include "base/status.h"

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
/* cli_json on stdout, with flags of json_dumpf, and a newline. Takes the reference; NULL: KV_ENOMEM. */
kv_status cli_json_print(json_t *j, size_t flags, kv_err *err);

#endif
