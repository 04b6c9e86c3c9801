/* Compiled into the extension module libkv._kv, between the declarations of kv/kv.h and what cffi generates: the loops over a
 * vocabulary that Python is too slow for. Called without the interpreter's lock. */
#include <math.h>

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
