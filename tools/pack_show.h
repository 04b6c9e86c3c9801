/* kvpack --show: what a profile says, as a table or as JSON on stdout. */
#ifndef PACK_SHOW_H
#define PACK_SHOW_H

#include "profile.h"

#include <stdbool.h>

/* Shape of the model that a profile is shown for; zeros where it is not known. */
typedef struct pack_shape {
    uint32_t n_layer, n_kv_head, head_dim;
    uint32_t sliding_window; /* of some of the layers' attention, 0: none */
} pack_shape;

/* Bytes of one token over all layers: encoded as the profile says (f16 false), or as f16. */
double pack_token_bytes(const prof *p, const pack_shape *shape, bool f16);

/* where: the file the profile is from. */
kv_status pack_show_text(const prof *p, const pack_shape *shape, const char *where, kv_err *err);
kv_status pack_show_json(const prof *p, const pack_shape *shape, const char *where, kv_err *err);

#endif
