/* Lists of cache settings: how lines are read and refused, what they come to, and that all outputs hold the same figures. */
#include "base/atomic_file.h"
#include "kveval/sweep.h"
#include "profile_fixture.h"
#include "support.h"
#include "xml_check.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static rt_model *open_tiny(void) {
    rt_exec e;
    kv_err err = {0};
    rt_model *m = NULL;
    if (rt_exec_init(&e, NULL, 1, true, &err) || rt_model_load(KV_TEST_DATA "/tiny/llama.gguf", &e, &m, &err))
        fail_msg("%s", err.msg);
    return m;
}

static void sweep_reads_lines(void **state) {
    (void)state;
    sweep_list l = {0};
    kv_err err = {0};
    assert_int_equal(sweep_add(&l, "x", "  two words : -ctk q8_0\t--window=3 --sinks 2 ", &err), KV_OK);
    assert_int_equal(sweep_add(&l, "x", "quoted: --profile \"a b: c.yaml\" -ctv f16", &err), KV_OK);
    assert_int_equal(sweep_add(&l, "x", "nothing:", &err), KV_OK);
    assert_int_equal(l.n, 3);
    assert_string_equal(l.v[0].name, "two words");
    assert_true(l.v[0].cache.ctk == KV_Q8_0 && l.v[0].cache.ctv == -1 && l.v[0].cache.window == 3 && l.v[0].cache.sinks == 2);
    assert_string_equal(l.v[1].cache.profile, "a b: c.yaml");
    assert_string_equal(l.v[1].options, "--profile \"a b: c.yaml\" -ctv f16");
    assert_int_equal(l.v[1].cache.ctv, KV_F16);
    assert_true(l.v[2].cache.window == -1 && !l.v[2].cache.profile);
    sweep_free(&l);
}

static void sweep_refuses_lines(void **state) {
    (void)state;
    static const char *const bad[][2] = {
        {"no colon", "there is no colon"},          {" : -ctk f16", "the name before the colon"},
        {"a\xff: -ctk f16", "printable"},           {"a: -ctk f17", "'f17' is not a cache type"},
        {"a: --windw 3", "did you mean --window?"}, {"a: --window", "needs a value"},
        {"a: --window -3", "whole number"},         {"a: f16", "unexpected argument 'f16'"},
        {"a: --help", "unknown option --help"},     {"a: --profile \"x", "quote without end"},
        {"a: --profile \x01", "not printable"},     {"taken: -ctk f16", "there is a setting 'taken' already"},
    };
    sweep_list l = {0};
    kv_err err;
    assert_int_equal(sweep_add(&l, "x", "taken:", &err), KV_OK);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        err = (kv_err){0};
        assert_int_equal(sweep_add(&l, "list.txt:7", bad[i][0], &err), KV_EINVAL);
        if (strncmp(err.msg, "list.txt:7: ", 12) || !strstr(err.msg, bad[i][1]))
            fail_msg("'%s' says: %s", bad[i][0], err.msg);
        assert_int_equal(l.n, 1);
    }
    for (int i = 1; i < SWEEP_MOST; i++) {
        char line[32];
        snprintf(line, sizeof line, "n%d:", i);
        assert_int_equal(sweep_add(&l, "x", line, &err), KV_OK);
    }
    assert_int_equal(sweep_add(&l, "x", "one more:", &err), KV_EINVAL);
    sweep_free(&l);
}

static void put(const char *path, const char *text, size_t len) {
    kv_err err = {0};
    if (file_write(path, text, len, &err))
        fail_msg("%s", err.msg);
}

static void sweep_reads_files_by_line(void **state) {
    (void)state;
    static const char good[] = "# comment\n\n  a: -ctk f16\r\n\tb:-ctv q4_0 # not a comment";
    static const char *const path = "sweep_test.txt";
    sweep_list l = {0};
    kv_err err = {0};
    put(path, good, strlen(good) - strlen(" # not a comment"));
    assert_int_equal(sweep_add_file(&l, path, &err), KV_OK);
    assert_int_equal(l.n, 2);
    assert_string_equal(l.v[1].name, "b");
    assert_string_equal(l.v[0].options, "-ctk f16");
    sweep_free(&l);

    put(path, good, strlen(good));
    assert_int_equal(sweep_add_file(&l, path, &err), KV_EINVAL);
    assert_non_null(strstr(err.msg, "sweep_test.txt:4: unexpected argument '#'"));
    sweep_free(&l);

    put(path, "# nothing\n", 10);
    assert_int_equal(sweep_add_file(&l, path, &err), KV_EFORMAT);
    put(path, "a:\0b:", 5);
    assert_int_equal(sweep_add_file(&l, path, &err), KV_EFORMAT);
    remove(path);
    assert_int_equal(sweep_add_file(&l, path, &err), KV_EIO);
    sweep_free(&l);
}

static void sweep_defaults_are_all_plain_codecs_and_the_profile(void **state) {
    (void)state;
    sweep_list l = {0};
    kv_err err = {0};
    prof p = {.model_hash = "0123456789abcdef0123456789abcdef",
              .window = 128,
              .sinks = 7,
              .default_k = KV_Q8_0,
              .default_v = KV_Q4_0};
    size_t plain = 0;
    for (int i = 0; i < KV_CODEC_COUNT; i++)
        plain += !kv_codec_names[i].calibrated && i != KV_F32;
    rt_model *m = open_tiny();
    assert_int_equal(sweep_add_default(&l, 64, &p, KV_F32, &err), KV_OK);
    assert_int_equal(sweep_resolve(&l, m, &p, &err), KV_OK);
    assert_int_equal(l.n, plain + 2);
    for (size_t i = 1; i <= plain; i++)
        assert_true(sweep_codec(&l.v[i], false) == sweep_codec(&l.v[i], true) && sweep_window(&l.v[i]) == 0 &&
                    sweep_sinks(&l.v[i]) == 4 && !sweep_made_for(&l.v[i]));
    /* As it was made, first of all; without its window last, and that is said. */
    const sweep_setting *own = &l.v[0], *bare = &l.v[plain + 1];
    char names[48], text[64];
    assert_string_equal(sweep_codec_names(own, names), "q8_0 / q4_0");
    assert_true(sweep_window(own) == 128 && sweep_sinks(own) == 7 && sweep_window(bare) == 0 && sweep_sinks(bare) == 7);
    assert_int_equal(strlen(own->profile_hash), 32);
    assert_string_equal(bare->profile_hash, own->profile_hash);
    assert_int_equal(sweep_made_for(own), 0);
    assert_string_equal(sweep_remark(own, text), "");
    assert_string_equal(sweep_kept(own, text), "128, 7");
    assert_int_equal(sweep_made_for(bare), 128);
    assert_string_equal(sweep_remark(bare, text), "  (profile made for window 128)");
    assert_string_equal(sweep_kept(bare, text), "0 (made for 128), 7");
    sweep_free(&l);
    /* Codecs that do not suit the width of heads are left out: rotated ones want 64, and 80 is too odd for all but f16. */
    size_t rotated = 0;
    for (int i = 0; i < KV_CODEC_COUNT; i++)
        rotated += kv_codec_names[i].family == KV_FAMILY_HADAMARD;
    assert_int_equal(sweep_add_default(&l, 32, NULL, KV_F32, &err), KV_OK);
    assert_int_equal(l.n, plain - rotated);
    for (size_t i = 0; i < l.n; i++)
        assert_int_not_equal(kv_codec_names[kv_codec_by_name(l.v[i].name)].family, KV_FAMILY_HADAMARD);
    sweep_free(&l);
    assert_int_equal(sweep_add_default(&l, 80, NULL, KV_F32, &err), KV_OK);
    assert_int_equal(l.n, 1);
    assert_string_equal(l.v[0].name, "f16");
    sweep_free(&l);
    rt_model_free(m);
}

static void sweep_lines_go_on_from_the_base(void **state) {
    (void)state;
    cli_cache base = CLI_CACHE_DEFAULT;
    base.ctk = KV_Q8_0;
    base.sinks = 3;
    sweep_list l = {.base = &base};
    const char *lines[] = {"a: --window 5", "b: --sinks 1 -ctk f16"};
    kv_err err = {0};
    rt_model *m = open_tiny();
    assert_int_equal(sweep_add_given(&l, NULL, &(cli_strs){lines, 2}, &err), KV_OK);
    assert_int_equal(sweep_resolve(&l, m, NULL, &err), KV_OK);
    assert_int_equal(l.n, 2);
    assert_true(l.v[0].cfg.ctk == KV_Q8_0 && l.v[0].cfg.sinks == 3 && l.v[0].cfg.window == 5);
    assert_true(l.v[1].cfg.ctk == KV_F16 && l.v[1].cfg.sinks == 1 && l.v[1].cfg.window == -1);
    assert_string_equal(l.v[0].name, "a");
    sweep_free(&l);
    /* Without any, the base is the setting, named by what it comes to. */
    base.window = 64;
    l.base = &base;
    assert_int_equal(sweep_add_given(&l, NULL, &(cli_strs){0}, &err), KV_OK);
    assert_int_equal(sweep_resolve(&l, m, NULL, &err), KV_OK);
    assert_int_equal(l.n, 1);
    assert_string_equal(l.v[0].name, "q8_0 / f16, window 64");
    assert_string_equal(l.v[0].options, "");
    sweep_free(&l);
    rt_model_free(m);
}

static void sweep_refuses_foreign_profiles(void **state) {
    (void)state;
    sweep_list l = {0};
    kv_err err = {0};
    rt_model *m = open_tiny();
    prof *p = fixture_profile(3, 4, 1, 32);
    assert_non_null(p);
    assert_int_equal(prof_save(p, "sweep_test.yaml", &err), KV_OK);
    assert_int_equal(sweep_add(&l, "x", "other: --profile sweep_test.yaml", &err), KV_OK);
    assert_int_equal(sweep_resolve(&l, m, NULL, &err), KV_EMISMATCH);
    assert_non_null(strstr(err.msg, "sweep_test.yaml"));
    /* Layers that differ. */
    strcpy(p->model_hash, rt_model_hash(m));
    assert_int_equal(prof_save(p, "sweep_test.yaml", &err), KV_OK);
    sweep_free(&l);
    assert_int_equal(sweep_add(&l, "x", "own: --profile sweep_test.yaml", &err), KV_OK);
    assert_int_equal(sweep_resolve(&l, m, NULL, &err), KV_OK);
    assert_int_equal(sweep_codec(&l.v[0], false), KV_TC);
    assert_int_equal(sweep_codec(&l.v[0], true), SWEEP_MIXED);
    remove("sweep_test.yaml");
    sweep_free(&l);
    prof_free(p);
    rt_model_free(m);
}

/* ---- outputs ---- */

enum { CTX = 64, CHUNKS = 2 };

typedef struct fixture {
    rt_model *m;
    sweep_list list;
    eval_result results[3];
    sweep s;
} fixture;

static int measure(void **state) {
    static char *argv[] = {"sweep", "it's <b>", NULL};
    static fixture f;
    eval_setting *settings;
    int32_t ids[CTX * CHUNKS];
    kv_err err = {0};
    f = (fixture){.m = open_tiny()};
    for (int i = 0; i < CTX * CHUNKS; i++)
        ids[i] = i * 37 % (int)rt_model_hparams(f.m)->n_vocab;
    if (sweep_add(&f.list, "x", "plain \"4\" <b>&: -ctk q4_0 -ctv q4_0", &err) ||
        sweep_add(&f.list, "x", "f32: -ctk f32 -ctv f32", &err) ||
        sweep_add(&f.list, "x", "mixed, window: -ctk q8_0 -ctv q4_0 --window 16", &err) ||
        sweep_resolve(&f.list, f.m, NULL, &err))
        fail_msg("%s", err.msg);
    f.s =
        (sweep){.model = f.m,
                .cfg = {.ctx = CTX, .baseline = KV_F32},
                .exact = true,
                .settings = &f.list,
                .results = f.results,
                .origin = {"kveval sweep", 2, argv, "a \xff model.gguf", "name", rt_model_hash(f.m), "text & more.txt", "abc"}};
    if (sweep_to_eval(&f.list, &settings, &err) ||
        eval_run(f.m, &f.s.cfg, settings, 3, ids, CTX * CHUNKS, NULL, NULL, f.results, &err))
        fail_msg("%s", err.msg);
    free(settings);
    *state = &f;
    return 0;
}

static int release(void **state) {
    fixture *f = *state;
    sweep_free(&f->list);
    rt_model_free(f->m);
    return 0;
}

static char *take_file(const char *path) {
    char *text;
    size_t len;
    kv_err err = {0};
    if (file_read(path, 1 << 24, &text, &len, &err))
        fail_msg("%s", err.msg);
    remove(path);
    return text;
}

static void sweep_json_holds_all_figures(void **state) {
    const fixture *f = *state;
    kv_err err = {0};
    assert_int_equal(sweep_write_json(&f->s, "sweep_test.json", &err), KV_OK);
    char *text = take_file("sweep_test.json");
    json_t *j = json_loads(text, 0, NULL), *list = json_object_get(j, "settings");
    assert_int_equal(json_array_size(list), 3);
    assert_string_equal(json_string_value(json_object_get(json_object_get(j, "model"), "path")), "a \xef\xbf\xbd model.gguf");
    assert_string_equal(json_string_value(json_object_get(j, "command")), "kveval sweep 'it'\\''s <b>'");
    for (size_t i = 0; i < 3; i++) {
        const json_t *o = json_array_get(list, i);
        eval_figure figures[EVAL_FIGURES];
        eval_figures(&f->results[i], figures);
        assert_string_equal(json_string_value(json_object_get(o, "name")), f->list.v[i].name);
        for (size_t k = 0; k < EVAL_FIGURES; k++) {
            const double got = json_number_value(json_object_get(o, figures[k].key));
            assert_int_equal(json_is_null(json_object_get(o, figures[k].key)), !isfinite(figures[k].value));
            if (isfinite(figures[k].value))
                assert_true(fabs(got - figures[k].value) <= 1e-7 * fabs(figures[k].value));
            assert_int_equal(json_is_integer(json_object_get(o, figures[k].key)), figures[k].count);
        }
    }
    assert_true(json_number_value(json_object_get(json_array_get(list, 0), "kld")) > 0);
    assert_int_equal(json_integer_value(json_object_get(json_array_get(list, 2), "window")), 16);
    json_decref(j);
    free(text);
}

static void sweep_csv_has_a_column_for_every_figure(void **state) {
    const fixture *f = *state;
    kv_err err = {0};
    char *lines[5] = {NULL}, want[64];
    size_t n = 0;
    assert_int_equal(sweep_write_csv(&f->s, "sweep_test.csv", &err), KV_OK);
    char *text = take_file("sweep_test.csv");
    for (char *line = strtok(text, "\n"); line && n < 5; line = strtok(NULL, "\n"))
        lines[n++] = line;
    assert_int_equal(n, 4);
    assert_non_null(strstr(lines[0], "name,options,codec_k,codec_v,window,sinks,kld,kld_se,"));
    static const char first[] = "\"plain \"\"4\"\" <b>&\",\"-ctk q4_0 -ctv q4_0\",q4_0,q4_0,0,0,";
    assert_true(!strncmp(lines[1], first, sizeof first - 1));
    snprintf(want, sizeof want, ",q8_0,q4_0,16,0,%.9g,%.9g,", f->results[2].kld, f->results[2].kld_se);
    assert_non_null(strstr(lines[3], want));
    size_t commas[2] = {0};
    for (size_t i = 0; i < 2; i++)
        for (const char *s = lines[2 * i]; *s; s++) /* no comma is quoted in the first row and in that of f32 */
            commas[i] += *s == ',';
    assert_true(commas[0] == commas[1] && commas[0] == 5 + EVAL_FIGURES);
    free(text);
}

static void sweep_html_is_well_formed(void **state) {
    const fixture *f = *state;
    kv_err err = {0};
    xml_state x;
    assert_int_equal(sweep_write_html(&f->s, "sweep_test.html", &err), KV_OK);
    char *text = take_file("sweep_test.html");
    if (!xml_well_formed(text, &x))
        fail_msg("%s", x.why);
    assert_non_null(strstr(text, "plain &#34;4&#34; &#60;b&#62;&#38;"));
    assert_null(strstr(text, "<b>&"));
    assert_non_null(strstr(text, "Not in the chart: f32 (32 bits, KLD 0)."));
    assert_non_null(strstr(text, "text &#38; more.txt"));
    free(text);
}

static void sweep_picture_says_what_was_measured(void **state) {
    const fixture *f = *state;
    kv_err err = {0};
    xml_state x;
    assert_int_equal(sweep_write_svg(&f->s, "sweep_test.svg", &err), KV_OK);
    char *text = take_file("sweep_test.svg");
    if (!xml_well_formed(text, &x))
        fail_msg("%s", x.why);
    assert_non_null(strstr(text, "plain &#34;4&#34; &#60;b&#62;&#38;"));
    assert_non_null(strstr(text, "tokens of text &#38; more.txt, context "));
    free(text);
}

static void sweep_leaves_nothing_where_it_cannot_write(void **state) {
    const fixture *f = *state;
    kv_err err = {0};
    assert_int_equal(sweep_write_json(&f->s, "no-such-folder/x", &err), KV_EIO);
    assert_int_equal(sweep_write_csv(&f->s, "no-such-folder/x", &err), KV_EIO);
    assert_int_equal(sweep_write_html(&f->s, "no-such-folder/x", &err), KV_EIO);
    assert_int_equal(sweep_write_svg(&f->s, "no-such-folder/x", &err), KV_EIO);
}

/* ---- figures ---- */

static void assert_plus_minus(double mean, double se, bool sign, const char *want) {
    char buf[EVAL_PM];
    assert_string_equal(eval_plus_minus(mean, se, sign, buf), want);
}

static void sweep_figures_have_as_many_digits_as_they_deserve(void **state) {
    (void)state;
    assert_plus_minus(0.01263, 0.00041, false, "0.0126 ± 0.0004");
    assert_plus_minus(0.01263, 0.00017, false, "0.01263 ± 0.00017");
    assert_plus_minus(12.34, 5, true, "+12 ± 5");
    assert_plus_minus(-123.4, 40, true, "-123 ± 40");
    assert_plus_minus(2.34e-8, 1.7e-9, false, "2.34e-08 ± 2e-09");
    assert_plus_minus(0, 0, false, "0");
    assert_plus_minus(1.5, NAN, true, "+1.5");
    assert_plus_minus(NAN, NAN, false, "–");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sweep_reads_lines),
        cmocka_unit_test(sweep_refuses_lines),
        cmocka_unit_test(sweep_reads_files_by_line),
        cmocka_unit_test(sweep_defaults_are_all_plain_codecs_and_the_profile),
        cmocka_unit_test(sweep_lines_go_on_from_the_base),
        cmocka_unit_test(sweep_refuses_foreign_profiles),
        cmocka_unit_test(sweep_figures_have_as_many_digits_as_they_deserve),
    };
    const struct CMUnitTest outputs[] = {
        cmocka_unit_test(sweep_json_holds_all_figures),
        cmocka_unit_test(sweep_csv_has_a_column_for_every_figure),
        cmocka_unit_test(sweep_html_is_well_formed),
        cmocka_unit_test(sweep_picture_says_what_was_measured),
        cmocka_unit_test(sweep_leaves_nothing_where_it_cannot_write),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return failed + cmocka_run_group_tests(outputs, measure, release);
}
