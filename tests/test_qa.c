/* Files of questions: what is read and what is refused, with file and line; and a run on a tiny model. */
#include "measure/qa.h"

#include "base/atomic_file.h"
#include "support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const char path[] = "qa_test.tsv";

static void put(const char *text, size_t len) {
    kv_err err = {0};
    if (file_write(path, text, len, &err))
        fail_msg("%s", err.msg);
}

static void qa_reads_questions(void **state) {
    (void)state;
    static const char text[] =
        "\xef\xbb\xbf# a comment\n\n  Who?  \t Ann Bell | Bell \r\nWhere, and #when?\tat noon\n \t\r\nHow many?\t5|five";
    qa_list l;
    kv_err err = {0};
    put(text, strlen(text));
    assert_int_equal(qa_list_load(path, &l, &err), KV_OK);
    assert_int_equal(l.n, 3);
    assert_string_equal(l.v[0].text, "Who?");
    assert_string_equal(l.v[0].wanted, "Ann Bell | Bell");
    assert_int_equal(l.v[0].line, 3);
    assert_string_equal(l.v[1].text, "Where, and #when?");
    assert_string_equal(l.v[2].wanted, "5|five");
    assert_int_equal(l.v[2].line, 6);
    assert_int_equal(strlen(l.hash), 32);
    qa_list_free(&l);
    remove(path);
}

static void qa_refuses_questions(void **state) {
    (void)state;
    static const struct {
        const char *text, *says;
    } bad[] = {
        {"Who?\tAnn\nWho else? Bob\n", "qa_test.tsv:2: no tab"},
        {"\tAnn\n", "qa_test.tsv:1: no question"},
        {"Who?\t\n", "qa_test.tsv:1: '' is no answer"},
        {"Who?\tAnn|\n", "qa_test.tsv:1: '' is no answer"},
        {"Who?\tAnn||Bob\n", "qa_test.tsv:1: '' is no answer"},
        {"\n\nWho?\t?!|Ann\n", "qa_test.tsv:3: '?!' is no answer"},
        {"Who?\tthe\n", "qa_test.tsv:1: 'the' is no answer"},
        {"Who?\tAnn\tBob\n", "qa_test.tsv:1: more than one tab"},
        {"Who?\tAnn \xff\n", "qa_test.tsv:1: not UTF-8"},
        {"# nothing\n\n", "qa_test.tsv: no question in it"},
        {"", "qa_test.tsv: no question in it"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        qa_list l;
        kv_err err = {0};
        put(bad[i].text, strlen(bad[i].text));
        assert_int_equal(qa_list_load(path, &l, &err), KV_EFORMAT);
        if (!strstr(err.msg, bad[i].says))
            fail_msg("'%s' instead of '%s'", err.msg, bad[i].says);
        assert_null(l.v);
    }
    qa_list l;
    kv_err err = {0};
    put("Who?\tA\0nn\n", 10);
    assert_int_equal(qa_list_load(path, &l, &err), KV_EFORMAT);
    remove(path);
    assert_int_equal(qa_list_load(path, &l, &err), KV_EIO);
}

/* The document that is shipped answers the questions that are shipped with it. */
static void qa_sample_answers_its_questions(void **state) {
    (void)state;
    qa_list l;
    kv_err err = {0};
    char *text;
    size_t len;
    if (qa_list_load(KV_BENCH_DATA "/chronicle.tsv", &l, &err) ||
        file_read(KV_BENCH_DATA "/chronicle.txt", 1 << 20, &text, &len, &err))
        fail_msg("%s", err.msg);
    assert_true(l.n >= 20);
    for (size_t i = 0; i < l.n; i++) {
        bool right = false;
        assert_int_equal(ask_is_right(text, l.v[i].wanted, &right, NULL), KV_OK);
        if (!right)
            fail_msg("chronicle.tsv:%u: the chronicle says nothing of '%s'", l.v[i].line, l.v[i].wanted);
        assert_int_equal(ask_is_right(l.v[i].text, l.v[i].wanted, &right, NULL), KV_OK);
        if (right)
            fail_msg("chronicle.tsv:%u: the question gives the answer away", l.v[i].line);
    }
    free(text);
    qa_list_free(&l);
}

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

static void qa_runs_and_scores(void **state) {
    (void)state;
    static const char questions[] = "Who?\tzzz\nWhere?\tzzz\n";
    rt_exec e;
    rt_model *m = NULL;
    kv_err err = {0};
    qa_list l;
    qa_test t;
    ask_frame f;
    qa_result r, again;
    rt_ctx_cfg cache = RT_CTX_CFG_DEFAULT;
    double last = 0;
    put(questions, strlen(questions));
    if (rt_exec_init(&e, NULL, 1, false, &err) || rt_model_load(KV_TEST_DATA "/tiny/qwen2.gguf", &e, &m, &err) ||
        qa_list_load(path, &l, &err) || ask_frame_new(m, &f, &err))
        fail_msg("%s", err.msg);
    put("\n \n", 3);
    char *text;
    size_t len;
    assert_int_equal(qa_document_load(path, &text, &len, &err), KV_EFORMAT);
    assert_null(text);
    assert_non_null(strstr(err.msg, "no text in it"));
    put("Some text.\n", 11);
    assert_int_equal(qa_document_load(path, &text, &len, &err), KV_OK);
    assert_int_equal(len, 10);
    assert_int_equal(qa_test_new(&f, text, len, &l, &t, &err), KV_OK);
    free(text);
    assert_true(t.n_ctx > t.document.n + QA_ANSWER_TOKENS && t.n_document < t.document.n && t.n_document >= 2);

    cache.budget.tokens = 1;
    assert_int_equal(qa_try(m, &t, &cache, &err), KV_EINVAL);
    cache.budget.tokens = 0;
    assert_int_equal(qa_try(m, &t, &cache, &err), KV_OK);
    assert_int_equal(qa_run(m, &t, &cache, never, &last, &r, &err), KV_ECANCEL);
    assert_null(r.answers);
    last = 0;
    assert_int_equal(qa_run(m, &t, &cache, note, &last, &r, &err), KV_OK);
    assert_true(last > 0 && r.tally.n == 2 && r.tally.hits == 0 && r.cache.bytes > 0);
    /* What was said is right when it is what is wanted. */
    char wanted[ASK_ANSWER + 8];
    snprintf(wanted, sizeof wanted, "%s", r.answers[0].said);
    char *words = ask_normalise(wanted);
    assert_true(*words);
    free(words);
    l.v[0].wanted = wanted;
    assert_int_equal(qa_run(m, &t, &cache, NULL, NULL, &again, &err), KV_OK);
    assert_int_equal(again.tally.hits, 1);
    assert_true(again.answers[0].right && !again.answers[1].right);
    assert_string_equal(again.answers[1].said, r.answers[1].said);
    qa_result_free(&r);
    qa_result_free(&again);
    qa_test_free(&t);
    ask_frame_free(&f);
    qa_list_free(&l);
    rt_model_free(m);
    remove(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(qa_reads_questions),
        cmocka_unit_test(qa_refuses_questions),
        cmocka_unit_test(qa_sample_answers_its_questions),
        cmocka_unit_test(qa_runs_and_scores),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
