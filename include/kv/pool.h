/* Many sessions, one workspace: threads and working memory are there once, and a step takes tokens of any number of sessions
 * through the model together, which reads the weights once for all of them. Some may read a prompt while others decode; what a
 * session gets has the same bits as alone.
 *
 * A pool and its sessions belong to one caller at a time.
 */
#ifndef KV_PUBLIC_POOL_H
#define KV_PUBLIC_POOL_H

#include <kv/session.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct kv_pool_options {
    size_t size;
    uint32_t n_batch;  /* most tokens of a step, of all sessions together; 0: 512 */
    uint32_t reserved; /* 0 */
} kv_pool_options;
#define KV_POOL_OPTIONS_INIT                                                                                                   \
    { sizeof(kv_pool_options), 0, 0 }

/* options: NULL for all defaults. Sessions are made in it by the option `pool` of theirs, and freed before it. *out: caller
 * frees with kv_pool_free. KV_EINVAL, KV_ENOMEM. */
KV_API kv_status kv_pool_new(const kv_model *model, const kv_pool_options *options, kv_pool **out, kv_err *err);
KV_API void kv_pool_free(kv_pool *pool); /* NULL is fine */

enum { KV_ROW_NO_LOGITS = 1 }; /* nobody will ask what comes after this row: it is in the middle of a prompt */

typedef struct kv_row {
    kv_session *session; /* of this pool */
    int32_t id;
    uint32_t flags; /* KV_ROW_NO_LOGITS */
} kv_row;

/* Add a token to a session per row, and read all of them in one step, 1..n_batch rows; those of a session side by side, in
 * order. Afterwards kv_session_sample and kv_session_logits of all sessions answer at once, but after KV_ROW_NO_LOGITS. What
 * a session had not read yet is read before, by itself. KV_EINVAL: rows that cannot be; KV_ERANGE: a session is full, or an id
 * outside the vocabulary. On failure no token is added. */
KV_API kv_status kv_pool_step(kv_pool *pool, const kv_row *rows, size_t n, kv_err *err);

#ifdef __cplusplus
}
#endif

#endif
