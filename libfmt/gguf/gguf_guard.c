/* Model files that change while they are mapped. One that becomes shorter is base/map_guard.h's matter; what lies within the
 * file and was changed shows in its size and its time.
 */
#include "base/map_guard.h"
#include "gguf/gguf_internal.h"

#include <errno.h>
#include <stdlib.h>

kv_status gguf_guard(kv_err *err) {
    return map_guard_start() ? KV_OK : kv_fail(err, KV_EIO, "model files cannot be guarded: %s", strerror(errno));
}

/* Seconds by which a network's file system may change its mind about when a file was written. */
enum { SETTLES = 2 };

static kv_status check_file(const gguf *g, kv_err *err) {
    static const char fix[] = "leave it alone while it is in use, see that it is whole, and start again";
    struct stat now;
    if (fstat(g->fd, &now))
        return kv_fail(err, KV_EIO, "%s: cannot be looked at any more: %s", g->path, strerror(errno));
    if ((size_t)now.st_size < g->size)
        return kv_fail(err, KV_EIO, "%s: has become shorter while it was read, %lld of %zu bytes: %s", g->path,
                       (long long)now.st_size, g->size, fix);
    if ((size_t)now.st_size != g->size || llabs((long long)now.st_mtim.tv_sec - (long long)g->mtime.tv_sec) > SETTLES)
        return kv_fail(err, KV_EIO, "%s: was changed while it was read: %s", g->path, fix);
    if (map_guard_lost(g->guard))
        return kv_fail(err, KV_EIO, "%s: some of it could not be read: its disk fails, or it was changed meanwhile", g->path);
    return KV_OK;
}

kv_status gguf_unchanged(const gguf *g, kv_err *err) {
    kv_status st = check_file(g, err);
    for (size_t i = 0; i < g->n_others && !st; i++)
        st = check_file(g->others[i], err);
    return st;
}
