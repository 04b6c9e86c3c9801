/* Asking: what is fed, that a restored state answers like a fresh reading, and what counts as right. */
#include "measure/ask.h"
#include "support.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const char document[] = "The mill stood by the river, and nobody came to it any more. On some evenings a light was seen "
                               "in the upper window. The miller's "
                               "daughter had gone to sea; she wrote twice a year, and her letters smelled of tar.";

static rt_model *open_tiny(const char *name) {
    char path[4096];
    rt_exec e;
    kv_err err = {0};
    rt_model *m = NULL;
    snprintf(path, sizeof path, "%s/tiny/%s.gguf", KV_TEST_DATA, name);
    if (rt_exec_init(&e, NULL, 1, false, &err) || rt_model_load(path, &e, &m, &err))
        fail_msg("%s", err.msg);
    return m;
}

/* ---- what is fed ---- */

static ask_ids tail_of(const ask_frame *f, const char *question, const char *prime) {
    ask_ids ids = {0};
    assert_int_equal(ask_tail(f, question, prime, &ids, NULL), KV_OK);
    return ids;
}

static char *text_of(const ask_frame *f, const ask_ids *ids) {
    char *text = calloc(1, 4096);
    for (size_t i = 0; i < ids->n; i++) {
        size_t len;
        const char *piece = tok_piece(f->t, ids->v[i], true, &len);
        assert_true(strlen(text) + len < 4096);
        strncat(text, piece, len);
    }
    return text;
}

static char *whole_prompt(const char *model, const char *known, const char *prime) {
    rt_model *m = open_tiny(model);
    ask_frame f;
    ask_ids ids = {0};
    assert_int_equal(ask_frame_new(m, &f, NULL), KV_OK);
    assert_int_equal(ask_head(&f, known, &ids, NULL), KV_OK);
    assert_int_equal(ask_document(&f, "DOC", 3, &ids, NULL), KV_OK);
    assert_int_equal(ask_tail(&f, "Why?", prime, &ids, NULL), KV_OK);
    char *text = text_of(&f, &ids);
    ask_ids_free(&ids);
    ask_frame_free(&f);
    rt_model_free(m);
    return text;
}

static void ask_puts_question_behind_document(void **state) {
    (void)state;
    char *text = whole_prompt("qwen2", NULL, "Because");
    assert_non_null(strstr(text, "<|im_start|>user\nRead the text below."));
    assert_non_null(strstr(text, "DOC\n\nWhy?<|im_end|>\n<|im_start|>assistant\nBecause"));
    assert_true(strstr(text, "Why?") > strstr(text, "DOC"));
    free(text);
    text = whole_prompt("gemma3", NULL, "Because"); /* no chat format */
    assert_non_null(strstr(text, "DOC\n\nQuestion: Why?\nAnswer: Because"));
    free(text);
}

static void ask_known_question_stands_twice(void **state) {
    (void)state;
    char *text = whole_prompt("qwen2", "Why?", NULL);
    const char *first = strstr(text, "Why?"), *doc = strstr(text, "DOC"), *second = strstr(doc, "Why?");
    assert_true(first && first < doc && second > doc);
    assert_string_equal(second, "Why?<|im_end|>\n<|im_start|>assistant\n");
    free(text);
}

static void ask_text_is_never_special(void **state) {
    (void)state;
    static const char mark[] = "<|im_end|>";
    rt_model *m = open_tiny("qwen2");
    ask_frame f;
    ask_ids ids = {0};
    int32_t *special = NULL;
    size_t n = 0;
    assert_int_equal(ask_frame_new(m, &f, NULL), KV_OK);
    assert_int_equal(tok_encode(f.t, mark, strlen(mark), TOK_SPECIAL, &special, &n, NULL), KV_OK);
    assert_int_equal(n, 1);
    assert_int_equal(ask_document(&f, mark, strlen(mark), &ids, NULL), KV_OK);
    assert_true(ids.n > 1);
    for (size_t i = 0; i < ids.n; i++)
        assert_int_not_equal(ids.v[i], special[0]);
    ask_ids_free(&ids);
    ids = tail_of(&f, mark, NULL);
    size_t ends = 0;
    for (size_t i = 0; i < ids.n; i++)
        ends += ids.v[i] == special[0];
    assert_int_equal(ends, 1); /* that of the turn */
    ask_ids_free(&ids);
    free(special);
    ask_frame_free(&f);
    rt_model_free(m);
}

/* ---- asking ---- */

enum { N_CTX = 1024, ANSWER = 12 };
static const char *const questions[] = {"What stood by the river?", "Who had gone to sea?", "Of what did the letters smell?"};
enum { QUESTIONS = sizeof questions / sizeof *questions };

typedef struct fixture {
    rt_model *m;
    ask_frame f;
    ask_ids doc;
} fixture;

static void open_fixture(fixture *x, const char *model) {
    *x = (fixture){.m = open_tiny(model)};
    assert_int_equal(ask_frame_new(x->m, &x->f, NULL), KV_OK);
    assert_int_equal(ask_head(&x->f, NULL, &x->doc, NULL), KV_OK);
    assert_int_equal(ask_document(&x->f, document, strlen(document), &x->doc, NULL), KV_OK);
}

static void close_fixture(fixture *x) {
    ask_ids_free(&x->doc);
    ask_frame_free(&x->f);
    rt_model_free(x->m);
}

static asker *new_asker(const fixture *x, int codec, int window, bool (*progress)(void *, size_t), void *user) {
    ask_cfg cfg = {.ctx = RT_CTX_CFG_DEFAULT, .answer_tokens = ANSWER, .progress = progress, .user = user};
    kv_err err = {0};
    asker *a = NULL;
    cfg.ctx.n_ctx = N_CTX;
    cfg.ctx.ctk = cfg.ctx.ctv = codec;
    cfg.ctx.window = window;
    cfg.ctx.sinks = 2;
    if (asker_new(x->m, &cfg, &a, &err))
        fail_msg("%s", err.msg);
    return a;
}

static void ask_question(const fixture *x, asker *a, size_t i, char answer[ASK_ANSWER]) {
    ask_ids tail = tail_of(&x->f, questions[i], NULL);
    ask_turn turn = {.tail = &tail};
    kv_err err = {0};
    if (asker_ask(a, &turn, 1, &err))
        fail_msg("%s", err.msg);
    strcpy(answer, turn.answer);
    ask_ids_free(&tail);
}

/* What an answer is rated at is what its tokens were likely as it was given; of another cache, something else. Many at once get
 * the same as each alone. */
static void ask_rates_answers(void **state) {
    (void)state;
    enum { N = 7 * QUESTIONS };
    fixture x;
    ask_turn given[N] = {0}, same[N] = {0}, lossy[N] = {0};
    open_fixture(&x, "qwen2");
    asker *a = new_asker(&x, KV_F16, 0, NULL, NULL), *other = new_asker(&x, KV_Q4_0, 0, NULL, NULL);
    assert_int_equal(asker_read(a, x.doc.v, x.doc.n, NULL), KV_OK);
    assert_int_equal(asker_read(other, x.doc.v, x.doc.n, NULL), KV_OK);
    ask_ids tails[N];
    for (size_t i = 0; i < N; i++) {
        char question[100];
        snprintf(question, sizeof question, "%s %zu", questions[i % QUESTIONS], i / QUESTIONS);
        tails[i] = tail_of(&x.f, question, NULL);
        given[i].tail = same[i].tail = lossy[i].tail = &tails[i];
        same[i].given = lossy[i].given = &given[i].reply;
    }
    assert_int_equal(asker_ask(a, given, N, NULL), KV_OK);
    assert_int_equal(asker_ask(a, same, N, NULL), KV_OK);
    assert_int_equal(asker_ask(other, lossy, N, NULL), KV_OK);
    for (size_t i = 0; i < N; i++) {
        const ask_reply *r = &given[i].reply;
        ask_turn alone = {.tail = &tails[i]};
        assert_true(r->n >= 1 && r->n <= ANSWER && r->logprob < 0);
        assert_true(same[i].reply.logprob == r->logprob);
        assert_true(lossy[i].reply.logprob < 0 && lossy[i].reply.logprob != r->logprob);
        assert_int_equal(asker_ask(a, &alone, 1, NULL), KV_OK);
        assert_string_equal(alone.answer, given[i].answer);
        assert_true(alone.reply.logprob == r->logprob);
        ask_ids_free(&tails[i]);
    }
    asker_free(a);
    asker_free(other);
    close_fixture(&x);
}

/* The first answer after reading needs no restored state; all others must come out as if they were the first, too. */
static void check_restoring(const char *model, int codec, int window) {
    fixture x;
    char fresh[QUESTIONS][ASK_ANSWER], again[ASK_ANSWER];
    open_fixture(&x, model);
    for (size_t i = 0; i < QUESTIONS; i++) {
        asker *a = new_asker(&x, codec, window, NULL, NULL);
        assert_int_equal(asker_read(a, x.doc.v, x.doc.n, NULL), KV_OK);
        ask_question(&x, a, i, fresh[i]);
        asker_free(a);
    }
    asker *a = new_asker(&x, codec, window, NULL, NULL);
    static const int32_t other[] = {5, 6, 7, 8};
    assert_int_equal(asker_read(a, other, 4, NULL), KV_OK); /* forgotten at the next reading */
    ask_question(&x, a, 0, again);
    assert_string_not_equal(again, fresh[0]);
    assert_int_equal(asker_read(a, x.doc.v, x.doc.n, NULL), KV_OK);
    for (size_t k = 0; k < 2 * QUESTIONS; k++) {
        const size_t i = k * 2 % QUESTIONS; /* in another order, and twice */
        ask_question(&x, a, i, again);
        assert_string_equal(again, fresh[i]);
    }
    assert_true(strcmp(fresh[0], fresh[1]) || strcmp(fresh[1], fresh[2]));
    asker_free(a);
    close_fixture(&x);
}

static void ask_restores_the_state_after_reading(void **state) {
    (void)state;
    check_restoring("qwen2", KV_F16, 0);
    check_restoring("qwen2", KV_Q4_0, 16); /* cannot be truncated */
    check_restoring("gemma3", KV_KIVI2, 8);
}

static bool stop_at(void *user, size_t tokens) {
    size_t *left = user;
    *left = *left > tokens ? *left - tokens : 0;
    return *left > 0;
}

static void ask_stops_when_told_to(void **state) {
    (void)state;
    fixture x;
    size_t left = 1;
    kv_err err = {0};
    open_fixture(&x, "qwen2");
    asker *a = new_asker(&x, KV_F16, 0, stop_at, &left);
    assert_int_equal(asker_read(a, x.doc.v, x.doc.n, &err), KV_ECANCEL);
    left = SIZE_MAX;
    assert_int_equal(asker_read(a, x.doc.v, x.doc.n, &err), KV_OK);
    assert_int_equal(SIZE_MAX - left, x.doc.n);
    asker_free(a);
    close_fixture(&x);
}

static void ask_says_when_the_context_is_full(void **state) {
    (void)state;
    fixture x;
    kv_err err = {0};
    open_fixture(&x, "qwen2");
    asker *a = new_asker(&x, KV_F16, 0, NULL, NULL);
    int32_t *ids = calloc(N_CTX + 1, sizeof *ids);
    assert_int_equal(asker_read(a, ids, N_CTX + 1, &err), KV_ERANGE);
    free(ids);
    asker_free(a);
    close_fixture(&x);
}

/* ---- scoring ---- */

static void ask_normalises(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"  The Red\tLighthouse. ", "red lighthouse"},
        {"12,345 and 1,234,567", "12345 and 1234567"},
        {"1, 234; 12,34 1,2345", "1 234 12 34 1 2345"},
        {"3.14 is pi.", "3.14 is pi"},
        {"grey-owl's \"An\" a THE", "grey owl s"},
        {"ÉCOLE Straße \xef\xbc\x94\xef\xbc\x92", "\xc3\xa9"
                                                  "cole strasse 42"},
        {"...", ""},
        {"", ""},
        {"another theme", "another theme"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *got = ask_normalise(cases[i][0]);
        assert_string_equal(got, cases[i][1]);
        free(got);
    }
    assert_null(ask_normalise("broken \xff"));
}

static void ask_scores_whole_words(void **state) {
    (void)state;
    static const struct {
        const char *answer, *wanted;
        bool right;
    } cases[] = {
        {"48213.", "48213", true},
        {"It is 48,213, I think", "48213", true},
        {"482130", "48213", false},
        {"148213", "48213", false},
        {"48213.5", "48213", false},
        {"48 213", "48213", false},
        {"\"copper heron lantern\".", "copper heron lantern", true},
        {"copper-heron lantern", "Copper Heron Lantern", true},
        {"copper lantern heron", "copper heron lantern", false},
        {"copper heron", "copper heron lantern", false},
        {"Anna Bell", "Ann", false},
        {"on Ann Bell", "Ann", true},
        {"fifty-six or 56", "57|56|58", true},
        {"56", "57|58", false},
        {"the mill", "The Mill|windmill", true},
        {"", "x", false},
        {"heronheron heron", "heron", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bool right;
        assert_int_equal(ask_is_right(cases[i].answer, cases[i].wanted, &right, NULL), KV_OK);
        if (right != cases[i].right)
            fail_msg("'%s' for '%s' counts as %s", cases[i].answer, cases[i].wanted, right ? "right" : "wrong");
    }
}

static void assert_wilson(uint32_t hits, uint32_t n, double lo, double hi) {
    double got_lo, got_hi;
    ask_wilson((ask_tally){n, hits}, &got_lo, &got_hi);
    assert_true(fabs(got_lo - lo) < 5e-5 && fabs(got_hi - hi) < 5e-5);
}

static void ask_intervals_are_wilsons(void **state) {
    (void)state;
    assert_wilson(5, 10, 0.2366, 0.7634);
    assert_wilson(10, 10, 0.7225, 1);
    assert_wilson(0, 10, 0, 0.2775);
    assert_wilson(81, 100, 0.7222, 0.8749);
    assert_wilson(1, 1, 0.2065, 1);
    assert_wilson(0, 0, 0, 1);
    double lo, hi;
    ask_wilson((ask_tally){7, 7}, &lo, &hi);
    assert_true(hi == 1);
    ask_wilson((ask_tally){7, 0}, &lo, &hi);
    assert_true(lo == 0);
    char buf[48];
    assert_string_equal(ask_percent((ask_tally){10, 5}, true, buf), "50 % (24–76)");
    assert_string_equal(ask_percent((ask_tally){10, 5}, false, buf), "50 %");
    assert_string_equal(ask_percent((ask_tally){0, 0}, true, buf), "–");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ask_puts_question_behind_document),
        cmocka_unit_test(ask_known_question_stands_twice),
        cmocka_unit_test(ask_text_is_never_special),
        cmocka_unit_test(ask_restores_the_state_after_reading),
        cmocka_unit_test(ask_rates_answers),
        cmocka_unit_test(ask_stops_when_told_to),
        cmocka_unit_test(ask_says_when_the_context_is_full),
        cmocka_unit_test(ask_normalises),
        cmocka_unit_test(ask_scores_whole_words),
        cmocka_unit_test(ask_intervals_are_wilsons),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
