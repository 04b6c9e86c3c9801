/* The codecs that stand for published methods: against an implementation of the papers in numpy (tests/make_codec_cases.py),
 * and against what their papers promise. */
#include "codec_fixture.h"

#include "base/atomic_file.h"
#include "quant/lloyd_max.h"

static void methods_equal_an_independent_implementation(void **state) {
    (void)state;
    char *file, *at;
    size_t len, cases = 0;
    kv_err err;
    if (file_read(KV_TEST_DATA "/codec/cases.bin", 1 << 20, &file, &len, &err))
        fail_msg("%s", err.msg);
    for (at = file; at < file + len; cases++) {
        char name[9] = "";
        uint32_t head[3];
        float got[256];
        memcpy(name, at, 8);
        memcpy(head, at + 8, sizeof head);
        uint32_t dim = head[1], n = head[2];
        size_t bytes = (size_t)n * dim * sizeof(float);
        assert_true(dim <= 256 && n <= 32 && at + 20 + 2 * bytes <= file + len);
        float *x = malloc(2 * bytes), *want = x + (size_t)n * dim;
        memcpy(x, at + 20, 2 * bytes);
        at += 20 + 2 * bytes;
        bench b = open_coder((kv_codec_id)kv_codec_by_name(name), head[0] ? KV_SIDE_V : KV_SIDE_K, dim, NULL);
        b.c.ops->encode(&b.c, b.k, b.block, 32, n, x, b.work);
        for (uint32_t t = 0; t < n; t++) {
            float size = 1e-30f;
            for (uint32_t i = 0; i < dim; i++)
                size = fmaxf(size, fabsf(want[t * dim + i]));
            bench_read(&b, 32 + t, 32 + n, got);
            for (uint32_t i = 0; i < dim; i++)
                if (!(fabsf(got[i] - want[t * dim + i]) <= 2e-5f * size))
                    fail_msg("%s, side %u, token %u, element %u: %g, not %g", name, head[0], t, i, (double)got[i],
                             (double)want[t * dim + i]);
        }
        close_coder(&b);
        free(x);
    }
    assert_int_equal(cases, 30);
    free(file);
}

/* Squared error of what is read back over squared norms, for normal data. */
static double relative_error(kv_codec_id id, uint32_t dim) {
    bench b = open_coder(id, KV_SIDE_V, dim, NULL);
    double error = 0, norm = 0;
    float got[512];
    for (uint32_t r = 0; r < 32; r++) {
        float *x = rnd_fill((size_t)KV_BLOCK * dim, 1000 + r);
        b.c.ops->encode(&b.c, b.k, b.block, 0, KV_BLOCK, x, b.work);
        for (uint32_t t = 0; t < KV_BLOCK; t++) {
            bench_read(&b, t, KV_BLOCK, got);
            for (uint32_t i = 0; i < dim; i++) {
                error += pow((double)got[i] - x[t * dim + i], 2);
                norm += pow(x[t * dim + i], 2);
            }
        }
        free(x);
    }
    close_coder(&b);
    return error / norm;
}

/* Error of the normal distribution's quantiser on a coordinate of a random vector of norm sqrt(dim), whose density is
 * proportional to (1 - x^2/dim)^((dim-3)/2) (the paper's lemma 1): by and by normal, with thinner tails. */
static double sphere_distortion(unsigned bits, uint32_t dim) {
    double c[16], error = 0, all = 0, reach = sqrt(dim);
    lloyd_max_normal(1u << bits, c);
    for (double x = -reach + 0.0005; x < reach; x += 0.001) {
        double p = pow(1 - x * x / dim, (dim - 3) / 2.0), near = INFINITY;
        for (unsigned j = 0; j < 1u << bits; j++)
            near = fmin(near, fabs(x - c[j]));
        error += p * near * near;
        all += p;
    }
    return error / all;
}

/* Bounds of the paper's theorem 1 for 2, 3 and 4 bits, as it rounds them: 0.117, 0.03, 0.009. */
static void turbo_reaches_the_distortion_of_its_paper(void **state) {
    (void)state;
    static const double paper[] = {0.117, 0.035, 0.0095};
    for (unsigned bits = 2; bits <= 4; bits++)
        for (uint32_t dim = 64; dim <= 256; dim *= 2) {
            double got = relative_error((kv_codec_id)(KV_TURBO2 + bits - 2), dim), want = sphere_distortion(bits, dim);
            if (!(fabs(got - want) < 0.02 * want && fabs(got - paper[bits - 2]) < 0.08 * paper[bits - 2]))
                fail_msg("turbo%u, head_dim %u: error %g, expected %g", bits, dim, got, want);
        }
}

typedef struct fit {
    double slope, spread; /* estimate over truth; mean squared error of the estimate times dim / (|q|^2 |x|^2) */
} fit;

/* Estimated inner products of queries that lean towards their keys. */
static fit score_keys(kv_codec_id id, uint32_t dim) {
    bench b = open_coder(id, KV_SIDE_K, dim, NULL);
    double cross = 0, square = 0, spread = 0, norms = 0;
    uint64_t seed = 5;
    for (int r = 0; r < 64; r++) {
        float *x = rnd_fill((size_t)KV_BLOCK * dim, 2000 + (uint64_t)r), q[512], qc[1024], bias;
        b.c.ops->encode(&b.c, b.k, b.block, 0, KV_BLOCK, x, b.work);
        const float *tile = b.c.ops->decode(&b.c, b.k, b.block, KV_BLOCK, b.tile);
        for (uint32_t t = 0; t < KV_BLOCK; t++) {
            double truth = 0, got = 0, qq = 0, xx = 0;
            for (uint32_t i = 0; i < dim; i++) {
                q[i] = x[t * dim + i] + rnd_normal(&seed);
                truth += (double)q[i] * x[t * dim + i];
                qq += (double)q[i] * q[i];
                xx += (double)x[t * dim + i] * x[t * dim + i];
            }
            b.c.ops->query(&b.c, b.k, q, 1, qc, &bias);
            for (uint32_t d = 0; d < b.c.cdim; d++)
                got += (double)qc[d] * tile[d * KV_BLOCK + t];
            cross += got * truth;
            square += truth * truth;
            spread += (got - truth) * (got - truth) * dim;
            norms += qq * xx;
        }
        free(x);
    }
    close_coder(&b);
    return (fit){cross / square, spread / norms};
}

/* Algorithm 2 is unbiased where algorithm 1 shrinks, at the price of variance. The residual has a share D = 0.1175 of the
 * squared norm; QJL estimates q.r with variance (pi/2 |q|^2 |r|^2 - (q.r)^2) / d; theorem 2 rounds this to 0.18 / d for 3 bits.
 */
static void turbo3q_scores_are_unbiased(void **state) {
    (void)state;
    for (uint32_t dim = 64; dim <= 128; dim *= 2) {
        fit q = score_keys(KV_TURBO3Q, dim), coarse = score_keys(KV_TURBO2, dim);
        assert_float_equal(q.slope, 1, 0.01);
        assert_float_equal(coarse.slope, 1 - 0.1175, 0.01);
        assert_float_equal(q.spread, 0.1846, 0.015);
    }
}

/* E[cos(error)] of the angle between two radii of k = 2^level pairs, quantised to the nearest of 4 levels: those of a
 * brute-force iteration on a grid. */
static double mean_cosine(int level) {
    enum { N = 20000, LEVELS = 4 };
    const double step = 1.5707963267948966 / N, power = (1 << level) - 1;
    double c[LEVELS] = {0.2, 0.6, 1.0, 1.4}, cosine = 0, all = 0;
    for (int round = 0; round < 200; round++) {
        double mass[LEVELS] = {0}, first[LEVELS] = {0};
        cosine = all = 0;
        for (int i = 0; i < N; i++) {
            double a = (i + 0.5) * step, p = pow(sin(2 * a), power);
            int near = 0;
            for (int j = 1; j < LEVELS; j++)
                near = fabs(a - c[j]) < fabs(a - c[near]) ? j : near;
            mass[near] += p;
            first[near] += p * a;
            cosine += p * cos(a - c[near]);
            all += p;
        }
        for (int j = 0; j < LEVELS; j++)
            c[j] = first[j] / mass[j];
    }
    return cosine / all;
}

/* Errors of independent angles rotate the vector: |x - x'|^2 / |x|^2 = 2 - 2 prod E[cos(error)]. The first angle is uniform,
 * with 16 steps of w: E[cos] = sin(w/2) / (w/2). */
static void polar4_errs_as_its_angles_do(void **state) {
    (void)state;
    double half = 3.141592653589793 / 16, product = sin(half) / half;
    for (int level = 1; level < 4; level++)
        product *= mean_cosine(level);
    double got = relative_error(KV_POLAR4, 128);
    assert_float_equal(got, 2 - 2 * product, 0.02 * got);
}

/* Half a step is the most that a code can miss; the ends of a group are its own. */
static void kivi_misses_by_half_a_step(void **state) {
    (void)state;
    enum { DIM = 64 };
    float *x = rnd_fill(KV_BLOCK * DIM, 3), got[KV_BLOCK][DIM];
    for (int i = 0; i < KV_BLOCK * DIM; i++)
        x[i] = to_f16(x[i] + (i % DIM == 7 ? 100 : 0)); /* a key channel with a bias: no harm to the others, nor to itself */
    for (kv_codec_id id = KV_KIVI2; id <= KV_KIVI4; id++)
        for (int side = 0; side < 2; side++) {
            bench b = open_coder(id, side ? KV_SIDE_V : KV_SIDE_K, DIM, NULL);
            assert_int_equal(b.c.group, side ? 1 : 32);
            b.c.ops->encode(&b.c, b.k, b.block, 0, KV_BLOCK, x, b.work);
            for (uint32_t t = 0; t < KV_BLOCK; t++)
                bench_read(&b, t, KV_BLOCK, got[t]);
            for (uint32_t t = 0; t < KV_BLOCK; t++)
                for (uint32_t i = 0; i < DIM; i++) {
                    float lo = INFINITY, hi = -INFINITY;
                    for (uint32_t j = 0; j < 32; j++) {
                        float v = side ? x[t * DIM + (i & ~31u) + j] : x[((t & ~31u) + j) * DIM + i];
                        lo = fminf(lo, v);
                        hi = fmaxf(hi, v);
                    }
                    float step = (hi - lo) / (id == KV_KIVI2 ? 3 : 15);
                    assert_true(fabsf(got[t][i] - x[t * DIM + i]) <= 0.505f * step);
                    assert_true(x[t * DIM + i] != lo || got[t][i] == lo);
                }
            close_coder(&b);
        }
    free(x);
}

/* Sinks cut the first group: the others of it make the group. */
static void kivi_groups_what_sinks_leave(void **state) {
    (void)state;
    enum { DIM = 64 };
    float *x = rnd_fill(32 * DIM, 4), got[DIM];
    for (int i = 0; i < 32 * DIM; i++)
        x[i] = to_f16(x[i]) * (i < 5 * DIM ? 1000.0f : 1.0f);
    bench b = open_coder(KV_KIVI4, KV_SIDE_K, DIM, NULL);
    b.c.ops->encode(&b.c, b.k, b.block, 5, 27, x + 5 * DIM, b.work);
    for (uint32_t t = 5; t < 32; t++) {
        bench_read(&b, t, 32, got);
        for (uint32_t i = 0; i < DIM; i++)
            assert_float_equal(got[i], x[t * DIM + i], 0.3); /* half a step of 6 sigma in 15 steps, and some */
    }
    close_coder(&b);
    free(x);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(methods_equal_an_independent_implementation),
        cmocka_unit_test(turbo_reaches_the_distortion_of_its_paper),
        cmocka_unit_test(turbo3q_scores_are_unbiased),
        cmocka_unit_test(polar4_errs_as_its_angles_do),
        cmocka_unit_test(kivi_misses_by_half_a_step),
        cmocka_unit_test(kivi_groups_what_sinks_leave),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
