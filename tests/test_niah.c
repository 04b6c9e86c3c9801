/* Needles: what haystacks hold and where, that filler gives nothing away, repeatability, the grid, and a run on a tiny model.
 */
#include "base/splitmix64.h"
#include "measure/niah.h"
#include "measure/niah_words.h"
#include "support.h"

#include <ctype.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

typedef struct fixture {
    rt_model *m;
    ask_frame f;
} fixture;

static int open_fixture(void **state) {
    static fixture x;
    rt_exec e;
    kv_err err = {0};
    if (rt_exec_init(&e, NULL, 1, false, &err) || rt_model_load(KV_TEST_DATA "/tiny/qwen2.gguf", &e, &x.m, &err) ||
        ask_frame_new(x.m, &x.f, &err)) {
        print_error("%s\n", err.msg);
        return -1;
    }
    *state = &x;
    return 0;
}

static int close_fixture(void **state) {
    fixture *x = *state;
    ask_frame_free(&x->f);
    rt_model_free(x->m);
    return 0;
}

/* All templates at five depths of one length. */
static niah_cfg all_of_it(uint32_t ctx) {
    niah_cfg cfg = {.ctx = {ctx},
                    .depth = {0, 25, 50, 75, 100},
                    .n_ctx = 1,
                    .n_depth = 5,
                    .n_template = NIAH_TEMPLATES,
                    .repeats = NIAH_TEMPLATES,
                    .unknown = true,
                    .seed = 7};
    for (int i = 0; i < NIAH_TEMPLATES; i++)
        cfg.templates[i] = i;
    return cfg;
}

static niah_hay make_hay(const fixture *x, const niah_cfg *cfg, size_t index) {
    niah_hay h;
    kv_err err = {0};
    if (niah_hay_new(cfg, &x->f, 0, index, &h, &err))
        fail_msg("%s", err.msg);
    return h;
}

static size_t count(const char *text, const char *what) {
    size_t n = 0;
    for (const char *at = text; (at = strstr(at, what)); at += strlen(what))
        n++;
    return n;
}

static size_t count_tokens(const fixture *x, const char *text, size_t len) {
    ask_ids ids = {0};
    assert_int_equal(ask_document(&x->f, text, len, &ids, NULL), KV_OK);
    const size_t n = ids.n;
    ask_ids_free(&ids);
    return n;
}

/* ---- words ---- */

typedef struct words {
    const char *const *v;
    size_t n;
} words;
#define WORDS(list)                                                                                                            \
    { list, sizeof list / sizeof *(list) }
static const words all_words[] = {WORDS(niah_marks),      WORDS(niah_places), WORDS(niah_things), WORDS(niah_first_names),
                                  WORDS(niah_last_names), WORDS(niah_fields), WORDS(niah_bodies)};
enum { LISTS = sizeof all_words / sizeof *all_words };

/* Also as part of a longer word. */
static bool occurs(const char *text, const char *word) {
    return strcasestr(text, word) != NULL;
}

static void niah_filler_gives_nothing_away(void **state) {
    (void)state;
    enum { SENTENCES = 4000 };
    niah_filler f = {0};
    uint64_t rng = 5;
    char s[NIAH_SENTENCE];
    bool begins;
    size_t paragraphs = 0, longest = 0, run = 0;
    for (int i = 0; i < SENTENCES; i++) {
        niah_draw_filler(&f, &rng, s, &begins);
        paragraphs += begins;
        run = begins ? 1 : run + 1;
        longest = run > longest ? run : longest;
        assert_true(isupper((unsigned char)s[0]) && s[strlen(s) - 1] == '.');
        if (strpbrk(s, "0123456789{}\"") || strstr(s, "  "))
            fail_msg("a digit, quote, brace or double blank: %s", s);
        for (size_t l = 0; l < LISTS; l++)
            for (size_t w = 0; w < all_words[l].n; w++)
                if (occurs(s, all_words[l].v[w]))
                    fail_msg("'%s' in the filler: %s", all_words[l].v[w], s);
    }
    assert_true(longest <= 7 && paragraphs > SENTENCES / 7 && paragraphs < SENTENCES / 4 + 1);
}

static void niah_filler_varies(void **state) {
    (void)state;
    enum { SENTENCES = 800 }; /* about 16,000 tokens */
    static char seen[SENTENCES][NIAH_SENTENCE];
    niah_filler f = {0};
    uint64_t rng = 1;
    bool begins;
    size_t again = 0;
    for (int i = 0; i < SENTENCES; i++) {
        niah_draw_filler(&f, &rng, seen[i], &begins);
        for (int k = 0; k < i; k++)
            if (!strcmp(seen[k], seen[i])) {
                again++;
                break;
            }
        if (i)
            assert_string_not_equal(seen[i], seen[i - 1]);
    }
    assert_true(again < SENTENCES / 4);
}

static void niah_facts_hold_key_and_answer(void **state) {
    (void)state;
    uint64_t rng = 3;
    for (int t = 0; t < NIAH_TEMPLATES; t++) {
        assert_int_equal(niah_template_by_name(niah_templates[t].name), t);
        for (int i = 0; i < 200; i++) {
            niah_fact f;
            bool right;
            niah_draw_fact(&niah_templates[t], &rng, &f);
            assert_int_equal(count(f.text, f.key), 1);
            assert_int_equal(count(f.text, f.answer), 1);
            assert_int_equal(count(f.question, f.key), 1);
            assert_non_null(strstr(f.prime, f.key));
            assert_null(strstr(f.question, f.answer));
            assert_null(strstr(f.prime, f.answer));
            assert_null(strchr(f.text, '{'));
            assert_int_equal(ask_is_right(f.text, f.answer, &right, NULL), KV_OK);
            assert_true(right);
            assert_int_equal(ask_is_right(f.question, f.answer, &right, NULL), KV_OK);
            assert_false(right);
        }
    }
    assert_int_equal(niah_template_by_name("nmber"), -1);
}

/* ---- haystacks ---- */

static void check_needle(const fixture *x, const niah_hay *h, const niah_cfg *cfg, const niah_needle *n) {
    const size_t len = strlen(n->fact.text);
    assert_int_equal(count(h->text, n->fact.text), 1);
    assert_int_equal(count(h->text, n->fact.answer), 1);
    assert_memory_equal(h->text + n->at, n->fact.text, len);
    if (n->i_depth == 0)
        assert_int_equal(n->at, 0);
    if (n->i_depth + 1 == cfg->n_depth)
        assert_true(h->len - n->at - len < NIAH_SENTENCE); /* at most another fact comes after it */
    /* Off by half a sentence, and by facts on either side. */
    const double depth = (double)count_tokens(x, h->text, n->at) / (double)(h->n_tokens - count_tokens(x, n->fact.text, len));
    if (fabs(100 * depth - cfg->depth[n->i_depth]) > 4)
        fail_msg("a needle for depth %.0f %% is at %.1f %%", cfg->depth[n->i_depth], 100 * depth);
}

static void niah_needles_are_where_they_should_be(void **state) {
    const fixture *x = *state;
    const niah_cfg cfg = all_of_it(8192); /* long enough for depths to be told apart */
    for (size_t i = 0; i < niah_hays(&cfg); i++) {
        niah_hay h = make_hay(x, &cfg, i);
        assert_int_equal(h.n, 5);
        assert_int_equal(h.len, strlen(h.text));
        for (size_t k = 0; k < h.n; k++)
            check_needle(x, &h, &cfg, &h.needles[k]);
        assert_int_equal(count(h.text, "The locker code of "), 4);
        assert_int_equal(count(h.text, "The room number of ") + count(h.text, "The fax number of ") +
                             count(h.text, "The budget number of "),
                         3);
        niah_hay_free(&h);
    }
}

static void niah_haystacks_fill_the_context(void **state) {
    const fixture *x = *state;
    static const uint32_t lengths[] = {3000, 4096, 6001};
    for (size_t i = 0; i < 3; i++)
        for (int known = 0; known < 2; known++) {
            const niah_cfg cfg = all_of_it(lengths[i]);
            size_t most = 0;
            niah_hay h = make_hay(x, &cfg, i);
            for (size_t k = 0; k < h.n; k++) {
                ask_ids ids = {0};
                const niah_fact *f = &h.needles[k].fact;
                assert_int_equal(ask_head(&x->f, known ? f->question : NULL, &ids, NULL), KV_OK);
                assert_int_equal(ask_document(&x->f, h.text, h.len, &ids, NULL), KV_OK);
                assert_int_equal(ask_tail(&x->f, f->question, f->prime, &ids, NULL), KV_OK);
                most = ids.n > most ? ids.n : most;
                ask_ids_free(&ids);
            }
            assert_true(most + NIAH_ANSWER_TOKENS <= lengths[i]);
            /* Less than a sentence is left over, besides the question where it does not stand in front. */
            assert_true(most + NIAH_ANSWER_TOKENS + NIAH_SENTENCE > lengths[i]);
            niah_hay_free(&h);
        }
}

static void niah_haystacks_repeat_by_seed(void **state) {
    const fixture *x = *state;
    niah_cfg cfg = all_of_it(3000);
    niah_hay a = make_hay(x, &cfg, 2), b = make_hay(x, &cfg, 2), c = make_hay(x, &cfg, 3);
    assert_string_equal(a.text, b.text);
    assert_string_not_equal(a.text, c.text);
    cfg.seed++;
    niah_hay d = make_hay(x, &cfg, 2);
    assert_string_not_equal(a.text, d.text);
    niah_hay_free(&a);
    niah_hay_free(&b);
    niah_hay_free(&c);
    niah_hay_free(&d);
}

/* Whatever the number of needles in one haystack: every template once at every depth. */
static void niah_templates_take_turns(void **state) {
    const fixture *x = *state;
    for (uint32_t needles = 0; needles <= 5; needles++) {
        niah_cfg cfg = all_of_it(3000);
        unsigned seen[NIAH_TEMPLATES][5] = {{0}};
        cfg.needles = needles;
        const size_t per_hay = needles ? needles : 5;
        assert_int_equal(niah_needles(&cfg), per_hay);
        assert_int_equal(niah_hays(&cfg), NIAH_TEMPLATES * ((5 + per_hay - 1) / per_hay));
        for (size_t i = 0; i < niah_hays(&cfg); i++) {
            niah_hay h = make_hay(x, &cfg, i);
            assert_true(h.n >= 1 && h.n <= per_hay);
            for (size_t k = 0; k < h.n; k++)
                seen[h.needles[k].template][h.needles[k].i_depth]++;
            niah_hay_free(&h);
        }
        for (int t = 0; t < NIAH_TEMPLATES; t++)
            for (int d = 0; d < 5; d++)
                assert_int_equal(seen[t][d], 1);
    }
}

/* As many needles of one kind as there can be: keys and answers are all different. */
static void niah_facts_of_a_haystack_differ(void **state) {
    const fixture *x = *state;
    for (int t = 0; t < NIAH_TEMPLATES; t++) {
        niah_cfg cfg = all_of_it(12000);
        cfg.n_depth = NIAH_MOST_DEPTHS;
        for (int d = 0; d < NIAH_MOST_DEPTHS; d++)
            cfg.depth[d] = 5 * d;
        cfg.n_template = 1;
        cfg.templates[0] = t;
        niah_hay h = make_hay(x, &cfg, 0);
        assert_int_equal(h.n, NIAH_MOST_DEPTHS);
        for (size_t i = 0; i < h.n; i++) {
            assert_int_equal(count(h.text, h.needles[i].fact.answer), 1);
            for (size_t k = 0; k < i; k++)
                assert_string_not_equal(h.needles[i].fact.key, h.needles[k].fact.key);
        }
        niah_hay_free(&h);
    }
}

static void niah_refuses_short_contexts(void **state) {
    const fixture *x = *state;
    const uint32_t lengths[] = {64, 200, 400};
    for (size_t i = 0; i < 3; i++) {
        const niah_cfg cfg = all_of_it(lengths[i]);
        niah_hay h;
        kv_err err = {0};
        assert_int_equal(niah_hay_new(&cfg, &x->f, 0, 0, &h, &err), KV_ERANGE);
        assert_non_null(strstr(err.msg, "too short"));
    }
}

/* ---- running ---- */

static niah_cfg small(void) {
    niah_cfg cfg = {.ctx = {1200, 1500},
                    .depth = {10, 90},
                    .templates = {0, 1},
                    .n_ctx = 2,
                    .n_depth = 2,
                    .n_template = 2,
                    .repeats = 1,
                    .unknown = true,
                    .known = true,
                    .seed = 1};
    return cfg;
}

static eval_setting setting(int codec, int window) {
    eval_setting s = {"x", RT_CTX_CFG_DEFAULT};
    s.cache.ctk = s.cache.ctv = codec;
    s.cache.window = window;
    return s;
}

static bool note(void *user, double done) {
    double *last = user;
    assert_true(done >= *last && done <= 1);
    *last = done;
    return true;
}

static void niah_runs_the_grid(void **state) {
    const fixture *x = *state;
    const niah_cfg cfg = small();
    const eval_setting settings[] = {setting(KV_Q4_0, 16), setting(KV_F16, 0)};
    niah_result r[2], alone;
    kv_err err = {0};
    double last = 0;
    if (niah_run(x->m, &cfg, settings, 2, note, &last, r, &err))
        fail_msg("%s", err.msg);
    assert_true(last > 0.5);
    for (int s = 0; s < 2; s++) {
        assert_int_equal(r[s].n, 8);
        assert_int_equal(niah_tally(&r[s], NIAH_ANYWHERE).n, 8);
        assert_int_equal(niah_tally(&r[s], (niah_where){-1, -1, -1, 1}).n, 4);
        for (int c = 0; c < 2; c++)
            for (int d = 0; d < 2; d++)
                assert_int_equal(niah_tally(&r[s], (niah_where){c, d, -1, 0}).n, 1);
        assert_int_equal(niah_tally(&r[s], (niah_where){-1, -1, 1, -1}).n, 4);
        assert_true(r[s].kv_bytes[0] < r[s].kv_bytes[1] && r[s].kv_bytes[0] > 0);
    }
    assert_true(r[0].kv_bytes[1] < r[0].kv_bytes_f16[1] && r[1].kv_bytes_f16[1] == r[0].kv_bytes_f16[1]);
    assert_true(r[0].bits_k == 4.5 && r[1].bits_v == 16);
    /* The same texts for all, and the same answers alone. */
    if (niah_run(x->m, &cfg, &settings[1], 1, NULL, NULL, &alone, &err))
        fail_msg("%s", err.msg);
    bool different = false;
    for (size_t i = 0; i < 8; i++) {
        assert_string_equal(r[0].answers[i].wanted, r[1].answers[i].wanted);
        assert_string_equal(r[1].answers[i].said, alone.answers[i].said);
        different |= strcmp(r[0].answers[i].said, r[1].answers[i].said) != 0;
    }
    assert_true(different); /* four bits tell in a random model */
    niah_result_free(&r[0]);
    niah_result_free(&r[1]);
    niah_result_free(&alone);
}

static void niah_tallies_what_is_asked_for(void **state) {
    (void)state;
    niah_answer a[] = {{.i_ctx = 0, .i_depth = 1, .template = 2, .known = true, .right = true},
                       {.i_ctx = 0, .i_depth = 0, .template = 2, .right = true},
                       {.i_ctx = 1, .i_depth = 1, .template = 0, .right = false},
                       {.i_ctx = 1, .i_depth = 1, .template = 2, .right = true}};
    const niah_result r = {.answers = a, .n = 4};
    const struct {
        niah_where w;
        uint32_t n, hits;
    } cases[] = {{NIAH_ANYWHERE, 4, 3},   {{0, -1, -1, -1}, 2, 2}, {{-1, 1, -1, -1}, 3, 2}, {{-1, -1, 0, -1}, 1, 0},
                 {{-1, -1, -1, 0}, 3, 2}, {{1, 1, -1, 0}, 2, 1},   {{1, 0, -1, -1}, 0, 0},  {{-1, 1, 2, 1}, 1, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const ask_tally t = niah_tally(&r, cases[i].w);
        assert_true(t.n == cases[i].n && t.hits == cases[i].hits);
    }
}

static bool stop_halfway(void *user, double done) {
    (void)user;
    return done < 0.5;
}

static void niah_stops_and_complains_cleanly(void **state) {
    const fixture *x = *state;
    niah_cfg cfg = small();
    eval_setting settings[] = {setting(KV_F16, 0), setting(KV_TC, 0)};
    niah_result r[2];
    kv_err err = {0};
    assert_int_equal(niah_run(x->m, &cfg, settings, 1, stop_halfway, NULL, r, &err), KV_ECANCEL);
    assert_null(r[0].answers);
    /* Found out before anything is read: the second setting, the second length. */
    settings[1].name = "calibrated";
    assert_int_equal(niah_run(x->m, &cfg, settings, 2, stop_halfway, NULL, r, &err), KV_EINVAL);
    assert_non_null(strstr(err.msg, "setting 'calibrated'"));
    cfg.ctx[0] = 100;
    assert_int_equal(niah_run(x->m, &cfg, settings, 1, NULL, NULL, r, &err), KV_ERANGE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(niah_filler_gives_nothing_away),  cmocka_unit_test(niah_filler_varies),
        cmocka_unit_test(niah_facts_hold_key_and_answer),  cmocka_unit_test(niah_needles_are_where_they_should_be),
        cmocka_unit_test(niah_haystacks_fill_the_context), cmocka_unit_test(niah_haystacks_repeat_by_seed),
        cmocka_unit_test(niah_templates_take_turns),       cmocka_unit_test(niah_facts_of_a_haystack_differ),
        cmocka_unit_test(niah_refuses_short_contexts),     cmocka_unit_test(niah_runs_the_grid),
        cmocka_unit_test(niah_tallies_what_is_asked_for),  cmocka_unit_test(niah_stops_and_complains_cleanly),
    };
    return cmocka_run_group_tests(tests, open_fixture, close_fixture);
}
