/* Representative queries: real ones, of all heads of the group and all of the text but its sinks, one of each cluster; the same
 * for any batches and threads; none for layers with a sliding window. */
#include "calib_internal.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/kernels.h"
#include "machine/team.h"

enum { LAYERS = 3, HEADS = 6, KV = 2, GROUP = HEADS / KV, DIM = 8, TOKENS = 2000, SINKS = 4, CHUNKS = 2 };

static float noise(uint32_t *x) {
    *x = *x * 1664525u + 1013904223u;
    return (float)(*x >> 8) * 0x1p-23f - 1;
}

/* q says where it comes from: head, chunk and position, and some noise. The other numbers are noise. */
typedef struct data {
    float *q, *k;
} data;

static data make_data(void) {
    data d = {malloc((size_t)CHUNKS * TOKENS * HEADS * DIM * sizeof(float)), malloc((size_t)TOKENS * KV * DIM * sizeof(float))};
    uint32_t seed = 3;
    assert_true(d.q && d.k);
    for (size_t i = 0; i < (size_t)CHUNKS * TOKENS * HEADS; i++) {
        float *q = d.q + i * DIM;
        for (int c = 0; c < DIM; c++)
            q[c] = noise(&seed);
        q[0] = (float)(i % HEADS) / 1024;
        q[1] = (float)(i / HEADS % TOKENS) / 1024;
        q[2] = (float)(i / HEADS / TOKENS) / 1024;
    }
    for (size_t i = 0; i < (size_t)TOKENS * KV * DIM; i++)
        d.k[i] = noise(&seed);
    return d;
}

static void free_data(data *d) {
    free(d->q);
    free(d->k);
}

static const bool windowed[LAYERS] = {false, true, false};

static void share(const void *team, size_t n, size_t grain, cal_piece *run, void *arg) {
    rt_team_for((rt_team *)team, n, grain, run, arg);
}

static cal_stats *gather(const data *d, bool asked, uint32_t batch, int n_threads) {
    rt_team *team = NULL;
    if (n_threads > 1)
        assert_int_equal(rt_team_new(n_threads, RT_WAIT_AUTO, &team, NULL), KV_OK);
    const cal_shape shape = {LAYERS, HEADS, KV, DIM, SINKS, 512, CHUNKS * (TOKENS - SINKS), windowed, NULL, NULL};
    static float entropy[TOKENS * HEADS];
    cal_stats *s = NULL;
    assert_int_equal(cal_stats_new(&shape, &s, NULL), KV_OK);
    for (uint32_t chunk = 0; chunk < CHUNKS; chunk++)
        for (uint32_t t = 0; t < TOKENS; t += batch)
            for (uint32_t l = 0; l < LAYERS; l++) {
                const size_t at = (size_t)t * KV * DIM;
                cal_batch b = {.layer = l, .n = TOKENS - t < batch ? TOKENS - t : batch, .pos0 = t};
                b.q = asked ? d->q + (size_t)(chunk * TOKENS + t) * HEADS * DIM : NULL;
                b.k = b.v = b.dk = b.dv = d->k + at;
                b.entropy = entropy;
                cal_stats_add(s, &b, (cal_team){share, team});
            }
    rt_team_free(team);
    return s;
}

static prof *solve(const cal_stats *s) {
    cal_cfg cfg = CAL_CFG_DEFAULT;
    prof *p = NULL;
    kv_err err = {0};
    cfg.search = rt_kernels_for(rt_cpu_detect())->tc_search;
    assert_int_equal(prof_new(LAYERS, HEADS, KV, DIM, &p, NULL), KV_OK);
    if (cal_solve(s, &cfg, p, NULL, NULL, &err))
        fail_msg("%s", err.msg);
    return p;
}

static void queries_are_real_and_spread(void **state) {
    (void)state;
    data d = make_data();
    cal_stats *s = gather(&d, true, TOKENS, 2);
    for (uint32_t g = 0; g < KV; g++) {
        float chosen[PROF_QUERIES * DIM];
        const float *asked = s->asked + (size_t)(2 * KV + g) * CAL_ASKED * DIM;
        uint32_t heads[GROUP] = {0}, quarters[4] = {0}, chunks[CHUNKS] = {0};
        for (size_t c = 0; c < CAL_ASKED; c++) {
            const float *q = asked + c * DIM;
            const size_t head = (size_t)(q[0] * 1024), t = (size_t)(q[1] * 1024), chunk = (size_t)(q[2] * 1024);
            assert_memory_equal(q, d.q + ((chunk * TOKENS + t) * HEADS + head) * DIM, DIM * sizeof *q);
            assert_true(head / GROUP == g && t >= SINKS);
            heads[head % GROUP]++;
            quarters[t * 4 / TOKENS]++;
            chunks[chunk]++;
        }
        for (int i = 0; i < GROUP; i++)
            assert_true(heads[i] >= CAL_ASKED / GROUP);
        for (int i = 0; i < 4; i++)
            assert_true(quarters[i] > CAL_ASKED / 4 - 4);
        assert_int_equal(chunks[0], chunks[1]);
        cal_choose_queries(asked, DIM, chosen);
        for (size_t i = 0; i < PROF_QUERIES; i++) {
            uint32_t found = 0;
            for (size_t c = 0; c < CAL_ASKED; c++)
                found += !memcmp(asked + c * DIM, chosen + i * DIM, DIM * sizeof *chosen);
            assert_int_equal(found, 1);
            for (size_t j = 0; j < i; j++)
                assert_memory_not_equal(chosen + i * DIM, chosen + j * DIM, DIM * sizeof *chosen);
        }
    }
    cal_stats_free(s);
    free_data(&d);
}

/* Sixteen clusters of as many queries, in random order: one of each. */
static void queries_come_from_every_cluster(void **state) {
    (void)state;
    float asked[CAL_ASKED * DIM], chosen[PROF_QUERIES * DIM];
    uint32_t seed = 5, seen = 0;
    for (uint32_t i = 0; i < CAL_ASKED; i++) {
        const uint32_t cluster = i * 7 % PROF_QUERIES;
        for (uint32_t c = 0; c < DIM; c++)
            asked[i * DIM + c] = 0.1f * noise(&seed) + (c < 4 ? (float)(cluster >> c & 1) * (float)(4 << c) : 0);
    }
    cal_choose_queries(asked, DIM, chosen);
    for (uint32_t i = 0; i < PROF_QUERIES; i++) {
        uint32_t cluster = 0;
        for (uint32_t c = 0; c < 4; c++)
            cluster |= (uint32_t)(chosen[i * DIM + c] > (float)(2 << c)) << c;
        seen |= 1u << cluster;
    }
    assert_int_equal(seen, 0xffff);
}

/* The mean of the chosen is nearer to that of all than a draw of sixteen would be: the deviation is 1/sqrt(3), so that would be
 * off by 0.14 in every dimension. */
static void queries_keep_the_mean(void **state) {
    (void)state;
    float asked[CAL_ASKED * 3], chosen[PROF_QUERIES * 3];
    uint32_t seed = 17;
    double worst = 0;
    for (int i = 0; i < CAL_ASKED * 3; i++)
        asked[i] = noise(&seed);
    cal_choose_queries(asked, 3, chosen);
    for (int c = 0; c < 3; c++) {
        double all = 0, some = 0;
        for (int i = 0; i < CAL_ASKED; i++)
            all += (double)asked[i * 3 + c] / CAL_ASKED;
        for (int i = 0; i < PROF_QUERIES; i++)
            some += (double)chosen[i * 3 + c] / PROF_QUERIES;
        worst = fmax(worst, fabs(all - some));
    }
    assert_true(worst < 0.06);
}

static void queries_reach_the_profile(void **state) {
    (void)state;
    data d = make_data();
    cal_stats *s = gather(&d, true, TOKENS, 1), *other = gather(&d, true, 77, 3);
    prof *p = solve(s), *same = solve(other);
    assert_null(p->layers[1].queries); /* its window slides */
    for (uint32_t l = 0; l < LAYERS; l += 2) {
        float want[PROF_QUERIES * DIM];
        assert_non_null(p->layers[l].queries);
        assert_memory_equal(p->layers[l].queries, same->layers[l].queries, KV * PROF_QUERIES * DIM * sizeof(float));
        cal_choose_queries(s->asked + (size_t)(l * KV + 1) * CAL_ASKED * DIM, DIM, want);
        for (size_t i = 0; i < PROF_QUERIES * DIM; i++)
            assert_true(fabsf(p->layers[l].queries[PROF_QUERIES * DIM + i] - want[i]) < 0.01f); /* 8 bits of up to 2 */
    }
    prof_free(p);
    prof_free(same);
    cal_stats_free(s);
    cal_stats_free(other);
    s = gather(&d, false, TOKENS, 1);
    p = solve(s);
    assert_false(prof_has_queries(p));
    prof_free(p);
    cal_stats_free(s);
    free_data(&d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(queries_are_real_and_spread),
        cmocka_unit_test(queries_come_from_every_cluster),
        cmocka_unit_test(queries_keep_the_mean),
        cmocka_unit_test(queries_reach_the_profile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
