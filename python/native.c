/* Compiled into the extension module libkv._kv, between the declarations of kv/kv.h and what cffi generates: what must not be
 * Python. Called without the interpreter's lock. */
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- owners ----
 *
 * An object of the library, and those that it borrows. They are counted here, and not by Python: so they are freed in the right
 * order whatever the order in which garbage is collected, and no Python code runs for it, in which an interrupt would get lost.
 */

enum { KV_PY_MODEL, KV_PY_PROFILE, KV_PY_SESSION, KV_PY_SAMPLER, KV_PY_STREAM };

typedef struct kv_py_owner {
    void *object;
    struct kv_py_owner *borrowed[2]; /* or NULL */
    int kind;
    pid_t pid;
    atomic_int uses;
} kv_py_owner;

static void kv_py_free(int kind, void *object) {
    switch (kind) {
    case KV_PY_MODEL:
        kv_model_free(object);
        break;
    case KV_PY_PROFILE:
        kv_profile_free(object);
        break;
    case KV_PY_SESSION:
        kv_session_free(object);
        break;
    case KV_PY_SAMPLER:
        kv_sampler_free(object);
        break;
    case KV_PY_STREAM:
        kv_text_stream_free(object);
        break;
    }
}

/* After a fork, the threads that freeing would wait for are not there: what a parent made is left alone. */
static void kv_py_release(kv_py_owner *o) {
    if (!o || atomic_fetch_sub(&o->uses, 1) > 1)
        return;
    if (o->pid == getpid())
        kv_py_free(o->kind, o->object);
    kv_py_release(o->borrowed[0]);
    kv_py_release(o->borrowed[1]);
    free(o);
}

/* object: moves, also on failure. NULL: out of memory. Release with kv_py_release. */
static kv_py_owner *kv_py_own(int kind, void *object, kv_py_owner *first, kv_py_owner *second) {
    kv_py_owner *o = malloc(sizeof *o);
    if (!o) {
        kv_py_free(kind, object);
        return NULL;
    }
    *o = (kv_py_owner){.object = object, .borrowed = {first, second}, .kind = kind, .pid = getpid()};
    atomic_init(&o->uses, 1);
    for (int i = 0; i < 2; i++)
        if (o->borrowed[i])
            atomic_fetch_add(&o->borrowed[i]->uses, 1);
    return o;
}

/* ---- loops over a vocabulary ---- */

/* log(sum(exp(x))) over x (n), in double, in order: as kveval sums. */
static double log_sum_exp(const float *x, size_t n) {
    double most = x[0], sum = 0;
    for (size_t i = 1; i < n; i++)
        most = x[i] > most ? x[i] : most;
    for (size_t i = 0; i < n; i++)
        sum += exp(x[i] - most);
    return most + log(sum);
}

/* Log-probabilities of tokens next (n), each of which came after a row of logits (n, n_vocab): to out (n). */
static void kv_py_logprobs(const float *logits, size_t n, size_t n_vocab, const int32_t *next, double *out) {
    for (size_t i = 0; i < n; i++)
        out[i] = logits[i * n_vocab + (size_t)next[i]] - log_sum_exp(logits + i * n_vocab, n_vocab);
}

/* Rows of logits (n, n_vocab) to log-probabilities, in place. */
static void kv_py_log_softmax(float *logits, size_t n, size_t n_vocab) {
    for (size_t i = 0; i < n; i++) {
        float *row = logits + i * n_vocab;
        const double lse = log_sum_exp(row, n_vocab);
        for (size_t j = 0; j < n_vocab; j++)
            row[j] = (float)(row[j] - lse);
    }
}
