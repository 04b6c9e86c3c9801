/* Tensors that are changed in memory. */
#include "gguf/gguf_internal.h"

#include <stdlib.h>

kv_status gguf_edit(gguf *g, const char *name, uint8_t **data, kv_err *err) {
    gguf_tensor *t = (gguf_tensor *)gguf_tensor_find(g, name); /* the table is ours */
    if (!t)
        return kv_fail(err, KV_EINVAL, "%s: has no tensor '%s'", g->path, name);
    for (size_t i = 0; t->edited && i < g->n_changes; i++)
        if (g->changes[i].now == t->data) {
            *data = g->changes[i].now;
            return KV_OK;
        }
    gguf_change *all = realloc(g->changes, (g->n_changes + 1) * sizeof *all);
    uint8_t *now = malloc(t->nbytes + 1);
    if (all)
        g->changes = all;
    if (!all || !now) {
        free(now);
        return kv_fail(err, KV_ENOMEM, "%s: out of memory for tensor '%s'", g->path, name);
    }
    memcpy(now, t->data, t->nbytes);
    all[g->n_changes++] = (gguf_change){t->data, now, t->nbytes};
    t->data = *data = now;
    t->edited = true;
    return KV_OK;
}
