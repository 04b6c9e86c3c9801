/* Bytes as one zstd frame with a sum, and back. */
#ifndef KV_ZFRAME_H
#define KV_ZFRAME_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

/* As small as zstd makes them. *frame: caller frees with free(). KV_ENOMEM. */
kv_status zframe_make(const uint8_t *raw, size_t n, uint8_t **frame, size_t *len, kv_err *err);
/* A frame that holds exactly n bytes, which are written to raw. KV_EFORMAT: it is damaged, or holds more or fewer; what: names
 * it in the message; KV_ENOMEM. */
kv_status zframe_open(const uint8_t *frame, size_t len, uint8_t *raw, size_t n, const char *what, kv_err *err);

#endif
