/* Outputs of queries that read only some keys, to first order: against a plain softmax over these keys, in double; the gradient
 * that they are weighed with, against finite differences through the plain attention; on tiny models, the same for any threads.
 */
#include "backward/backward.h"
#include "backward/backward_internal.h"
#include "support.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/kernels.h"

enum { N = 200, HEADS = 4, KV = 2, DIM = 24, CUTS = 7, PAD = (N + 63) / 64 * 64 };

static const float shares[CUTS] = {0, 1.0f / 32, 1.0f / 8, 0.3f, 0.5f, 0.75f, 1};

static float noise(uint32_t *x) {
    *x = *x * 1664525u + 1013904223u;
    return (float)(*x >> 8) * 0x1p-23f - 1;
}

static float *random_floats(size_t n, float size, uint32_t *seed) {
    float *x = aligned_alloc(64, (n * sizeof *x + 63) / 64 * 64);
    assert_non_null(x);
    for (size_t i = 0; i < n; i++)
        x[i] = size * noise(seed);
    return x;
}

/* Attention of random vectors. */
typedef struct fixture {
    attn_seq a;
    rt_exec *exec;
    float *q, *k, *v, *d_out, *out, *grad, *cut;
} fixture;

static const size_t Q = N * HEADS * DIM, KEY = N * KV * DIM;

static fixture make(int n_threads) {
    uint32_t seed = 11;
    fixture f = {.a = {.n = N, .n_pad = PAD, .n_head = HEADS, .n_kv_head = KV, .dim = DIM}};
    f.q = random_floats(Q, 4, &seed);
    f.k = random_floats(KEY, 4, &seed);
    f.v = random_floats(KEY, 1, &seed);
    f.d_out = random_floats(Q, 1, &seed);
    attn_pack *packs[] = {&f.a.q, &f.a.d_out, &f.a.key, &f.a.val};
    f.a.k = rt_kernels_for(rt_cpu_detect());
    rt_exec *e = malloc(sizeof *e);
    assert_int_equal(rt_exec_start(&(rt_exec){.k = f.a.k, .n_threads = n_threads}, e, NULL), KV_OK);
    f.a.exec = f.exec = e;
    for (int i = 0; i < 4; i++) {
        packs[i]->rows = random_floats(PAD * HEADS * DIM, 0, &seed);
        packs[i]->cols = random_floats(PAD * HEADS * DIM, 0, &seed);
    }
    f.a.lse = random_floats(HEADS * PAD, 0, &seed);
    f.a.dot = random_floats(HEADS * PAD, 0, &seed);
    f.a.work = random_floats((size_t)n_threads * attn_work(&f.a), 0, &seed);
    f.out = random_floats(Q, 0, &seed);
    f.grad = random_floats(Q + 4 * KEY, 0, &seed);
    f.cut = random_floats(N * HEADS * CUTS, 0, &seed);
    return f;
}

static void drop(fixture *f) {
    float *all[] = {f->a.q.rows,   f->a.q.cols,   f->a.d_out.rows, f->a.d_out.cols, f->a.key.rows, f->a.key.cols,
                    f->a.val.rows, f->a.val.cols, f->a.lse,        f->a.dot,        f->a.work,     f->q,
                    f->k,          f->v,          f->d_out,        f->out,          f->grad,       f->cut};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
    rt_exec_stop(f->exec);
    free(f->exec);
}

static const float SCALE = 0.2f;

static void attend(fixture *f, uint32_t sinks, bool with_cut) {
    const attn_cut cut = {shares, CUTS, sinks, f->cut};
    float *g = f->grad;
    attn_forward(&f->a, f->q, f->k, f->v, SCALE, 0, f->out, NULL);
    attn_backward(&f->a, f->out, f->d_out, SCALE, 0, 0, &(attn_grad){g, g + Q, g + Q + KEY, g + Q + 2 * KEY, g + Q + 3 * KEY},
                  with_cut ? &cut : NULL);
}

/* d_out . output of query i of head h that reads its first `sinks` keys and those from `first` on. */
static double plain(const fixture *f, size_t i, size_t h, size_t sinks, size_t first) {
    const float *q = f->q + (i * HEADS + h) * DIM, *d = f->d_out + (i * HEADS + h) * DIM;
    double sum = 0, weighed = 0;
    for (size_t j = 0; j <= i; j++) {
        const float *k = f->k + (j * KV + h / (HEADS / KV)) * DIM, *v = f->v + (j * KV + h / (HEADS / KV)) * DIM;
        double score = 0, along = 0;
        for (size_t c = 0; c < DIM; c++) {
            score += (double)q[c] * (double)k[c];
            along += (double)d[c] * (double)v[c];
        }
        if (j >= first || j < sinks) {
            sum += exp((double)SCALE * score);
            weighed += exp((double)SCALE * score) * along;
        }
    }
    return weighed / sum;
}

static void cut_is_what_a_plain_softmax_gives(void **state) {
    (void)state;
    static const uint32_t sinks[] = {0, 4, 70};
    fixture f = make(2);
    for (size_t s = 0; s < 3; s++) {
        double worst = 0, size = 0;
        attend(&f, sinks[s], true);
        for (size_t i = 0; i < N; i++)
            for (size_t h = 0; h < HEADS; h++)
                for (size_t l = 0; l < CUTS; l++) {
                    const double reads = ceil((double)shares[l] * (double)(i + 1)), newest = fmax(reads - sinks[s], 1);
                    const size_t first = newest > (double)i ? 0 : i + 1 - (size_t)newest;
                    const double want = plain(&f, i, h, sinks[s], first) - plain(&f, i, h, 0, 0);
                    worst = fmax(worst, fabs(want - (double)f.cut[(i * HEADS + h) * CUTS + l]));
                    size = fmax(size, fabs(want));
                }
        assert_true(size > 1); /* there is something to get wrong */
        assert_true(worst < 1e-5);
    }
    drop(&f);
}

/* d_out is the gradient of `along` = sum of d_out . out: moving a value moves it by the gradient that attn_backward gives, so
 * what cuts are weighed with is what the gradients of values are made of. With cuts or without, the gradients are the same. */
static void cut_agrees_with_the_gradients(void **state) {
    (void)state;
    fixture f = make(1);
    float *without = malloc((Q + 4 * KEY) * sizeof(float));
    assert_non_null(without);
    attend(&f, 4, false);
    memcpy(without, f.grad, (Q + 4 * KEY) * sizeof(float));
    attend(&f, 4, true);
    assert_memory_equal(without, f.grad, (Q + 4 * KEY) * sizeof(float));
    for (size_t j = 3; j < KEY; j += KEY / 7) {
        double along[2] = {0};
        const float was = f.v[j], step = 0.5f;
        const size_t g = j / DIM % KV;
        for (int up = 0; up < 2; up++) {
            f.v[j] = up ? was + step : was - step;
            for (size_t i = 0; i < N; i++)
                for (size_t h = g * (HEADS / KV); h < (g + 1) * (HEADS / KV); h++)
                    along[up] += plain(&f, i, h, 0, 0);
        }
        f.v[j] = was;
        const double want = (along[1] - along[0]) / (2 * (double)step);
        assert_true(fabs(want - (double)f.grad[Q + KEY + j]) < 1e-4);
    }
    free(without);
    drop(&f);
}

static void cut_does_not_depend_on_threads(void **state) {
    (void)state;
    fixture one = make(1), three = make(3);
    attend(&one, 4, true);
    attend(&three, 4, true);
    assert_memory_equal(one.cut, three.cut, N * HEADS * CUTS * sizeof(float));
    drop(&one);
    drop(&three);
}

/* ---- through a model ---- */

typedef struct seen {
    uint32_t n_head, layers, cut;
    double sums[CUTS];
} seen;

static void take(void *user, const rt_backward_view *v) {
    seen *s = user;
    s->layers++;
    s->cut += v->cut != NULL;
    const float *x = v->cut;
    for (size_t i = 0; x && i < (size_t)v->n * s->n_head; i++)
        for (size_t l = 0; l < CUTS; l++)
            s->sums[l] += (double)*x * (double)*x, x++;
}

static seen run(const char *name, const char *cpu, int n_threads, uint32_t n_cut) {
    char path[4096];
    kv_err err = {0};
    rt_exec e;
    rt_model *m = NULL;
    int32_t tokens[100];
    uint32_t seed = 1;
    seen s = {0};
    snprintf(path, sizeof path, "%s/tiny/%s.gguf", KV_TEST_DATA, name);
    if (rt_exec_init(&e, cpu, n_threads, true, &err) || rt_model_load(path, &e, &m, &err))
        fail_msg("%s", err.msg);
    for (int i = 0; i < 100; i++)
        tokens[i] = (int32_t)(fabsf(noise(&seed)) * 0.99f * (float)rt_model_hparams(m)->n_vocab);
    const rt_backward_cfg cfg = {.seed = 5, .tap = take, .tap_user = &s, .cuts = shares, .n_cut = n_cut, .cut_sinks = 2};
    s.n_head = rt_model_hparams(m)->n_head;
    if (rt_backward(m, tokens, 100, &cfg, &err))
        fail_msg("%s", err.msg);
    rt_model_free(m);
    return s;
}

static void cut_shows_in_layers_with_full_attention(void **state) {
    (void)state;
    const seen s = run("gemma3", NULL, 2, CUTS), none = run("gemma3", NULL, 2, 0);
    assert_true(s.layers > 1 && s.cut > 0 && s.cut < s.layers); /* the others slide */
    assert_int_equal(none.cut, 0);
    for (size_t l = 0; l + 1 < CUTS; l++)
        assert_true(s.sums[l] > 0);
    assert_true(s.sums[CUTS - 1] < 1e-6 * s.sums[0]); /* reads everything */
}

static void cut_is_the_same_on_any_machine(void **state) {
    (void)state;
    const seen a = run("llama", "scalar", 1, CUTS), b = run("llama", NULL, 3, CUTS);
    assert_int_equal(a.cut, a.layers);
    assert_memory_equal(a.sums, b.sums, sizeof a.sums);
}

static void cut_refuses_too_many(void **state) {
    (void)state;
    char path[4096];
    rt_exec e;
    rt_model *m = NULL;
    kv_err err;
    const int32_t tokens[] = {1, 2};
    const rt_backward_cfg cfg = {.tap = take, .cuts = shares, .n_cut = RT_MAX_CUTS + 1};
    snprintf(path, sizeof path, "%s/tiny/llama.gguf", KV_TEST_DATA);
    assert_int_equal(rt_exec_init(&e, NULL, 1, true, NULL), KV_OK);
    assert_int_equal(rt_model_load(path, &e, &m, NULL), KV_OK);
    assert_int_equal(rt_backward(m, tokens, 2, &cfg, &err), KV_EINVAL);
    assert_non_null(strstr(err.msg, "9 cuts: more than 8"));
    rt_model_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cut_is_what_a_plain_softmax_gives), cmocka_unit_test(cut_agrees_with_the_gradients),
        cmocka_unit_test(cut_does_not_depend_on_threads),    cmocka_unit_test(cut_shows_in_layers_with_full_attention),
        cmocka_unit_test(cut_is_the_same_on_any_machine),    cmocka_unit_test(cut_refuses_too_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
