/* What a model is, found out when it is asked for, once. */
#include "model/model_internal.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct rt_identity {
    pthread_mutex_t lock;
    char *folder; /* where hashes of tensors are kept; or NULL */
    char hash[33];
};

kv_status rt_identity_new(const char *folder, rt_identity **out, kv_err *err) {
    rt_identity *id = calloc(1, sizeof *id);
    if (!id || (folder && !(id->folder = strdup(folder)))) {
        free(id);
        return kv_fail(err, KV_ENOMEM, "out of memory for a model");
    }
    pthread_mutex_init(&id->lock, NULL);
    *out = id;
    return KV_OK;
}

void rt_identity_free(rt_identity *id) {
    if (!id)
        return;
    pthread_mutex_destroy(&id->lock);
    free(id->folder);
    free(id);
}

kv_status rt_model_identity(const rt_model *m, kv_progress progress, void *user, char out[33], kv_err *err) {
    rt_identity *id = m->identity;
    pthread_mutex_lock(&id->lock);
    kv_status st = *id->hash ? KV_OK : gguf_identity(m->file, id->folder, progress, user, id->hash, err);
    if (st)
        *id->hash = '\0';
    memcpy(out, id->hash, 33);
    pthread_mutex_unlock(&id->lock);
    return st;
}
