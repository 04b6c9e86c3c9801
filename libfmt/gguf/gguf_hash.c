/* The identity of a model: a hash over the tensors that make queries, keys and values. A profile belongs to these. */
#include "gguf/gguf_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

/* "blk.7.attn_q.weight" and its like: makes q, k or v. The prefixes cover attn_qkv, attn_q_norm, biases and so on. */
static bool matters(gguf_str name) {
    static const char *const parts[] = {"attn_q", "attn_k", "attn_v", "attn_norm"};
    static const char block[] = "blk.";
    const char *p = name.s, *end = name.s + name.len;
    if (name.len < strlen(block) || memcmp(p, block, strlen(block)))
        return false;
    p += strlen(block);
    const char *digits = p;
    while (p < end && *p >= '0' && *p <= '9')
        p++;
    if (p == digits || p == end || *p++ != '.')
        return false;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if ((size_t)(end - p) >= strlen(parts[i]) && !memcmp(p, parts[i], strlen(parts[i])))
            return true;
    return false;
}

int gguf_by_name(const void *a, const void *b) {
    gguf_str x = (*(const gguf_tensor *const *)a)->name, y = (*(const gguf_tensor *const *)b)->name;
    int c = memcmp(x.s, y.s, x.len < y.len ? x.len : y.len);
    return c ? c : (x.len > y.len) - (x.len < y.len);
}

void gguf_hash_tensor(XXH3_state_t *hash, const gguf_tensor *t) {
    uint64_t fields[] = {t->name.len, t->type->id, t->dims[0], t->dims[1], t->dims[2], t->dims[3], t->nbytes};
    XXH3_128bits_update(hash, fields, sizeof fields);
    XXH3_128bits_update(hash, t->name.s, t->name.len);
    XXH3_128bits_update(hash, t->data, t->nbytes);
}

kv_status gguf_model_hash(const gguf *g, char out[33], kv_err *err) {
    kv_status st = KV_OK;
    size_t n = 0;
    const gguf_tensor **found = malloc((g->n_tensors + 1) * sizeof *found);
    XXH3_state_t *hash = XXH3_createState();
    if (!found || !hash) {
        st = kv_fail(err, KV_ENOMEM, "%s: out of memory", g->path);
        goto done;
    }
    for (size_t i = 0; i < g->n_tensors; i++)
        if (matters(g->tensors[i].name))
            found[n++] = &g->tensors[i];
    if (!n && !(st = gguf_unchanged(g, err))) /* else it is no wonder */
        st = kv_fail(err, KV_EFORMAT, "%s: has no attention tensors (blk.N.attn_q...): is it a language model?", g->path);
    if (st)
        goto done;
    qsort(found, n, sizeof *found, gguf_by_name);
    XXH3_128bits_reset(hash);
    for (size_t i = 0; i < n; i++)
        gguf_hash_tensor(hash, found[i]);
    XXH128_hash_t h = XXH3_128bits_digest(hash);
    snprintf(out, 33, "%016" PRIx64 "%016" PRIx64, (uint64_t)h.high64, (uint64_t)h.low64);
    st = gguf_unchanged(g, err);
done:
    XXH3_freeState(hash);
    free(found);
    return st;
}
