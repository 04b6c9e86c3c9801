/* The body of a request, as JSON. A pure function of bytes. */
#ifndef SERVE_BODY_H
#define SERVE_BODY_H

#include "base/status.h"

#include <jansson.h>
#include <stddef.h>

/* *out: an object; caller frees with json_decref. KV_EINVAL: it is none (says where), or has more values than there is room
 * for, or a NUL (\u0000) stands elsewhere than in what was said: texts of messages, prompts, documents, and arguments of calls.
 * There lengths are carried through, as models say it, too; everywhere else a text would end at it without anybody noticing. */
kv_status body_read(const char *bytes, size_t n, json_t **out, kv_err *err);

#endif
