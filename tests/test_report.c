/* Report pages: well-formed whatever goes in, complete, and readable: labels apart, what cannot be drawn is named. */
#include "base/atomic_file.h"
#include "profile_fixture.h"
#include "report/report_parts.h"
#include "xml_check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define EVIL "<script>alert(1)</script> & \"it's\" \xff\x01 \xe2\x80\xa6"

static void assert_well_formed(const char *s) {
    xml_state x;
    if (!xml_well_formed(s, &x))
        fail_msg("%s", x.why);
}

static size_t count(const char *s, const char *what) {
    size_t n = 0;
    while ((s = strstr(s, what))) {
        n++;
        s += strlen(what);
    }
    return n;
}

/* A stream into memory. */
typedef struct sink {
    FILE *f;
    char *text;
    size_t len;
} sink;

static void open_sink(sink *s) {
    s->f = open_memstream(&s->text, &s->len);
    assert_non_null(s->f);
}

static const char *close_sink(sink *s) {
    assert_int_equal(fclose(s->f), 0);
    return s->text;
}

static char *page_of(const prof *p, const report_origin *o) {
    char path[] = "report_test_XXXXXX", *text = NULL;
    size_t len;
    kv_err err = {0};
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    if (report_profile(p, o, path, &err) || file_read(path, 1 << 24, &text, &len, &err))
        fail_msg("%s", err.msg);
    unlink(path);
    return text;
}

static void report_escapes_everything(void **state) {
    (void)state;
    sink s;
    open_sink(&s);
    rep_text(s.f, EVIL);
    assert_string_equal(close_sink(&s),
                        "&#60;script&#62;alert(1)&#60;/script&#62; &#38; &#34;it&#39;s&#34; \xef\xbf\xbd\xef\xbf\xbd "
                        "\xe2\x80\xa6");
    free(s.text);
}

static void report_of_a_calibration_is_complete(void **state) {
    (void)state;
    char *argv[] = {"x", "--text", "a file", EVIL, NULL};
    const report_origin o = {.tool = "kvcalib", .argc = 4, .argv = argv, .model_path = EVIL, .text = EVIL, .text_hash = "0123"};
    prof *p = fixture_profile(3, 4, 2, 16);
    if (!p) {
        fail_msg("out of memory");
        return;
    }
    strcpy(p->model_name, EVIL);
    strcpy(p->measured[0].text, EVIL);
    p->facts[0] = FIXTURE_FACTS;
    p->n_facts = 1;
    char *page = page_of(p, &o);
    assert_well_formed(page);
    assert_int_equal(count(page, "<script"), 0);
    assert_int_equal(count(page, "http"), count(page, "http://www.w3.org/2000/svg")); /* names the format, loads nothing */
    assert_int_equal(count(page, "<section>"), 6);
    assert_non_null(strstr(page, "<td>14</td><td>12</td><td>11</td><td>-7.1 (-28.5 to +13.2)</td>"));
    assert_int_equal(count(page, ", KV head "), 3 * 2 * 2); /* tooltips of cells: keys and values */
    assert_int_equal(count(page, ", head "), 3 * 4);
    assert_non_null(strstr(page, p->model_hash));
    assert_non_null(strstr(page, "kvcalib --text &#39;a file&#39; "));
    assert_non_null(strstr(page, "1.235e-05 ± 1e-07"));
    free(page);
    prof_free(p);
}

static void report_of_a_policy_is_short(void **state) {
    (void)state;
    prof p = {.sinks = 4, .window = 128, .default_k = KV_Q8_0, .default_v = KV_Q4_0};
    char *page = page_of(&p, &(report_origin){.tool = "x"});
    assert_well_formed(page);
    assert_int_equal(count(page, "<section>"), 0);
    assert_non_null(strstr(page, "8.50 / 4.50"));
    free(page);
}

/* Budgets of heads are a map of shares of the context; of layers, bars of tokens. */
static void report_maps_budgets_of_heads(void **state) {
    (void)state;
    prof *p = fixture_profile(3, 2, 2, 16);
    assert_non_null(p);
    char *page = page_of(p, &(report_origin){.tool = "x"});
    assert_non_null(strstr(page, "Bars of token budgets per layer"));
    assert_non_null(strstr(page, "layer 1: 990 tokens"));
    free(page);
    assert_int_equal(prof_budgets_alloc(p, &p->layers[0], NULL), KV_OK);
    p->layers[0].budgets[0] = 128;
    p->layers[0].budgets[1] = 4096;
    p->layers[1].budget = 0; /* its window slides */
    p->layers[2].budget = 1024;
    p->budget_by = PROF_BY_LOSS;
    p->budget_rule.most = 4096;
    page = page_of(p, &(report_origin){.tool = "x"});
    assert_well_formed(page);
    assert_null(strstr(page, "Bars of token budgets"));
    assert_non_null(strstr(page, "<title>layer 0, KV head  0: 3.12 % of the context</title>"));
    assert_non_null(strstr(page, "<title>layer 0, KV head  1: 100 % of the context</title>"));
    assert_non_null(strstr(page, "<title>layer 2, KV head  1: 25 % of the context</title>"));
    assert_null(strstr(page, "<title>layer 1, KV head  0: nan"));
    free(page);
    prof_free(p);
}

static void report_leaves_nothing_where_it_cannot_write(void **state) {
    (void)state;
    prof p = {.default_k = KV_F16, .default_v = KV_F16};
    kv_err err = {0};
    assert_int_equal(report_profile(&p, &(report_origin){.tool = "x"}, "no-such-folder/page.html", &err), KV_EIO);
    assert_non_null(strstr(err.msg, "no-such-folder"));
}

static void report_bits_of_a_head_count_the_gain(void **state) {
    (void)state;
    prof *p = fixture_profile(2, 2, 2, 16);
    assert_non_null(p);
    /* The fixture: 4 coefficients of 5 bits, 4 of 3, 7 of 1, 1 of none; and 8 bits of gain. */
    assert_true(head_bits(p, 0, 1, 0) == (4 * 5 + 4 * 3 + 7 + 8) / 16.0f);
    assert_true(head_bits(p, 1, 0, 1) == 8.5f); /* q8_0 */
    p->layers[1].k.heads[1].bits[0] = 6;
    assert_true(head_bits(p, 1, 1, 0) == head_bits(p, 1, 0, 0) + 1 / 16.0f);
    prof_free(p);
}

/* ---- charts ---- */

static rep_point point(const char *name, double bits, double kld, uint32_t window) {
    return (rep_point){name, bits, kld, kld / 20, rep_family(KV_TC, KV_TC), window};
}

static void report_chart_names_what_it_cannot_draw(void **state) {
    (void)state;
    const rep_point p[] = {point("a<b", 4, 0.01, 0), point("b", 3, 0.05, 0), point("none lost", 8, 0, 0),
                           point("big", 16, 1e-7, 0), point("c", 3, 0.005, 64)};
    sink s;
    open_sink(&s);
    assert_int_equal(rep_rate_chart(s.f, p, 5, NULL), KV_OK);
    const char *text = close_sink(&s);
    assert_well_formed(text);
    assert_int_equal(count(text, "<title>"), 3);
    assert_int_equal(count(text, "stroke-opacity:.55"), 1); /* one line: a and b, the same window */
    assert_non_null(strstr(text, "Not in the chart: none lost (8 bits, KLD 0), big (16 bits, KLD 1e-07)."));
    assert_non_null(strstr(text, "hollow"));
    free(s.text);

    open_sink(&s);
    assert_int_equal(rep_rate_chart(s.f, p + 2, 2, NULL), KV_OK);
    text = close_sink(&s);
    assert_well_formed(text);
    assert_int_equal(count(text, "<svg"), 0);
    free(s.text);
}

static void report_picture_stands_alone(void **state) {
    (void)state;
    const rep_point p[] = {point("a<b", 4, 0.01, 0), point("b", 3, 0.05, 64), point("none lost", 8, 0, 0)};
    xml_state x;
    sink s;
    open_sink(&s);
    assert_int_equal(rep_rate_picture(s.f, EVIL, "lead & " EVIL, p, 3, NULL), KV_OK);
    const char *text = close_sink(&s);
    if (!xml_well_formed(text, &x))
        fail_msg("%s", x.why);
    assert_true(!strncmp(text, "<svg xmlns=\"http://www.w3.org/2000/svg\"", 39));
    assert_int_equal(count(text, "<svg"), 1);
    assert_int_equal(count(text, "<script"), 0);
    /* Both schemes of colour, the axes, the legend, and what the axes cannot hold. */
    assert_non_null(strstr(text, "--bg:#fff"));
    assert_non_null(strstr(text, "@media (prefers-color-scheme:dark)"));
    assert_non_null(strstr(text, "KL divergence, nats per token"));
    assert_non_null(strstr(text, "true bits per cached number"));
    assert_non_null(strstr(text, ">calibrated transform</text>"));
    assert_non_null(strstr(text, ">a&#60;b</text>"));
    assert_non_null(strstr(text, "the newest tokens stay f16"));
    assert_non_null(strstr(text, "Not in the chart: none lost (8 bits, KLD 0)."));
    free(s.text);

    /* Nothing to draw: still a picture. */
    open_sink(&s);
    assert_int_equal(rep_rate_picture(s.f, "t", "l", p + 2, 1, NULL), KV_OK);
    if (!xml_well_formed(close_sink(&s), &x))
        fail_msg("%s", x.why);
    free(s.text);
}

static void report_chart_joins_only_what_gets_better(void **state) {
    (void)state;
    const rep_point p[] = {point("a", 2, 0.1, 0), point("worse", 3, 0.2, 0), point("b", 4, 0.01, 0)};
    sink s;
    open_sink(&s);
    assert_int_equal(rep_rate_chart(s.f, p, 3, NULL), KV_OK);
    assert_int_equal(count(close_sink(&s), "stroke-opacity:.55"), 1);
    free(s.text);
}

static double overlap_of(rep_box a, rep_box b) {
    double w = fmin(a.x + a.w, b.x + b.w) - fmax(a.x, b.x), h = fmin(a.y + a.h, b.y + b.h) - fmax(a.y, b.y);
    return w > 0 && h > 0 ? w * h : 0;
}

static void report_labels_stay_apart(void **state) {
    (void)state;
    enum { N = 12 };
    const rep_box frame = {0, 0, 600, 400};
    rep_label l[N];
    rep_box taken[N];
    fixture_rng r = {7};
    for (int i = 0; i < N; i++) { /* crowded in the middle, one in a corner */
        l[i] =
            (rep_label){.x = i ? 300 + 70 * (double)fixture_float(&r) : 598, .y = i ? 200 + 70 * (double)fixture_float(&r) : 2};
        l[i].w = 60 + 5 * i;
        l[i].h = 16;
        taken[i] = (rep_box){l[i].x - 6, l[i].y - 6, 12, 12};
    }
    rep_place_labels(l, N, taken, N, frame);
    for (int i = 0; i < N; i++) {
        assert_true(fabs(overlap_of(l[i].at, frame) - l[i].w * l[i].h) < 1e-6);
        for (int k = 0; k < N; k++)
            assert_true(overlap_of(l[i].at, taken[k]) < 1e-6 && (k == i || overlap_of(l[i].at, l[k].at) < 1e-6));
    }
}

static void report_map_copes_with_extremes(void **state) {
    (void)state;
    enum { LAYERS = 300, ROWS = 40 };
    float *v = malloc(LAYERS * ROWS * sizeof *v), one = 4, none = NAN;
    const rep_grid grids[] = {{"many", "head ", LAYERS, ROWS, v}, {"one", "head ", 1, 1, &one}, {"none", "head ", 1, 1, &none}};
    assert_non_null(v);
    for (int i = 0; i < LAYERS * ROWS; i++)
        v[i] = (float)(i % 97);
    for (int g = 0; g < 3; g++) {
        sink s;
        open_sink(&s);
        rep_heat_map(s.f, &grids[g], 1, "bits", "a map");
        const char *text = close_sink(&s);
        assert_well_formed(text);
        assert_int_equal(count(text, "<title>"), g == 0 ? LAYERS * ROWS : g == 1 ? 1 : 0);
        assert_null(strstr(text, "nan"));
        assert_null(strstr(text, "inf"));
        free(s.text);
    }
    free(v);
}

static void report_families_follow_the_codecs(void **state) {
    (void)state;
    assert_string_equal(rep_family_name(rep_family(KV_TC, KV_TC)), "calibrated transform");
    assert_int_equal(rep_family(KV_Q8_0, KV_Q4_0), rep_family(KV_Q4_0, KV_Q4_0));
    assert_string_equal(rep_family_name(rep_family(KV_TC, KV_Q4_0)), "mixed");
    assert_string_equal(rep_family_name(rep_family(REP_MIXED, REP_MIXED)), "mixed");
    assert_true(rep_family(KV_F16, KV_F16) != rep_family(KV_Q4_0, KV_Q4_0));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(report_escapes_everything),
        cmocka_unit_test(report_of_a_calibration_is_complete),
        cmocka_unit_test(report_of_a_policy_is_short),
        cmocka_unit_test(report_maps_budgets_of_heads),
        cmocka_unit_test(report_leaves_nothing_where_it_cannot_write),
        cmocka_unit_test(report_bits_of_a_head_count_the_gain),
        cmocka_unit_test(report_chart_names_what_it_cannot_draw),
        cmocka_unit_test(report_picture_stands_alone),
        cmocka_unit_test(report_chart_joins_only_what_gets_better),
        cmocka_unit_test(report_labels_stay_apart),
        cmocka_unit_test(report_map_copes_with_extremes),
        cmocka_unit_test(report_families_follow_the_codecs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
