/* Gradients of keys and values: against PyTorch's autograd on tiny models of every architecture (tests/reference), bit for bit
 * the same whatever the threads and the instruction set; draws that follow the model's distribution. */
#include "backward/backward.h"
#include "support.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

enum { N = 80 };

static rt_model *load(const char *name, const char *cpu, int n_threads, bool exact) {
    char path[4096];
    kv_err err = {0};
    rt_exec e;
    rt_model *m = NULL;
    snprintf(path, sizeof path, "%s/tiny/%s.gguf", KV_TEST_DATA, name);
    if (rt_exec_init(&e, cpu, n_threads, exact, &err) || rt_model_load(path, &e, &m, &err))
        fail_msg("%s", err.msg);
    return m;
}

/* What the tap saw, copied. */
typedef struct grads {
    uint32_t n, n_layer, n_seen;  /* n_seen: layers that came, last to first */
    size_t kv, heads;             /* floats of a token: n_kv_head * head_dim; n_head */
    float *k, *dk, *dv, *entropy; /* (n_layer, n, kv or heads) */
} grads;

static void take(void *user, const rt_backward_view *v) {
    grads *g = user;
    const size_t len = g->n * g->kv;
    assert_int_equal(v->n, g->n);
    assert_int_equal(v->layer, g->n_layer - 1 - g->n_seen++);
    memcpy(g->k + v->layer * len, v->k, len * sizeof(float));
    memcpy(g->dk + v->layer * len, v->dk, len * sizeof(float));
    memcpy(g->dv + v->layer * len, v->dv, len * sizeof(float));
    memcpy(g->entropy + v->layer * g->n * g->heads, v->entropy, g->n * g->heads * sizeof(float));
}

static grads run_frames(const rt_model *m, const int32_t *tokens, uint32_t n, uint64_t seed, uint32_t frame,
                        const int32_t *targets, int32_t *drawn) {
    const rt_hparams *hp = rt_model_hparams(m);
    kv_err err = {0};
    grads g = {.n = n, .n_layer = hp->n_layer, .kv = (size_t)hp->n_kv_head * hp->head_dim, .heads = hp->n_head};
    g.k = malloc(hp->n_layer * n * g.kv * sizeof(float));
    g.dk = malloc(hp->n_layer * n * g.kv * sizeof(float));
    g.dv = malloc(hp->n_layer * n * g.kv * sizeof(float));
    g.entropy = malloc(hp->n_layer * n * g.heads * sizeof(float));
    rt_backward_cfg cfg = {.seed = seed, .frame = frame, .targets = targets, .drawn = drawn, .tap = take, .tap_user = &g};
    if (rt_backward(m, tokens, n, &cfg, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(g.n_seen, hp->n_layer);
    return g;
}

static grads run(const rt_model *m, const int32_t *tokens, uint32_t n, uint64_t seed, const int32_t *targets, int32_t *drawn) {
    return run_frames(m, tokens, n, seed, 0, targets, drawn);
}

static void grads_free(grads *g) {
    free(g->k);
    free(g->dk);
    free(g->dv);
    free(g->entropy);
}

static double squares(const float *x, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    return sum;
}

static void fill_tokens(const rt_model *m, int32_t *ids, uint32_t n) {
    uint32_t x = 4711;
    for (uint32_t i = 0; i < n; i++) {
        x = x * 1664525u + 1013904223u;
        ids[i] = (int32_t)((x >> 8) % rt_model_hparams(m)->n_vocab);
    }
}

/* ---- against the reference ---- */

static uint32_t read_ids(const json_t *list, int32_t *out) {
    const size_t n = json_array_size(list);
    assert_true(n > 0 && n <= N);
    for (size_t i = 0; i < n; i++)
        out[i] = (int32_t)json_integer_value(json_array_get(list, i));
    return (uint32_t)n;
}

/* Relative difference of the rows that the reference holds of x (n, dim). */
static double difference(const json_t *ref, const json_t *positions, const float *x, size_t dim) {
    double diff = 0, norm = 0;
    assert_int_equal(json_array_size(ref), json_array_size(positions) * dim);
    for (size_t i = 0; i < json_array_size(ref); i++) {
        const double want = json_number_value(json_array_get(ref, i));
        const double got = x[(size_t)json_integer_value(json_array_get(positions, i / dim)) * dim + i % dim];
        diff += (got - want) * (got - want);
        norm += want * want;
    }
    return sqrt(diff / norm);
}

static double compare_squares(const json_t *ref, const float *x, size_t n) {
    return fabs(squares(x, n) / json_number_value(ref) - 1);
}

static void check_reference(const char *name, bool exact, double tolerance) {
    char path[4096];
    json_error_t je;
    int32_t tokens[N], targets[N];
    snprintf(path, sizeof path, "%s/ref/backward-%s.json", KV_TEST_DATA, name);
    json_t *ref = json_load_file(path, 0, &je);
    if (!ref)
        fail_msg("%s:%d: %s", path, je.line, je.text);
    const json_t *positions = json_object_get(ref, "positions"), *layers = json_object_get(ref, "layers");
    const uint32_t n = read_ids(json_object_get(ref, "tokens"), tokens);
    assert_int_equal(read_ids(json_object_get(ref, "targets"), targets), n);
    rt_model *m = load(name, NULL, 2, exact);
    grads g = run(m, tokens, n, 0, targets, NULL);
    assert_int_equal(json_array_size(layers), g.n_layer);
    double worst = 0;
    for (size_t l = 0; l < g.n_layer; l++) {
        const json_t *r = json_array_get(layers, l);
        const float *dk = g.dk + l * n * g.kv, *dv = g.dv + l * n * g.kv, *entropy = g.entropy + l * n * g.heads;
        const double differences[] = {
            difference(json_object_get(r, "dk"), positions, dk, g.kv),
            difference(json_object_get(r, "dv"), positions, dv, g.kv),
            difference(json_object_get(r, "entropy"), positions, entropy, g.heads),
            compare_squares(json_object_get(r, "dk_squares"), dk, n * g.kv),
            compare_squares(json_object_get(r, "dv_squares"), dv, n * g.kv),
        };
        for (size_t i = 0; i < sizeof differences / sizeof *differences; i++)
            worst = fmax(worst, differences[i]);
    }
    printf("%s%s: worst relative difference %.2g\n", name, exact ? " exact" : "", worst);
    assert_true(worst < tolerance);
    grads_free(&g);
    rt_model_free(m);
    json_decref(ref);
}

static void llama_matches_autograd(void **state) {
    (void)state, check_reference("llama", true, 1e-5);
}
static void llama_rope_freqs_matches_autograd(void **state) {
    (void)state, check_reference("llama-rope-freqs", true, 1e-5);
}
static void qwen2_matches_autograd(void **state) {
    (void)state, check_reference("qwen2", true, 1e-5);
}
static void qwen3_matches_autograd(void **state) {
    (void)state, check_reference("qwen3", true, 1e-5);
}
static void gemma3_matches_autograd(void **state) {
    (void)state, check_reference("gemma3", true, 1e-5);
}
/* Rounded activations move the gradients by a little, not by more. */
static void int8_is_close_to_autograd(void **state) {
    (void)state;
    check_reference("llama", false, 0.1);
    check_reference("gemma3", false, 0.25); /* seven layers, 64 wide */
}

/* ---- properties ---- */

static void assert_same_grads(const grads *a, const grads *b) {
    const size_t bytes = a->n_layer * a->n * a->kv * sizeof(float);
    assert_memory_equal(a->dk, b->dk, bytes);
    assert_memory_equal(a->dv, b->dv, bytes);
    assert_memory_equal(a->entropy, b->entropy, a->n_layer * a->n * a->heads * sizeof(float));
}

static void check_invariance(const char *name, bool exact) {
    const struct {
        const char *cpu;
        int n_threads;
    } ways[] = {{"scalar", 1}, {NULL, 1}, {NULL, 2}, {NULL, 5}, {rt_cpu_detect() >= RT_CPU_AVX2 ? "avx2" : "scalar", 3}};
    int32_t tokens[N], drawn[2][N];
    grads first = {0};
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        rt_model *m = load(name, ways[i].cpu, ways[i].n_threads, exact);
        fill_tokens(m, tokens, 67);
        grads g = run(m, tokens, 67, 7, NULL, drawn[i > 0]);
        rt_model_free(m);
        if (i == 0) {
            first = g;
            continue;
        }
        assert_memory_equal(drawn[0], drawn[1], 67 * sizeof(int32_t));
        assert_same_grads(&first, &g);
        grads_free(&g);
    }
    grads_free(&first);
}

static void backward_is_thread_and_cpu_independent(void **state) {
    (void)state;
    check_invariance("qwen2", true);
    check_invariance("gemma3", false);
}

/* The gradient of a sum is the sum of gradients; drawn targets are targets like any; without targets there is nothing. */
static void backward_is_linear_in_its_targets(void **state) {
    (void)state;
    int32_t tokens[N], drawn[N], even[N], odd[N], none[N];
    rt_model *m = load("qwen3", NULL, 2, true);
    fill_tokens(m, tokens, N);
    grads all = run(m, tokens, N, 3, NULL, drawn), again = run(m, tokens, N, 99, drawn, none);
    assert_same_grads(&all, &again);
    assert_memory_equal(drawn, none, sizeof drawn);
    for (int i = 0; i < N; i++) {
        even[i] = i % 2 ? -1 : drawn[i];
        odd[i] = i % 2 ? drawn[i] : -1;
        none[i] = -1;
    }
    grads a = run(m, tokens, N, 0, even, NULL), b = run(m, tokens, N, 0, odd, NULL), zero = run(m, tokens, N, 0, none, NULL);
    const size_t len = all.n_layer * all.n * all.kv;
    const double size = squares(all.dk, len);
    for (size_t i = 0; i < len; i++)
        all.dk[i] -= a.dk[i] + b.dk[i];
    assert_true(squares(all.dk, len) < 1e-10 * size && squares(a.dk, len) > 0.1 * size);
    assert_true(squares(zero.dk, len) == 0 && squares(zero.dv, len) == 0);
    grads *every[] = {&all, &again, &a, &b, &zero};
    for (size_t i = 0; i < sizeof every / sizeof *every; i++)
        grads_free(every[i]);
    rt_model_free(m);
}

/* ---- draws ---- */

static void ignore(void *user, const rt_backward_view *v) {
    (void)user, (void)v;
}

/* log p (n, n_vocab) of every prediction. */
static float *log_probs(const rt_model *m, const int32_t *tokens, uint32_t n) {
    const size_t n_vocab = rt_model_hparams(m)->n_vocab;
    float *lp = malloc(n * n_vocab * sizeof *lp);
    rt_ctx *c;
    rt_ctx_cfg cfg = RT_CTX_CFG_DEFAULT;
    cfg.n_ctx = n;
    cfg.ctk = cfg.ctv = KV_F32;
    assert_int_equal(rt_ctx_new(m, &cfg, &c, NULL), KV_OK);
    assert_int_equal(rt_forward(c, tokens, n, n, lp, NULL), KV_OK);
    rt_ctx_free(c);
    for (size_t t = 0; t < n; t++) {
        double sum = 0;
        for (size_t i = 0; i < n_vocab; i++)
            sum += exp(lp[t * n_vocab + i]);
        for (size_t i = 0; i < n_vocab; i++)
            lp[t * n_vocab + i] -= (float)log(sum);
    }
    return lp;
}

/* A quantity with known mean and variance, summed over draws: how many standard deviations it is off. */
typedef struct z_test {
    double sum, var;
} z_test;

/* Over many draws, the surprise -log p(y), whether y is the likeliest, and whether y's id is in the lower half are what the
 * model's distribution says. */
static void draws_follow_the_model(void **state) {
    (void)state;
    enum { LEN = 24, SEEDS = 150 };
    int32_t tokens[LEN], drawn[LEN];
    rt_model *m = load("llama", NULL, 1, true);
    const size_t n_vocab = rt_model_hparams(m)->n_vocab;
    fill_tokens(m, tokens, LEN);
    float *lp = log_probs(m, tokens, LEN);
    z_test surprise = {0}, best = {0}, low = {0};
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        rt_backward_cfg cfg = {.seed = seed, .drawn = drawn, .tap = ignore};
        assert_int_equal(rt_backward(m, tokens, LEN, &cfg, NULL), KV_OK);
        for (size_t t = 0; t < LEN; t++) {
            const float *row = lp + t * n_vocab;
            double mean = 0, square = 0, below = 0;
            size_t top = 0;
            assert_true(drawn[t] >= 0 && (size_t)drawn[t] < n_vocab);
            for (size_t i = 0; i < n_vocab; i++) {
                const double p = exp(row[i]);
                mean += p * row[i];
                square += p * row[i] * row[i];
                below += i < n_vocab / 2 ? p : 0;
                top = row[i] > row[top] ? i : top;
            }
            surprise.sum += row[drawn[t]] - mean;
            surprise.var += square - mean * mean;
            best.sum += ((size_t)drawn[t] == top) - exp(row[top]);
            best.var += exp(row[top]) * (1 - exp(row[top]));
            low.sum += ((size_t)drawn[t] < n_vocab / 2) - below;
            low.var += below * (1 - below);
        }
    }
    const double z[] = {surprise.sum / sqrt(surprise.var), best.sum / sqrt(best.var), low.sum / sqrt(low.var)};
    printf("standard deviations off: surprise %.2f, likeliest %.2f, lower half %.2f\n", z[0], z[1], z[2]);
    for (size_t i = 0; i < 3; i++)
        assert_true(fabs(z[i]) < 3.5);
    free(lp);
    rt_model_free(m);
}

/* ---- errors ---- */

static bool stop_at_half(void *user, double done) {
    double *last = user;
    assert_true(done >= *last && done <= 1);
    *last = done;
    return done < 0.5;
}

/* x (n, kv) of RoPE on adjacent pairs, rotated by the first position of each token's frame. */
static void rotate_frames(const rt_hparams *hp, uint32_t frame, uint32_t n, size_t kv, float *x) {
    for (size_t i = 0; i < n * kv; i += 2) {
        const size_t pair = i % hp->head_dim / 2;
        if (2 * pair >= hp->n_rot)
            continue;
        const double a = (double)(i / kv / frame * frame) * pow(hp->rope_base, -2.0 * (double)pair / hp->n_rot);
        const double re = x[i], im = x[i + 1];
        x[i] = (float)(re * cos(a) - im * sin(a));
        x[i + 1] = (float)(re * sin(a) + im * cos(a));
    }
}

/* Keys and their gradients in RoPE frames are those that there are, rotated back. Values and all the rest stay. */
static void backward_shows_frames(void **state) {
    (void)state;
    enum { FRAME = 24 };
    int32_t tokens[N];
    rt_model *m = load("llama", NULL, 2, true);
    fill_tokens(m, tokens, N);
    grads plain = run(m, tokens, N, 3, NULL, NULL), framed = run_frames(m, tokens, N, 3, FRAME, NULL, NULL);
    const size_t len = plain.n_layer * N * plain.kv, first = FRAME * plain.kv * sizeof(float);
    assert_memory_equal(plain.dv, framed.dv, len * sizeof(float));
    assert_memory_equal(plain.k, framed.k, first);
    for (int gradient = 0; gradient < 2; gradient++) {
        float *want = gradient ? plain.dk : plain.k, *got = gradient ? framed.dk : framed.k;
        double diff = 0;
        for (uint32_t l = 0; l < plain.n_layer; l++)
            rotate_frames(rt_model_hparams(m), FRAME, N, plain.kv, got + l * N * plain.kv);
        for (size_t i = 0; i < len; i++)
            diff += (double)(got[i] - want[i]) * (double)(got[i] - want[i]);
        assert_true(sqrt(diff / squares(want, len)) < 1e-6);
    }
    grads_free(&plain);
    grads_free(&framed);
    rt_model_free(m);
}

/* ---- queries ---- */

/* (n_layer, N, n_head * head_dim) from either tap. */
typedef struct queries {
    size_t len; /* of a layer */
    float *q;
} queries;

static void take_unrotated(void *user, const rt_backward_view *v) {
    queries *to = user;
    memcpy(to->q + v->layer * to->len, v->q, to->len * sizeof(float));
}

static void take_rotated(void *user, const rt_tap_view *v) {
    queries *to = user;
    memcpy(to->q + v->layer * to->len, v->q, to->len * sizeof(float));
}

/* x (N, heads of dim) rotated by their positions. */
static void rotate(double base, uint32_t n_rot, uint32_t dim, bool neox, size_t row, float *x) {
    for (size_t t = 0; t < N; t++)
        for (size_t at = t * row; at < (t + 1) * row; at += dim)
            for (size_t pair = 0; pair < n_rot / 2; pair++) {
                float *re = x + at + (neox ? pair : 2 * pair), *im = neox ? re + n_rot / 2 : re + 1;
                const double a = (double)t * pow(base, -2.0 * (double)pair / n_rot), was = *re;
                *re = (float)(was * cos(a) - *im * sin(a));
                *im = (float)(was * sin(a) + *im * cos(a));
            }
}

/* What the tap shows, rotated by its position, is what the forward pass asks with, whether the model norms queries or not. */
static void backward_shows_queries_before_rope(void **state) {
    (void)state;
    static const char *const names[] = {"llama", "qwen2", "qwen3"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        int32_t tokens[N];
        rt_model *m = load(names[i], NULL, 2, true);
        const rt_hparams *hp = rt_model_hparams(m);
        queries got = {.len = (size_t)N * hp->n_head * hp->head_dim}, want = got;
        got.q = malloc(hp->n_layer * got.len * sizeof(float));
        want.q = malloc(hp->n_layer * got.len * sizeof(float));
        fill_tokens(m, tokens, N);
        rt_backward_cfg cfg = {.frame = 16, .tap = take_unrotated, .tap_user = &got};
        assert_int_equal(rt_backward(m, tokens, N, &cfg, NULL), KV_OK);
        rt_ctx *c;
        rt_ctx_cfg ctx = RT_CTX_CFG_DEFAULT;
        ctx.ctk = ctx.ctv = KV_F32;
        assert_int_equal(rt_ctx_new(m, &ctx, &c, NULL), KV_OK);
        assert_int_equal(rt_ctx_set_tap(c, take_rotated, &want, NULL), KV_OK);
        assert_int_equal(rt_forward(c, tokens, N, 0, NULL, NULL), KV_OK);
        for (uint32_t l = 0; l < hp->n_layer; l++) {
            float *q = got.q + l * got.len;
            double diff = 0;
            rotate(hp->rope_base, hp->n_rot, hp->head_dim, i > 0, (size_t)hp->n_head * hp->head_dim, q);
            for (size_t j = 0; j < got.len; j++)
                diff += (double)(q[j] - want.q[l * got.len + j]) * (double)(q[j] - want.q[l * got.len + j]);
            assert_true(sqrt(diff / squares(want.q + l * got.len, got.len)) < 1e-5);
        }
        rt_ctx_free(c);
        free(got.q);
        free(want.q);
        rt_model_free(m);
    }
}

static void backward_refuses_bad_input(void **state) {
    (void)state;
    kv_err err = {0};
    rt_model *m = load("llama", NULL, 1, false);
    const int32_t good[] = {1, 2}, bad[] = {1, (int32_t)rt_model_hparams(m)->n_vocab}, low[] = {0, -2};
    double done = 0;
    rt_backward_cfg cfg = {.tap = ignore};
    assert_int_equal(rt_backward(m, good, 0, &cfg, &err), KV_EINVAL);
    assert_int_equal(rt_backward(m, bad, 2, &cfg, &err), KV_ERANGE);
    assert_non_null(strstr(err.msg, "token 1"));
    cfg.targets = bad;
    assert_int_equal(rt_backward(m, good, 2, &cfg, &err), KV_ERANGE);
    assert_non_null(strstr(err.msg, "target 1"));
    cfg.targets = low;
    assert_int_equal(rt_backward(m, good, 2, &cfg, &err), KV_ERANGE);
    cfg.targets = good;
    cfg.progress = stop_at_half;
    cfg.progress_user = &done;
    assert_int_equal(rt_backward(m, good, 2, &cfg, &err), KV_ECANCEL);
    assert_true(done >= 0.5 && done < 1);
    rt_model_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(llama_matches_autograd),
        cmocka_unit_test(llama_rope_freqs_matches_autograd),
        cmocka_unit_test(qwen2_matches_autograd),
        cmocka_unit_test(qwen3_matches_autograd),
        cmocka_unit_test(gemma3_matches_autograd),
        cmocka_unit_test(int8_is_close_to_autograd),
        cmocka_unit_test(backward_is_thread_and_cpu_independent),
        cmocka_unit_test(backward_is_linear_in_its_targets),
        cmocka_unit_test(draws_follow_the_model),
        cmocka_unit_test(backward_shows_frames),
        cmocka_unit_test(backward_shows_queries_before_rope),
        cmocka_unit_test(backward_refuses_bad_input),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
