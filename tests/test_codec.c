/* Codecs one by one: what they store, against formulas of the tests' own (cache_fixture.h), and how they fail. */
#include "codec_fixture.h"

static void codec_ids_have_rows(void **state) {
    (void)state;
    for (int id = 0; id < KV_CODEC_COUNT; id++) {
        assert_non_null(kv_codec_get((kv_codec_id)id));
        assert_int_equal(kv_codec_get((kv_codec_id)id) == &kv_codec_tc, kv_codec_names[id].calibrated);
    }
    assert_null(kv_codec_get(KV_CODEC_COUNT));
    assert_null(kv_codec_get((kv_codec_id)-1));
}

static void codec_plain_stores_what_its_formula_says(void **state) {
    (void)state;
    enum { DIM = 96, N = 50 };
    float *x = rnd_fill(N * DIM, 1), got[DIM];
    memset(x + 3 * DIM, 0, DIM * sizeof *x);
    for (int i = 0; i < DIM; i++)
        x[4 * DIM + i] = (float)(i % 32 - 16) / 2; /* halves: ties */
    for (kv_codec_id id = KV_F32; id <= KV_Q4_0; id++)
        for (int side = 0; side < 2; side++) {
            bench b = open_coder(id, side ? KV_SIDE_V : KV_SIDE_K, DIM, NULL);
            b.c.ops->encode(&b.c, b.k, b.block, 7, N, x, b.work);
            for (uint32_t t = 0; t < N; t++) {
                double want[DIM];
                kv_codec_sel sel = {id, NULL};
                codec_round(&sel, b.c.side, b.k, x + t * DIM, 1, DIM, 0, want);
                bench_read(&b, t + 7, N + 7, got);
                for (int i = 0; i < DIM; i++)
                    assert_true(got[i] == (float)want[i]);
            }
            close_coder(&b);
        }
    free(x);
}

/* What is said is what is allocated, and what the table of names says. */
static void check_bits(kv_codec_id id, kv_side side, uint32_t dim, const prof_tc *tc, double want) {
    bench b = open_coder(id, side, dim, tc);
    assert_float_equal(b.c.bits, want, 1e-9);
    assert_float_equal((double)b.c.block_bytes * 8 / (dim * KV_BLOCK), want, 1e-9);
    close_coder(&b);
}

static void codec_reports_true_bits(void **state) {
    (void)state;
    static const double want[][2] = {
        {32, 32},     {16, 16},     {8.5, 8.5},   {4.5, 4.5},  {5, 5},         {5.5, 5.5}, {6, 6},
        {4.5, 4.5},   {8.5, 8.5},   {4.5, 4.5},   {5, 5},      {5.5, 5.5},     {6, 6},     {4.5, 4.5},
        {2.25, 2.25}, {3.25, 3.25}, {4.25, 4.25}, {3.5, 3.25}, {3.875, 3.875}, {3, 3},     {5, 5}, /* head_dim 64 */
    };
    for (kv_codec_id id = KV_F32; id < KV_TC; id++)
        for (int side = 0; side < 2; side++) {
            check_bits(id, side ? KV_SIDE_V : KV_SIDE_K, 64, NULL, want[id][side]);
            for (uint32_t dim = 64; dim <= 512; dim *= 2)
                check_bits(id, side ? KV_SIDE_V : KV_SIDE_K, dim, NULL, (double)kv_codec_bits(id, !side, dim));
        }
    prof_tc *tc = tc_make(64, 3.3, true, 1);
    double sum = 8;
    for (int i = 0; i < 64; i++)
        sum += tc->bits[i];
    check_bits(KV_TC, KV_SIDE_K, 64, tc, sum / 64);
    tc_drop(tc);
}

/* Error of x in z over the coded dimensions, by its own elimination in double. */
static void to_coefficients(const prof_tc *tc, const double *x, double *z) {
    uint32_t n = tc->dim;
    double *m = malloc((size_t)n * (n + 1) * sizeof *m); /* rows: equations sum_i z_i basis[i][j] = x_j - mean_j */
    for (uint32_t j = 0; j < n; j++) {
        for (uint32_t i = 0; i < n; i++)
            m[j * (n + 1) + i] = tc->basis[i * n + j];
        m[j * (n + 1) + n] = x[j] - tc->mean[j];
    }
    for (uint32_t col = 0; col < n; col++) {
        uint32_t top = col;
        for (uint32_t r = col; r < n; r++)
            top = fabs(m[r * (n + 1) + col]) > fabs(m[top * (n + 1) + col]) ? r : top;
        for (uint32_t j = 0; j <= n; j++) {
            double t = m[top * (n + 1) + j];
            m[top * (n + 1) + j] = m[col * (n + 1) + j];
            m[col * (n + 1) + j] = t;
        }
        for (uint32_t r = 0; r < n; r++) {
            double f = r == col ? 0 : m[r * (n + 1) + col] / m[col * (n + 1) + col];
            for (uint32_t j = col; f != 0 && j <= n; j++)
                m[r * (n + 1) + j] -= f * m[col * (n + 1) + j];
        }
    }
    for (uint32_t i = 0; i < n; i++)
        z[i] = m[i * (n + 1) + n] / m[i * (n + 1) + i];
    free(m);
}

/* Least squared error of any codes under one gain: what is still to come, by the last three path bits, from the last dimension
 * back. */
static double least_error(const prof_tc *tc, const double *z, double gain) {
    double rest[8] = {0}, now[8];
    uint32_t n = 0;
    while (n < tc->dim && tc->bits[n])
        n++;
    while (n-- > 0) {
        const int8_t *table = tc->levels + trellis_table(tc->bits[n]);
        for (unsigned state = 0; state < 8; state++) {
            now[state] = INFINITY;
            for (unsigned code = 0; code < 1u << tc->bits[n]; code++) {
                unsigned path = state << 1 | (code & 1);
                double level = tc->sigma[n] * tc->step[tc->bits[n]] * table[16 * (code >> 1) + path];
                now[state] = fmin(now[state], pow(z[n] - gain * level, 2) + rest[path & 7]);
            }
        }
        memcpy(rest, now, sizeof rest);
    }
    return rest[0];
}

static void codec_tc_finds_good_gains_and_best_paths(void **state) {
    (void)state;
    static const uint32_t dims[] = {16, 64, 80, 128};
    for (size_t d = 0; d < 4; d++) {
        uint32_t dim = dims[d];
        prof_tc *tc = tc_make(dim, 3.3, true, d);
        bench b = open_coder(KV_TC, KV_SIDE_V, dim, tc);
        double ratio = 0;
        for (uint32_t t = 0; t < 20; t++) {
            float *x = rnd_fill(dim, 50 + t);
            double xd[PROF_MAX_DIM], z[PROF_MAX_DIM], stored[PROF_MAX_DIM], zs[PROF_MAX_DIM];
            double rms = 0, most = 0, n = 0, err = 0, least = INFINITY;
            for (uint32_t i = 0; i < dim; i++)
                xd[i] = x[i] = x[i] * (t % 3 ? 1.0f : 4.0f) + tc->mean[i];
            b.c.ops->encode(&b.c, b.k, b.block, t, 1, x, b.work);
            tc_read(tc, b.block, t, stored);
            to_coefficients(tc, xd, z);
            to_coefficients(tc, stored, zs);
            for (; n < dim && tc->bits[(int)n]; n++) {
                rms += pow(z[(int)n] / tc->sigma[(int)n], 2);
                most = fmax(most, fabs(z[(int)n] / tc->sigma[(int)n]));
                err += pow(z[(int)n] - zs[(int)n], 2);
            }
            rms = sqrt(rms / n);
            const double centre = 2.0 / 3 * rms * pow(most / rms, 3.0 / 8);
            double tried = fmin(least_error(tc, z, centre * exp2(-1 / 8.0)), least_error(tc, z, centre * exp2(1 / 8.0)));
            for (double f = 0.7; f < 1.55; f += 0.01)
                least = fmin(least, least_error(tc, z, rms * f));
            assert_true(err <= tried * 1.01); /* never worse than what is tried */
            ratio += err / least / 20;
            free(x);
        }
        assert_true(ratio <= 1.25); /* and close to a search among 85 gains, on the whole */
        close_coder(&b);
        tc_drop(tc);
    }
}

static void codec_tc_reads_back_what_the_bits_say(void **state) {
    (void)state;
    for (int side = 0; side < 2; side++) {
        prof_tc *tc = tc_make(80, 3, true, 9);
        bench b = open_coder(KV_TC, side ? KV_SIDE_V : KV_SIDE_K, 80, tc);
        float *x = rnd_fill(64 * 80, 3), got[80];
        b.c.ops->encode(&b.c, b.k, b.block, 0, 64, x, b.work);
        for (uint32_t t = 0; t < 64; t++) {
            double want[80];
            tc_read(tc, b.block, t, want);
            bench_read(&b, t, 64, got);
            for (int i = 0; i < 80; i++)
                assert_float_equal(got[i], want[i], 2e-5);
        }
        free(x);
        close_coder(&b);
        tc_drop(tc);
    }
}

static void codec_tc_of_the_mean_is_the_mean(void **state) {
    (void)state;
    for (int side = 0; side < 2; side++) {
        prof_tc *tc = tc_make(64, 3, true, 4);
        bench b = open_coder(KV_TC, side ? KV_SIDE_V : KV_SIDE_K, 64, tc);
        float got[64], tiny[64];
        b.c.ops->encode(&b.c, b.k, b.block, 0, 1, tc->mean, b.work);
        bench_read(&b, 0, 1, got);
        assert_memory_equal(got, tc->mean, sizeof got);
        memset(tc->mean, 0, 64 * sizeof(float));
        for (int i = 0; i < 64; i++)
            tiny[i] = 1e-12f; /* no gain that a byte can hold */
        b.c.ops->encode(&b.c, b.k, b.block, 1, 1, tiny, b.work);
        bench_read(&b, 1, 2, got);
        for (int i = 0; i < 64; i++)
            assert_true(got[i] == 0);
        close_coder(&b);
        tc_drop(tc);
    }
}

static void codec_survives_any_finite_input(void **state) {
    (void)state;
    prof_tc *tc = tc_make(64, 3, true, 4);
    float x[32 * 64], got[64];
    for (kv_codec_id id = KV_F16; id < KV_CODEC_COUNT; id++)
        for (int e = -149; e <= 15; e += 4)
            for (int side = 0; side < 2; side++) {
                bench b = open_coder(id, side ? KV_SIDE_V : KV_SIDE_K, 64, tc);
                for (int i = 0; i < 32 * 64; i++)
                    x[i] = ldexpf(i % 3 ? 1.99f : -1.99f, i % 5 ? e : 15); /* up to 65208 */
                b.c.ops->encode(&b.c, b.k, b.block, 0, 32, x, b.work);
                for (uint32_t t = 0; t < 2; t++) {
                    bench_read(&b, t, 32, got);
                    for (int i = 0; i < 64; i++)
                        assert_true(isfinite(got[i]));
                }
                close_coder(&b);
            }
    tc_drop(tc);
}

/* One coordinate gets all the energy of the rotated vector: more than f16 holds. */
static void codec_survives_what_the_rotation_piles_up(void **state) {
    (void)state;
    for (kv_codec_id id = KV_Q8_0H; id < KV_TC; id++)
        for (uint32_t dim = 64; dim <= 512; dim *= 2) {
            float x[32 * 512], y[512], got[512];
            kv_coder c = {0};
            c.dim = dim;
            assert_int_equal(
                kv_rotation_new(&c, sizeof(kv_rotation), 0, id < KV_TURBO2 ? KV_ROTATION_PLAIN : KV_ROTATION_SEED, "x", NULL),
                KV_OK);
            memset(y, 0, sizeof y);
            y[3] = 65504 * sqrtf((float)dim);
            for (uint32_t t = 0; t < 32; t++)
                kv_rotate_back(c.state, y, 1, x + t * dim);
            kv_rotation_free(&c);
            assert_float_equal(fabsf(x[5]), 65504, 1);
            for (int side = 0; side < 2; side++) {
                bench b = open_coder(id, side ? KV_SIDE_V : KV_SIDE_K, dim, NULL);
                b.c.ops->encode(&b.c, b.k, b.block, 0, 32, x, b.work);
                bench_read(&b, 0, 32, got);
                for (uint32_t i = 0; i < dim; i++)
                    assert_true(isfinite(got[i]));
                close_coder(&b);
            }
        }
}

static void codec_of_zero_is_zero(void **state) {
    (void)state;
    float x[32 * 64] = {0}, got[64];
    for (kv_codec_id id = KV_F32; id < KV_TC; id++)
        for (int side = 0; side < 2; side++) {
            bench b = open_coder(id, side ? KV_SIDE_V : KV_SIDE_K, 64, NULL);
            b.c.ops->encode(&b.c, b.k, b.block, 0, 32, x, b.work);
            bench_read(&b, 31, 32, got);
            for (int i = 0; i < 64; i++)
                assert_true(got[i] == 0);
            close_coder(&b);
        }
}

/* Numbers so small that the inverse of their scale is no float: stored as 0 is, by the codecs that are ggml's. */
static void codec_of_almost_zero_is_zero(void **state) {
    (void)state;
    float x[32 * 64], zero[32 * 64] = {0};
    for (int i = 0; i < 32 * 64; i++)
        x[i] = ldexpf(i % 3 ? 1 : -1, -140);
    for (int side = 0; side < 2; side++)
        for (size_t i = 0; i < 2; i++) {
            const kv_codec_id id = i ? KV_Q8_0 : KV_Q4_0;
            bench a = open_coder(id, side ? KV_SIDE_V : KV_SIDE_K, 64, NULL), b = open_coder(id, a.c.side, 64, NULL);
            float got[64];
            a.c.ops->encode(&a.c, a.k, a.block, 0, 32, x, a.work);
            b.c.ops->encode(&b.c, b.k, b.block, 0, 32, zero, b.work);
            const size_t codes = (size_t)64 * KV_BLOCK / (i ? 1 : 2); /* scales follow: of either sign */
            assert_memory_equal(a.block, b.block, codes);
            bench_read(&a, 31, 32, got);
            for (int c = 0; c < 64; c++)
                assert_true(got[c] == 0);
            close_coder(&a);
            close_coder(&b);
        }
}

/* Same tokens, other runs or another instruction set: same block. */
static void codec_bytes_depend_on_the_tokens_alone(void **state) {
    (void)state;
    enum { DIM = 64 };
    static const uint32_t runs[] = {1, 7, 8, 32, 33};
    float *x = rnd_fill(64 * DIM, 8);
    prof_tc *tc = tc_make(DIM, 3.6, true, 2);
    for (kv_codec_id id = 0; id < KV_CODEC_COUNT; id++)
        for (int side = 0; side < 2; side++) {
            bench whole = open_coder(id, side ? KV_SIDE_V : KV_SIDE_K, DIM, tc);
            whole.c.ops->encode(&whole.c, whole.k, whole.block, 0, 64, x, whole.work);
            for (size_t r = 0; r < sizeof runs / sizeof *runs; r++)
                for (rt_cpu isa = 0; isa < RT_CPU_COUNT && runs[r] % whole.c.group == 0; isa++) {
                    if (!rt_cpu_runs(isa))
                        continue;
                    bench b = open_coder(id, whole.c.side, DIM, tc);
                    b.k = rt_kernels_for(isa);
                    for (uint32_t t = 0; t < 64; t += runs[r])
                        b.c.ops->encode(&b.c, b.k, b.block, t, t + runs[r] < 64 ? runs[r] : 64 - t, x + t * DIM, b.work);
                    assert_memory_equal(b.block, whole.block, b.c.block_bytes);
                    close_coder(&b);
                }
            close_coder(&whole);
        }
    tc_drop(tc);
    free(x);
}

static void codec_clear_forgets_all_traces(void **state) {
    (void)state;
    enum { DIM = 64 };
    float *x = rnd_fill(64 * DIM, 8);
    prof_tc *tc = tc_make(DIM, 3.6, true, 2);
    for (kv_codec_id id = 0; id < KV_CODEC_COUNT; id++)
        for (int side = 0; side < 2; side++) {
            bench full = open_coder(id, side ? KV_SIDE_V : KV_SIDE_K, DIM, tc), part = open_coder(id, full.c.side, DIM, tc);
            for (uint32_t keep = full.c.group; keep<64; keep += full.c.group> 9 ? full.c.group : 9) {
                memset(full.block, 0, full.c.block_bytes);
                memset(part.block, 0, full.c.block_bytes);
                full.c.ops->encode(&full.c, full.k, full.block, 0, 64, x, full.work);
                kv_coder_clear(&full.c, full.block, keep);
                part.c.ops->encode(&part.c, part.k, part.block, 0, keep, x, part.work);
                assert_memory_equal(full.block, part.block, full.c.block_bytes);
            }
            close_coder(&full);
            close_coder(&part);
        }
    tc_drop(tc);
    free(x);
}

/* Tokens that are moved have the bytes that they would have if they had been encoded there. */
static void codec_gather_moves_bytes(void **state) {
    (void)state;
    enum { DIM = 64 };
    static const uint64_t masks[] = {1, (uint64_t)1 << 63, 0xf0f0, 0x8000000180000001, 0x123456789abcdef0, ~(uint64_t)0};
    float *x = rnd_fill(64 * DIM, 9), *y = calloc(64 * DIM, sizeof *y);
    prof_tc *tc = tc_make(DIM, 3.6, true, 2);
    for (kv_codec_id id = 0; id < KV_CODEC_COUNT; id++)
        for (int side = 0; side < 2; side++) {
            bench from = open_coder(id, side ? KV_SIDE_V : KV_SIDE_K, DIM, tc), to = open_coder(id, from.c.side, DIM, tc),
                  want = open_coder(id, from.c.side, DIM, tc);
            assert_int_equal(kv_coder_gathers(&from.c), side == 1 || (id != KV_KIVI2 && id != KV_KIVI4));
            from.c.ops->encode(&from.c, from.k, from.block, 0, 64, x, from.work);
            for (size_t m = 0; kv_coder_gathers(&from.c) && m < sizeof masks / sizeof *masks; m++) {
                const uint32_t n = (uint32_t)__builtin_popcountll(masks[m]), at = 64 - n < 5 ? 64 - n : 5;
                for (uint32_t t = 0, i = 0; t < 64; t++)
                    if (masks[m] >> t & 1)
                        memcpy(y + i++ * DIM, x + t * DIM, DIM * sizeof *y);
                memset(to.block, 0, to.c.block_bytes);
                memset(want.block, 0, to.c.block_bytes);
                if (at) {
                    to.c.ops->encode(&to.c, to.k, to.block, 0, at, x, to.work);
                    want.c.ops->encode(&want.c, want.k, want.block, 0, at, x, want.work);
                }
                want.c.ops->encode(&want.c, want.k, want.block, at, n, y, want.work);
                kv_coder_gather(&to.c, to.block, at, from.block, masks[m]);
                assert_memory_equal(to.block, want.block, to.c.block_bytes);
            }
            close_coder(&from);
            close_coder(&to);
            close_coder(&want);
        }
    tc_drop(tc);
    free(x);
    free(y);
}

static void refuses(kv_codec_id id, uint32_t dim, const prof_tc *tc, kv_status want, const char *words) {
    kv_coder c;
    kv_err err = {0};
    assert_int_equal(kv_coder_init(&c, kv_codec_get(id), KV_SIDE_K, dim, tc, &err), want);
    assert_non_null(strstr(err.msg, words));
    kv_coder_free(&c);
}

static void codec_refuses_what_does_not_fit(void **state) {
    (void)state;
    refuses(KV_Q4_0, 80, NULL, KV_EINVAL, "multiple of 32");
    refuses(KV_Q8_0, 16, NULL, KV_EINVAL, "multiple of 32");
    refuses(KV_Q4_0H, 96, NULL, KV_EINVAL, "multiple of 64, not 96; use q4_0");
    for (kv_codec_id id = KV_TURBO2; id <= KV_POLAR4; id++) {
        refuses(id, 80, NULL, KV_EINVAL, "not 80; use q8_0 or kivi4");
        refuses(id, 16, NULL, KV_EINVAL, kv_codec_names[id].name);
    }
    kv_coder values;
    kv_err err;
    assert_int_equal(kv_coder_init(&values, &kv_codec_kivi4, KV_SIDE_V, 80, NULL, &err), KV_EINVAL);
    assert_non_null(strstr(err.msg, "codec kivi4 wants for values a head_dim that is a multiple of 32"));
    kv_coder_free(&values);
    refuses(KV_TC, 64, NULL, KV_EINVAL, "profile");
    prof_tc *tc = tc_make(64, 3, true, 1);
    refuses(KV_TC, 128, tc, KV_EINVAL, "head_dim 64");
    tc->bits[5]++;
    tc->bits[4] = 0;
    refuses(KV_TC, 64, tc, KV_ERANGE, "coefficient 5");
    tc_drop(tc);
    tc = tc_make(64, 3, true, 1);
    memcpy(tc->basis + 64, tc->basis, 64 * sizeof(float)); /* two equal rows */
    refuses(KV_TC, 64, tc, KV_ERANGE, "singular");
    tc->basis[3] = NAN;
    refuses(KV_TC, 64, tc, KV_ERANGE, "singular");
    tc_drop(tc);
    tc = tc_make(64, 3, true, 1);
    tc->step[tc->bits[0]] = 0;
    refuses(KV_TC, 64, tc, KV_ERANGE, "step");
    tc_drop(tc);
    tc = tc_make(64, 3, true, 1);
    tc->levels[trellis_table(3) + TRELLIS_WINDOWS + 5] = -128;
    refuses(KV_TC, 64, tc, KV_ERANGE, "levels of 3 bits fall within a window");
    tc_drop(tc);
    tc = tc_make(64, 3, true, 1);
    tc->sigma[2] = 0;
    refuses(KV_TC, 64, tc, KV_ERANGE, "sigma");
    tc->sigma[2] = 1;
    tc->mean[2] = INFINITY;
    refuses(KV_TC, 64, tc, KV_ERANGE, "mean");
    tc_drop(tc);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codec_ids_have_rows),
        cmocka_unit_test(codec_plain_stores_what_its_formula_says),
        cmocka_unit_test(codec_reports_true_bits),
        cmocka_unit_test(codec_tc_finds_good_gains_and_best_paths),
        cmocka_unit_test(codec_tc_reads_back_what_the_bits_say),
        cmocka_unit_test(codec_tc_of_the_mean_is_the_mean),
        cmocka_unit_test(codec_survives_any_finite_input),
        cmocka_unit_test(codec_survives_what_the_rotation_piles_up),
        cmocka_unit_test(codec_of_zero_is_zero),
        cmocka_unit_test(codec_of_almost_zero_is_zero),
        cmocka_unit_test(codec_bytes_depend_on_the_tokens_alone),
        cmocka_unit_test(codec_clear_forgets_all_traces),
        cmocka_unit_test(codec_gather_moves_bytes),
        cmocka_unit_test(codec_refuses_what_does_not_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
