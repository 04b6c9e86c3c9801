/* Documents that hide facts: the same everywhere, as long as wanted, answers that stand in one place; filler; and a run on a
 * tiny model. */
#include "measure/facts_build.h"

#include "base/atomic_file.h"
#include "measure/eval_io.h"
#include "support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const char path[] = "facts_test.txt";

typedef struct tiny {
    rt_model *m;
    ask_frame f;
} tiny;

static int open_tiny(void **state) {
    static tiny t;
    rt_exec e;
    kv_err err = {0};
    if (rt_exec_init(&e, NULL, 1, false, &err) || rt_model_load(KV_TEST_DATA "/tiny/qwen2.gguf", &e, &t.m, &err) ||
        ask_frame_new(t.m, &t.f, &err))
        fail_msg("%s", err.msg);
    *state = &t;
    return 0;
}

static int close_tiny(void **state) {
    tiny *t = *state;
    ask_frame_free(&t->f);
    rt_model_free(t->m);
    return 0;
}

static facts_doc make(const tiny *t, const facts_cfg *cfg, size_t i_length, size_t index) {
    facts_doc d;
    kv_err err = {0};
    if (facts_doc_new(cfg, &t->f, i_length, index, &d, &err))
        fail_msg("document %zu: %s", index, err.msg);
    return d;
}

/* ---- documents ---- */

/* One hash over everything: it may only change together with the texts, and then results of before cannot be compared. */
static void facts_are_the_same_everywhere(void **state) {
    const facts_cfg cfg = {.tokens = {4000}, .n_tokens = 1, .docs = 10, .seed = 7};
    static char all[1 << 20];
    char *to = all, hash[33];
    for (size_t i = 0; i < 2 * FACTS_STYLES; i++) {
        facts_doc d = make(*state, &cfg, 0, i), again = make(*state, &cfg, 0, i);
        assert_int_equal(d.style, i % FACTS_STYLES);
        assert_string_equal(d.text, again.text);
        assert_memory_equal(d.q, again.q, sizeof d.q);
        to = stpcpy(to, d.text);
        for (size_t k = 0; k < d.n; k++)
            to += sprintf(to, "\n%s\t%s\t%zu", d.q[k].text, d.q[k].wanted, d.q[k].fact[0].at);
        facts_doc_free(&d);
        facts_doc_free(&again);
    }
    eval_hash(all, (size_t)(to - all), hash);
    assert_string_equal(hash, "cd7fa01f382bb68c7f1e063eedc45f5d");
}

static void facts_differ_with_seed_index_and_length(void **state) {
    facts_cfg cfg = {.tokens = {4000, 5000}, .n_tokens = 2, .docs = 10, .seed = 7};
    facts_doc d[4] = {make(*state, &cfg, 0, 0), make(*state, &cfg, 0, 5), make(*state, &cfg, 1, 0)};
    cfg.seed = 8;
    d[3] = make(*state, &cfg, 0, 0);
    for (size_t i = 0; i < 4; i++)
        for (size_t k = 0; k < i; k++)
            for (size_t a = 0; a < FACTS_QUESTIONS; a++)
                for (size_t b = 0; b < FACTS_QUESTIONS; b++)
                    if (!strcmp(d[i].q[a].text, d[k].q[b].text) && !strcmp(d[i].q[a].wanted, d[k].q[b].wanted))
                        fail_msg("documents %zu and %zu ask and answer the same: %s", i, k, d[i].q[a].text);
    for (size_t i = 0; i < 4; i++)
        facts_doc_free(&d[i]);
}

static size_t tokens_of(const tiny *t, const facts_doc *d, const facts_question *q) {
    ask_ids ids = {0};
    if (ask_head(&t->f, NULL, &ids, NULL) || ask_document(&t->f, d->text, d->len, &ids, NULL) ||
        qa_tail(&t->f, q->text, FACTS_HOW, &ids, NULL))
        fail();
    const size_t n = ids.n + FACTS_ANSWER_TOKENS;
    ask_ids_free(&ids);
    return n;
}

static void facts_are_as_long_as_wanted(void **state) {
    const facts_cfg cfg = {.tokens = {4000, 12000}, .n_tokens = 2, .docs = 5, .seed = 3};
    for (size_t i = 0; i < 2 * FACTS_STYLES; i++) {
        facts_doc d = make(*state, &cfg, i / FACTS_STYLES, i % FACTS_STYLES);
        size_t most = 0;
        for (size_t k = 0; k < d.n; k++) {
            const size_t n = tokens_of(*state, &d, &d.q[k]);
            most = n > most ? n : most;
        }
        if (most > cfg.tokens[d.i_length] || most < cfg.tokens[d.i_length] * 97 / 100)
            fail_msg("%s of %u tokens takes %zu", facts_styles[d.style]->name, cfg.tokens[d.i_length], most);
        facts_doc_free(&d);
    }
    facts_doc none;
    kv_err err = {0};
    const facts_cfg little = {.tokens = {600}, .n_tokens = 1, .docs = 1, .seed = 3};
    assert_int_equal(facts_doc_new(&little, &((tiny *)*state)->f, 0, 0, &none, &err), KV_ERANGE);
    assert_non_null(strstr(err.msg, "600 tokens are too few"));
    assert_null(none.text);
}

/* How often one of the wanted answers stands in so many bytes of a text, as whole words. */
static size_t count(const char *text, size_t len, const char *wanted) {
    char *part = strndup(text, len), *said = ask_normalise(part);
    size_t n = 0;
    for (const char *one = wanted; *one; one += *one == '|') {
        const size_t size = strcspn(one, "|");
        char *raw = strndup(one, size), *words = ask_normalise(raw), *padded = malloc(strlen(words) + 3),
             *in = malloc(strlen(said) + 3);
        sprintf(padded, " %s ", words);
        sprintf(in, " %s ", said);
        size_t found = 0;
        for (const char *at = in; (at = strstr(at, padded)); at++)
            found++;
        n = found > n ? found : n;
        free(raw);
        free(words);
        free(padded);
        free(in);
        one += size;
    }
    free(said);
    free(part);
    return n;
}

static void check_question(const facts_doc *d, const facts_question *q) {
    const struct facts_span *last = &q->fact[q->hops - 1];
    const char *style = facts_styles[d->style]->name;
    if (count(d->text, d->len, q->wanted) != 1)
        fail_msg("%s: '%s' stands in the text %zu times", style, q->wanted, count(d->text, d->len, q->wanted));
    if (last->at + last->len > d->len || count(d->text + last->at, last->len, q->wanted) != 1)
        fail_msg("%s: '%s' is not in its fact: %.*s", style, q->wanted, (int)last->len, d->text + last->at);
    if (count(q->text, strlen(q->text), q->wanted))
        fail_msg("%s: '%s' is in the question", style, q->wanted);
    if (q->hops == 2 && count(d->text + q->fact[0].at, q->fact[0].len, q->wanted))
        fail_msg("%s: '%s' is in the first fact already", style, q->wanted);
    if (q->hops == 2)
        assert_true(q->fact[0].at + q->fact[0].len <= last->at || last->at + last->len <= q->fact[0].at);
}

static void facts_answers_stand_in_one_place(void **state) {
    const facts_cfg cfg = {.tokens = {4000}, .n_tokens = 1, .docs = 40, .seed = 11};
    size_t quarter[4] = {0};
    for (size_t i = 0; i < cfg.docs; i++) {
        facts_doc d = make(*state, &cfg, 0, i);
        unsigned two = 0;
        assert_int_equal(d.n, FACTS_QUESTIONS);
        for (size_t k = 0; k < d.n; k++) {
            check_question(&d, &d.q[k]);
            two += d.q[k].hops == 2;
            quarter[4 * d.q[k].fact[d.q[k].hops - 1].at / d.len]++;
        }
        assert_int_equal(two, FACTS_TWO_HOPS);
        facts_doc_free(&d);
    }
    for (size_t i = 0; i < 4; i++) /* 280 facts: 70 in every quarter */
        assert_true(quarter[i] > 40 && quarter[i] < 100);
}

/* Every entry of every family is asked for. */
static void facts_ask_for_near_misses(void **state) {
    const facts_cfg cfg = {.tokens = {4000}, .n_tokens = 1, .docs = 20, .seed = 11, .near_misses = true};
    for (size_t i = 0; i < cfg.docs; i++) {
        facts_doc d = make(*state, &cfg, 0, i);
        assert_int_equal(d.n, d.style == FACTS_TABLE ? 3 * FACTS_QUESTIONS : 2 * FACTS_QUESTIONS - 1);
        for (size_t k = 0; k < d.n; k++) {
            check_question(&d, &d.q[k]);
            for (size_t l = 0; l < k; l++)
                if (!strcmp(d.q[k].text, d.q[l].text) || !strcmp(d.q[k].wanted, d.q[l].wanted))
                    fail_msg("%s: asked twice: %s", facts_styles[d.style]->name, d.q[k].text);
        }
        facts_doc_free(&d);
    }
}

/* ---- facts ---- */

static bool holds(const char *text, const char *s) {
    return strstr(text, s) != NULL;
}

/* What leads to the answer is needed: the question names only the bridge, which the second fact does not hold; and both facts
 * say something of one key. */
static void facts_two_hops_need_both(const facts_builder *b, const facts_doc *d, size_t q) {
    char said[2][FACTS_PIECE] = {"", ""};
    for (size_t i = 0; i < b->n_facts; i++)
        for (size_t k = 0; k < b->fact[i].n_parts; k++)
            if (b->fact[i].part[k].question == q)
                snprintf(said[b->fact[i].hop], FACTS_PIECE, "%.*s", (int)b->fact[i].part[k].len,
                         b->fact[i].text + b->fact[i].part[k].at);
    const char *first = said[0], *second = said[1];
    assert_true(*first && *second);
    size_t bridges = 0, keys = 0;
    for (size_t i = 0; i < b->n_used; i++) {
        const char *v = b->used[i].shown;
        if (holds(d->q[q].text, v) && holds(first, v)) {
            bridges++;
            if (holds(second, v))
                fail_msg("%s: one hop would do: %s", d->q[q].text, second);
        }
        keys += holds(first, v) && holds(second, v);
    }
    if (!bridges || !keys)
        fail_msg("%s: no way from '%s' to '%s'", d->q[q].text, first, second);
}

/* Values are in the order in which they were drawn: of every entry key, bridge if there is one, answer. Answers and bridges
 * differ from everything, keys of a family from each other. */
static void check_values(const facts_builder *b) {
    for (size_t f = 0, first = 0, n; f < FACTS_QUESTIONS; f++, first += n) {
        const size_t per = f < FACTS_ONE_HOP ? 2 : 3;
        n = per * facts_entries(b->style, f);
        for (size_t i = first; i < first + n; i++)
            for (size_t k = (i - first) % per ? 0 : first; k < i; k++)
                if (!strcmp(b->used[i].shown, b->used[k].shown))
                    fail_msg("%s: %s is there twice", b->style->name, b->used[i].shown);
    }
}

static void facts_have_near_misses(void **state) {
    tiny *t = *state;
    for (int style = 0; style < FACTS_STYLES; style++)
        for (uint64_t seed = 1; seed < 200; seed++) {
            facts_builder b = {
                .style = facts_styles[style], .frame = &t->f, .seed = seed, .rng = seed, .near_misses = seed % 2};
            facts_doc d = {.style = style};
            bool good = true;
            assert_int_equal(facts_draw(&b, &d, &good, NULL), KV_OK);
            if (!good)
                fail_msg("%s: words run out", b.style->name);
            size_t facts = 0, asked = 0;
            for (size_t i = 0; i < FACTS_QUESTIONS; i++) {
                const size_t n = facts_entries(b.style, i);
                facts += (i < FACTS_ONE_HOP ? 1 : 2) * (b.style->layout == FACTS_TABLES ? 1 : n);
                asked += b.near_misses ? n : 1;
            }
            assert_int_equal(b.n_facts, facts);
            assert_int_equal(d.n, asked);
            assert_true(facts_entries(b.style, 0) >= 2 && facts_entries(b.style, FACTS_ONE_HOP) >= 2);
            check_values(&b);
            for (size_t i = 0; i < b.n_facts; i++)
                if (strpbrk(b.fact[i].text, "{}") && style != FACTS_CODE)
                    fail_msg("%s: a rule that does not exist: %s", b.style->name, b.fact[i].text);
            for (size_t q = 0; q < d.n; q++)
                if (d.q[q].hops == 2)
                    facts_two_hops_need_both(&b, &d, q);
            for (size_t i = 0; i < b.n_facts; i++)
                free(b.fact[i].text);
        }
}

/* ---- filler ---- */

/* Neither numbers nor names that could be taken for answers; no rule without words; and not the same sentence again and again.
 */
static void facts_filler_gives_nothing_away(void **state) {
    (void)state;
    static const char *const kinds[] = {"first", "last", "place", "company", "project", "month"};
    enum { SENTENCES = 400 };
    for (int style = 0; style < FACTS_STYLES; style++) {
        static char text[SENTENCES][FACTS_PIECE];
        facts_filler f = {.style = facts_styles[style]};
        uint64_t rng = 5;
        size_t n = 0, repeated = 0;
        while (n < SENTENCES) {
            if (facts_draw_filler(&f, &rng, text[n]) == FACTS_HEADING)
                continue;
            const size_t digits = strcspn(text[n], "0123456789");
            if (text[n][digits] && style != FACTS_CODE)
                fail_msg("%s: a digit: %s", f.style->name, text[n]);
            if (style != FACTS_CODE && strpbrk(text[n], "{}[]/|"))
                fail_msg("%s: a rule that does not exist: %s", f.style->name, text[n]);
            for (size_t k = 0; k < n; k++)
                if (!strcmp(text[k], text[n])) {
                    repeated++;
                    break;
                }
            n++;
        }
        if (repeated > 0)
            fail_msg("%s: %zu of %d sentences were there before", f.style->name, repeated, SENTENCES);
        for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
            for (int i = 0; i < 200; i++) {
                facts_value v;
                facts_draw_value(f.style, kinds[k], &rng, &v);
                for (n = 0; n < SENTENCES; n++)
                    if (count(text[n], strlen(text[n]), v.shown) && strcmp(v.shown, "May"))
                        fail_msg("%s: '%s' in: %s", f.style->name, v.shown, text[n]);
                i += 20;
            }
    }
}

/* ---- filler from outside ---- */

static void put(const char *text) {
    kv_err err = {0};
    if (file_write(path, text, strlen(text), &err))
        fail_msg("%s", err.msg);
}

static void facts_take_filler_from_a_text(void **state) {
    char text[20000], *to = text;
    for (int i = 0; i < 60; i++)
        to += sprintf(to, "Paragraph %d of the text tells of a boat. It was painted blue,\nand nobody knew why. %s\n\n", i,
                      i % 2 ? "Then it rained?" : "The cook sang!");
    put(text);
    facts_source s;
    kv_err err = {0};
    assert_int_equal(facts_source_load(path, &s, &err), KV_OK);
    assert_int_equal(s.n, 60);
    assert_int_equal(strlen(s.hash), 32);
    const facts_cfg cfg = {.tokens = {4000}, .n_tokens = 1, .docs = 5, .seed = 1, .source = &s};
    for (size_t i = 0; i < cfg.docs; i++) {
        facts_doc d = make(*state, &cfg, 0, i);
        assert_true(holds(d.text, i == FACTS_CODE ? "# It was painted blue, and nobody knew why."
                                                  : "It was painted blue, and nobody knew why."));
        for (size_t k = 0; k < d.n; k++)
            check_question(&d, &d.q[k]);
        facts_doc_free(&d);
    }
    facts_source_free(&s);
    remove(path);
}

static void facts_refuse_texts(void **state) {
    facts_source s;
    facts_doc d;
    kv_err err = {0};
    assert_int_equal(facts_source_load("no-such", &s, &err), KV_EIO);
    put("Only this one paragraph, which is long enough to be one.\n");
    assert_int_equal(facts_source_load(path, &s, &err), KV_EFORMAT);
    assert_non_null(strstr(err.msg, "1 paragraphs"));
    put("not \xff UTF-8\n");
    assert_int_equal(facts_source_load(path, &s, &err), KV_EFORMAT);
    assert_non_null(strstr(err.msg, "UTF-8"));
    /* All the names and dates that could be answers. */
    static const char *const kinds[] = {"last", "place", "company", "date"};
    char *text = calloc(1, 1 << 20), *to = text, *paragraph = calloc(1, 1 << 15);
    uint64_t rng = 1;
    for (size_t i = 0; i < 4 * 4000; i++) {
        facts_value v;
        char one[FACTS_VALUE + 3];
        facts_draw_value(facts_styles[FACTS_REPORT], kinds[i / 4000], &rng, &v);
        snprintf(one, sizeof one, " %s;", v.shown);
        if (!holds(paragraph, one))
            strcat(paragraph, one);
    }
    for (int i = 0; i < FACTS_LEAST_PARAGRAPHS; i++)
        to += sprintf(to, "%s\n\n", paragraph);
    free(paragraph);
    put(text);
    assert_int_equal(facts_source_load(path, &s, &err), KV_OK);
    const facts_cfg cfg = {.tokens = {60000}, .n_tokens = 1, .docs = 1, .seed = 1, .source = &s};
    assert_int_equal(facts_doc_new(&cfg, &((tiny *)*state)->f, 0, 0, &d, &err), KV_ERANGE);
    assert_non_null(strstr(err.msg, "in the filler, too"));
    facts_source_free(&s);
    free(text);
    remove(path);
}

/* ---- measuring ---- */

static bool never(void *user, double done) {
    *(double *)user = done;
    return false;
}

static bool note(void *user, double done) {
    double *last = user;
    assert_true(done >= *last && done <= 1);
    *last = done;
    return true;
}

static void facts_run_and_compare(void **state) {
    tiny *t = *state;
    const facts_cfg cfg = {.tokens = {3000, 3200}, .n_tokens = 2, .docs = 2, .seed = 1};
    facts_set s;
    facts_result r[2];
    kv_err err = {0};
    double last = 0;
    if (facts_set_new(&cfg, &t->f, &s, &err))
        fail_msg("%s", err.msg);
    assert_true(s.n == 4 && s.n_questions == 4 * FACTS_QUESTIONS && s.v[1].i_length == 0 && s.v[2].i_length == 1);
    eval_setting settings[2] = {{"f16", RT_CTX_CFG_DEFAULT}, {"q4", RT_CTX_CFG_DEFAULT}};
    settings[1].cache.ctk = settings[1].cache.ctv = KV_Q4_0;
    const facts_job job = {.m = t->m, .set = &s, .frame = &t->f, .settings = settings, .n = 2, .answers = true};
    assert_int_equal(facts_run(&job, never, &last, r, &err), KV_ECANCEL);
    assert_true(!r[0].answers && !r[1].answers);
    last = 0;
    if (facts_run(&job, note, &last, r, &err))
        fail_msg("%s", err.msg);
    assert_true(last > 0.99 && r[1].kv_bytes[0] < r[0].kv_bytes[0] && r[0].kv_bytes[0] < r[0].kv_bytes[1]);
    assert_int_equal(facts_tally(&s, &r[0], FACTS_ANYWHERE).n, 28);
    /* Each document is asked as it would be alone. */
    qa_question q[FACTS_QUESTIONS] = {{0}};
    const qa_list list = {.v = q, .n = FACTS_QUESTIONS, .how = FACTS_HOW};
    qa_test test;
    qa_result alone;
    for (size_t k = 0; k < FACTS_QUESTIONS; k++)
        q[k] = (qa_question){.text = s.v[3].q[k].text, .wanted = s.v[3].q[k].wanted};
    if (qa_test_new(&t->f, s.v[3].text, s.v[3].len, &list, &test, &err) ||
        qa_run(t->m, &test, &settings[1].cache, NULL, NULL, &alone, &err))
        fail_msg("%s", err.msg);
    for (size_t k = 0; k < FACTS_QUESTIONS; k++) { /* answers there may be shorter */
        const char *said = alone.answers[k].said;
        assert_memory_equal(r[1].answers[3 * FACTS_QUESTIONS + k].said, said, strlen(said));
    }
    qa_result_free(&alone);
    qa_test_free(&test);
    /* A tiny model knows nothing, so say what was right: f16 all but the first, q4 only minutes. */
    for (size_t i = 0; i < s.n_questions; i++) {
        r[0].answers[i].right = i > 0;
        r[1].answers[i].right = i / FACTS_QUESTIONS % 2 == FACTS_MINUTES || !i;
    }
    const paired all = facts_compare(&s, &r[0], &r[1], FACTS_ANYWHERE);
    assert_true(all.n == 28 && all.lost == 13 && all.won == 1);
    const paired report = facts_compare(&s, &r[0], &r[1], (facts_where){FACTS_REPORT, -1, 1});
    assert_true(report.n == 7 && report.lost == 7 && report.won == 0);
    const ask_tally two = facts_tally(&s, &r[1], (facts_where){-1, 2, -1});
    assert_true(two.n == 8 && two.hits == 4);
    facts_result_free(&r[0]);
    facts_result_free(&r[1]);
    facts_set_free(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(facts_are_the_same_everywhere),
        cmocka_unit_test(facts_differ_with_seed_index_and_length),
        cmocka_unit_test(facts_are_as_long_as_wanted),
        cmocka_unit_test(facts_answers_stand_in_one_place),
        cmocka_unit_test(facts_ask_for_near_misses),
        cmocka_unit_test(facts_have_near_misses),
        cmocka_unit_test(facts_filler_gives_nothing_away),
        cmocka_unit_test(facts_take_filler_from_a_text),
        cmocka_unit_test(facts_refuse_texts),
        cmocka_unit_test(facts_run_and_compare),
    };
    return cmocka_run_group_tests(tests, open_tiny, close_tiny);
}
