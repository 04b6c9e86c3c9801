/* What a model is, all of it. Its tensors take a while to read, so their hash is kept in a folder, if there is one, by which
 * files it was made from: devices, numbers, sizes and times.
 */
#include "base/atomic_file.h"
#include "base/folder.h"
#include "gguf/gguf_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

typedef struct part {
    uint64_t dev, ino, size, mtime[2], ctime[2];
} part;

static kv_status describe(const gguf *g, part *out, kv_err *err) {
    struct stat s;
    if (fstat(g->fd, &s))
        return kv_fail(err, KV_EIO, "%s: cannot be looked at: %s", g->path, strerror(errno));
    *out = (part){s.st_dev,
                  s.st_ino,
                  (uint64_t)s.st_size,
                  {(uint64_t)s.st_mtim.tv_sec, (uint64_t)s.st_mtim.tv_nsec},
                  {(uint64_t)s.st_ctim.tv_sec, (uint64_t)s.st_ctim.tv_nsec}};
    return KV_OK;
}

static void to_text(XXH128_hash_t h, char out[33]) {
    snprintf(out, 33, "%016" PRIx64 "%016" PRIx64, (uint64_t)h.high64, (uint64_t)h.low64);
}

/* Where the hash of these files is kept. *out: caller frees. */
static kv_status kept_at(const gguf *g, const char *folder, char **out, kv_err *err) {
    const size_t n = 1 + g->n_others, room = strlen(folder) + 1 + 32 + 1;
    part *parts = calloc(n, sizeof *parts);
    char *path = malloc(room), name[33];
    kv_status st = parts && path ? KV_OK : kv_fail(err, KV_ENOMEM, "%s: out of memory", g->path);
    for (size_t i = 0; i < n && !st; i++)
        st = describe(i ? g->others[i - 1] : g, &parts[i], err);
    if (!st) {
        to_text(XXH3_128bits(parts, n * sizeof *parts), name);
        snprintf(path, room, "%s/%s", folder, name);
        *out = path;
        path = NULL;
    }
    free(parts);
    free(path);
    return st;
}

static bool take_kept(const char *path, char hash[33]) {
    FILE *f = fopen(path, "re");
    const size_t n = f ? fread(hash, 1, 33, f) : 0;
    if (f)
        fclose(f);
    hash[32] = '\0';
    return n == 33 && strspn(hash, "0123456789abcdef") == 32;
}

static kv_status hash_tensors(const gguf *g, kv_progress progress, void *user, char out[33], kv_err *err) {
    kv_status st = KV_OK;
    size_t done = 0;
    const gguf_tensor **all = malloc((g->n_tensors + 1) * sizeof *all);
    XXH3_state_t *hash = XXH3_createState();
    if (!all || !hash) {
        st = kv_fail(err, KV_ENOMEM, "%s: out of memory", g->path);
        goto done;
    }
    for (size_t i = 0; i < g->n_tensors; i++)
        all[i] = &g->tensors[i];
    qsort(all, g->n_tensors, sizeof *all, gguf_by_name);
    XXH3_128bits_reset(hash);
    for (size_t i = 0; i < g->n_tensors && !st; i++) {
        gguf_hash_tensor(hash, all[i]);
        gguf_tensor_rest(all[i]);
        done += all[i]->nbytes;
        if (progress && !progress(user, (double)done / (double)gguf_file_bytes(g)))
            st = kv_fail(err, KV_ECANCEL, "%s: stopped while it was looked at", g->path);
    }
    to_text(XXH3_128bits_digest(hash), out);
    if (!st)
        st = gguf_unchanged(g, err);
done:
    XXH3_freeState(hash);
    free(all);
    return st;
}

static bool begins(gguf_str key, const char *with, size_t len) {
    return key.len >= len && !memcmp(key.s, with, len);
}

/* Of the vocabulary, or a hyper-parameter. How chats are written does not change what a token is. */
static bool counts(gguf_str key, gguf_str arch) {
    static const char vocabulary[] = "tokenizer.", chat[] = "tokenizer.chat_template";
    if (begins(key, vocabulary, strlen(vocabulary)))
        return !begins(key, chat, strlen(chat));
    return begins(key, arch.s, arch.len) && key.len > arch.len && key.s[arch.len] == '.';
}

static int by_key(const void *a, const void *b) {
    const gguf_str x = (*(const gguf_kv *const *)a)->key, y = (*(const gguf_kv *const *)b)->key;
    const int c = memcmp(x.s, y.s, x.len < y.len ? x.len : y.len);
    return c ? c : (x.len > y.len) - (x.len < y.len);
}

static void hash_keys(XXH3_state_t *hash, const gguf_kv **all, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const uint64_t fields[] = {all[i]->key.len, all[i]->type, all[i]->elem_type, all[i]->count, all[i]->raw_bytes};
        XXH3_128bits_update(hash, fields, sizeof fields);
        XXH3_128bits_update(hash, all[i]->key.s, all[i]->key.len);
        XXH3_128bits_update(hash, all[i]->raw, all[i]->raw_bytes);
    }
}

static kv_status hash_all(const gguf *g, const char tensors[33], char out[33], kv_err *err) {
    gguf_str arch = {0};
    kv_status st = gguf_get_str(g, "general.architecture", true, &arch, err);
    size_t n = 0;
    const gguf_kv **all = malloc((g->n_kv + 1) * sizeof *all);
    XXH3_state_t *hash = XXH3_createState();
    if (!st && (!all || !hash))
        st = kv_fail(err, KV_ENOMEM, "%s: out of memory", g->path);
    if (st)
        goto done;
    for (size_t i = 0; i < g->n_kv; i++)
        if (counts(g->kv[i].key, arch))
            all[n++] = &g->kv[i];
    qsort(all, n, sizeof *all, by_key);
    XXH3_128bits_reset(hash);
    XXH3_128bits_update(hash, tensors, 32);
    XXH3_128bits_update(hash, arch.s, arch.len);
    hash_keys(hash, all, n);
    to_text(XXH3_128bits_digest(hash), out);
    st = gguf_unchanged(g, err);
done:
    XXH3_freeState(hash);
    free(all);
    return st;
}

/* Kept for next time, if that can be: else it is made again. hash: 34 bytes, of which 32 count. */
static void keep(const char *folder, const char *path, char *hash) {
    memcpy(hash + 32, "\n", 2);
    if (!folder_make(folder, NULL))
        file_write(path, hash, 33, NULL);
    hash[32] = '\0';
}

kv_status gguf_model_hash_kept(const gguf *g, const char *folder, char out[33], kv_err *err) {
    char *path = NULL, hash[34];
    kv_status st = kept_at(g, folder, &path, err);
    if (!st && !take_kept(path, hash) && !(st = gguf_model_hash(g, hash, err)))
        keep(folder, path, hash);
    if (!st)
        memcpy(out, hash, 33);
    free(path);
    return st;
}

kv_status gguf_identity(const gguf *g, const char *folder, kv_progress progress, void *user, char out[33], kv_err *err) {
    char *path = NULL, tensors[34];
    kv_status st = folder ? kept_at(g, folder, &path, err) : KV_OK;
    if (st || (path && take_kept(path, tensors)))
        goto done;
    if ((st = hash_tensors(g, progress, user, tensors, err)) || !path)
        goto done;
    keep(folder, path, tensors);
done:
    free(path);
    return st ? st : hash_all(g, tensors, out, err);
}
