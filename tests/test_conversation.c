/* Conversations beyond single turns: nothing is read twice after a way back, documents in front of questions, files that go on
 * to the bit. */
#include "kvrun/conversation.h"
#include "session/store.h"
#include "support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const char ferry[] = "The ferry to Brenn leaves at nine. Its captain is called Odo, and his dog sleeps below. ";
enum { SAID = 7, CTX = 1024 };

static void to_file(void *file, const char *text, size_t len) {
    fwrite(text, 1, len, file);
}

static int open_model(void **state) {
    *state = load_test_model("tiny/qwen2", NULL, 1);
    return *state ? 0 : -1;
}

static int close_model(void **state) {
    rt_model_free(*state);
    return 0;
}

/* A gen and a conversation, in a cache that cannot go back far by itself. */
typedef struct talk {
    gen *g;
    conversation *c;
    chat_format *format;
    FILE *said;
    rt_ctx_cfg cfg;
} talk;

static talk begin_with(const rt_model *m, const char *system, bool (*stop)(void), uint32_t n_ctx, bool shift) {
    talk t = {.said = tmpfile()};
    kv_err err = {0};
    gen_cfg cfg = {.ctx = RT_CTX_CFG_DEFAULT, .sampling = {.temp = 5, .top_p = 1, .seed = 3}, .stop = stop, .shift = shift};
    cfg.ctx.n_ctx = n_ctx;
    cfg.ctx.n_batch = 16;
    cfg.ctx.ctk = cfg.ctx.ctv = KV_Q8_0;
    cfg.ctx.sinks = 2;
    cfg.ctx.window = 6;
    if (gen_new(m, &cfg, &t.g, &err) || chat_open(rt_model_gguf(m), rt_model_tok(m), NULL, &t.format, &err) ||
        conversation_new(m, t.g, t.format, system, &t.c, &err))
        fail_msg("%s", err.msg);
    t.cfg = (rt_ctx_cfg)RT_CTX_CFG_DEFAULT;
    return t;
}

static talk begin(const rt_model *m) {
    return begin_with(m, "Be brief.", NULL, CTX, false);
}

static void end(talk *t) {
    conversation_free(t->c);
    chat_free(t->format);
    gen_free(t->g);
    fclose(t->said);
}

/* Returns how many tokens were read for it. */
static size_t ask(talk *t, const char *question) {
    const size_t before = gen_get_stats(t->g)->prompt_tokens;
    kv_err err = {0};
    gen_end how;
    if (conversation_turn(t->c, question, SAID, to_file, t->said, &how, &err))
        fail_msg("%s", err.msg);
    conversation_mark(t->c);
    return gen_get_stats(t->g)->prompt_tokens - before;
}

static void undo(talk *t, const char *expected) {
    char *question = conversation_undo(t->c);
    assert_string_equal(question, expected);
    free(question);
}

static void read_text(talk *t, const char *document, conversation_read_result *got) {
    kv_err err = {0};
    if (conversation_read(t->c, document, strlen(document), NULL, NULL, NULL, got, &err))
        fail_msg("%s", err.msg);
}

/* The context holds what a fresh one would that was fed the same ids. */
static void assert_like_fresh(const rt_model *m, talk *t) {
    talk fresh = begin_with(m, NULL, NULL, rt_ctx_n_ctx(gen_ctx(t->g)), false);
    kv_err err = {0};
    if (rt_prefill(gen_ctx(fresh.g), gen_ids(t->g), rt_ctx_len(gen_ctx(t->g)), NULL, &err))
        fail_msg("%s", err.msg);
    assert_true(kv_cache_digest(rt_ctx_cache(gen_ctx(t->g))) == kv_cache_digest(rt_ctx_cache(gen_ctx(fresh.g))));
    end(&fresh);
}

/* ---- ways back ---- */

static void undo_reads_nothing_that_was_read(void **state) {
    talk t = begin(*state);
    char longer[400];
    snprintf(longer, sizeof longer, "%s%s%s", ferry, ferry, ferry);
    ask(&t, longer);
    const size_t one = ask(&t, longer), two = ask(&t, longer);
    assert_int_equal(one, two);
    undo(&t, longer);
    assert_int_equal(ask(&t, longer), 0); /* once more: not even the question */
    undo(&t, longer);
    const size_t other = ask(&t, "And then?");
    assert_true(other > 0 && other < 30 && other < one / 2);
    undo(&t, "And then?");
    undo(&t, longer);
    assert_true(ask(&t, "And then?") <= other + 1); /* two turns back */
    assert_like_fresh(*state, &t);
    assert_int_equal(conversation_turns(t.c), 2);
    end(&t);
}

/* A context that dropped its older half has no places from before: all that is left is read, and nothing else goes wrong. */
static void undo_after_a_shift_is_safe(void **state) {
    talk t = begin_with(*state, "Be brief.", NULL, 160, true);
    for (int i = 0; i < 8; i++)
        ask(&t, "Hello, how are you today?");
    assert_true(gen_dropped(t.g) > 0);
    undo(&t, "Hello, how are you today?");
    undo(&t, "Hello, how are you today?");
    const size_t turns = conversation_turns(t.c);
    conversation_reset(t.c);
    assert_int_equal(turns, 6);
    ask(&t, "Hello?");
    assert_like_fresh(*state, &t);
    end(&t);
}

static int stop_after;

static bool stop(void) {
    return stop_after-- <= 0;
}

/* What was read before it was stopped makes the next try shorter. */
static void stopped_reading_is_not_lost(void **state) {
    talk t = begin_with(*state, NULL, stop, CTX, false);
    kv_err err = {0};
    gen_end how;
    char longer[1200] = "";
    while (strlen(longer) + sizeof ferry < sizeof longer)
        strcat(longer, ferry);
    stop_after = 8;
    assert_int_equal(conversation_turn(t.c, longer, SAID, to_file, t.said, &how, &err), KV_ECANCEL);
    const uint32_t read = rt_ctx_len(gen_ctx(t.g));
    assert_true(read >= 64);
    assert_int_equal(gen_len(t.g), read);
    stop_after = 1 << 20;
    const size_t rest = ask(&t, longer);
    assert_true(rest + read <= gen_len(t.g));
    assert_like_fresh(*state, &t);
    end(&t);
}

static void system_prompt_changes_for_all(void **state) {
    talk t = begin(*state), other = begin_with(*state, "Speak as a pirate.", NULL, CTX, false);
    kv_err err = {0};
    ask(&t, "hi");
    undo(&t, "hi");
    assert_int_equal(conversation_set_system(t.c, "Speak as a pirate.", &err), KV_OK);
    assert_string_equal(conversation_system(t.c), "Speak as a pirate.");
    ask(&t, "hi");
    ask(&other, "hi");
    assert_memory_equal(gen_ids(t.g), gen_ids(other.g), (gen_len(other.g) - SAID) * sizeof(int32_t));
    assert_int_equal(conversation_set_system(t.c, NULL, &err), KV_OK);
    assert_null(conversation_system(t.c));
    ask(&t, "and now");
    assert_like_fresh(*state, &t);
    end(&t);
    end(&other);
}

/* ---- documents ---- */

static void document_is_read_before_the_question(void **state) {
    talk t = begin(*state);
    conversation_read_result got, more;
    ask(&t, "hi");
    read_text(&t, ferry, &got);
    assert_true(got.tokens > 20 && got.read >= got.tokens && got.read <= got.tokens + 2);
    assert_true(conversation_has_documents(t.c));
    const size_t asked = ask(&t, "Who is the captain?");
    assert_true(asked < 40 && asked < got.tokens);
    assert_false(conversation_has_documents(t.c));
    /* The question comes back without the document, which stays read. */
    undo(&t, "Who is the captain?");
    assert_true(conversation_has_documents(t.c));
    assert_int_equal(ask(&t, "Who is the captain?"), 0);
    undo(&t, "Who is the captain?");
    read_text(&t, "It never goes on Sundays.", &more);
    assert_true(more.tokens < 30 && more.read <= more.tokens + 1);
    ask(&t, "When?");
    assert_like_fresh(*state, &t);
    undo(&t, "When?");
    assert_true(conversation_drop_documents(t.c));
    assert_false(conversation_drop_documents(t.c));
    assert_true(ask(&t, "So?") < 30); /* of some 70 */
    undo(&t, "So?");
    undo(&t, "hi");
    assert_null(conversation_undo(t.c));
    end(&t);
}

static void document_that_does_not_fit_changes_nothing(void **state) {
    talk t = begin_with(*state, NULL, NULL, 96, false);
    conversation_read_result got;
    kv_err err = {0};
    char longer[800] = "";
    while (strlen(longer) + sizeof ferry < sizeof longer)
        strcat(longer, ferry);
    ask(&t, "hi");
    const size_t len = gen_len(t.g);
    assert_int_equal(conversation_read(t.c, longer, strlen(longer), NULL, NULL, NULL, &got, &err), KV_ERANGE);
    assert_non_null(strstr(err.msg, "the context of 96 tokens is full"));
    assert_int_equal(gen_len(t.g), len);
    assert_false(conversation_has_documents(t.c));
    ask(&t, "hi");
    assert_like_fresh(*state, &t);
    end(&t);
}

/* ---- files ---- */

static void save(talk *t, const char *path) {
    kv_err err = {0};
    if (conversation_save(t->c, path, NULL, NULL, &err))
        fail_msg("%s", err.msg);
}

static void load(talk *t, const char *path) {
    kv_err err = {0};
    if (conversation_load(t->c, path, &t->cfg, NULL, NULL, &err))
        fail_msg("%s", err.msg);
}

static void assert_same(talk *a, talk *b) {
    assert_int_equal(gen_len(a->g), gen_len(b->g));
    assert_memory_equal(gen_ids(a->g), gen_ids(b->g), gen_len(a->g) * sizeof(int32_t));
    assert_true(kv_cache_digest(rt_ctx_cache(gen_ctx(a->g))) == kv_cache_digest(rt_ctx_cache(gen_ctx(b->g))));
}

/* Chance included: what is drawn next is what would have been drawn. */
static void file_goes_on_to_the_bit(void **state) {
    talk a = begin(*state), b = begin_with(*state, NULL, NULL, 128, false);
    conversation_read_result got;
    ask(&a, "Hello, how are you?");
    ask(&a, ferry);
    save(&a, "conversation.kv");
    load(&b, "conversation.kv");
    assert_int_equal(conversation_turns(b.c), 2);
    assert_string_equal(conversation_system(b.c), "Be brief.");
    assert_int_equal(rt_ctx_n_ctx(gen_ctx(b.g)), CTX);
    for (int i = 0; i < 3; i++) {
        const size_t one = ask(&a, "And then?"), two = ask(&b, "And then?");
        assert_int_equal(one, two);
        assert_same(&a, &b);
    }
    for (int i = 0; i < 2; i++) {
        talk *t = i ? &b : &a;
        undo(t, "And then?");
        undo(t, "And then?");
        read_text(t, "It never goes on Sundays.", &got);
        save(t, i ? "conversation-b.kv" : "conversation.kv");
        ask(t, "When does it go?");
    }
    assert_same(&a, &b);
    load(&a, "conversation-b.kv");
    assert_true(conversation_has_documents(a.c));
    ask(&a, "When does it go?");
    assert_same(&a, &b);
    undo(&a, "When does it go?");
    assert_true(conversation_drop_documents(a.c));
    undo(&a, "And then?");
    end(&a);
    end(&b);
    remove("conversation.kv");
    remove("conversation-b.kv");
}

/* What was taken back is in no file, and neither is what nobody has answered. */
static void file_holds_what_was_said(void **state) {
    talk a = begin(*state), b = begin(*state);
    kv_err err = {0};
    assert_int_equal(conversation_save(a.c, "said.kv", NULL, NULL, &err), KV_EINVAL);
    assert_non_null(strstr(err.msg, "nothing to save"));
    ask(&a, "Hello, how are you?");
    const size_t len = gen_len(a.g);
    ask(&a, "a secret");
    undo(&a, "a secret");
    save(&a, "said.kv");
    assert_int_equal(gen_len(a.g), len);
    load(&b, "said.kv");
    assert_int_equal(gen_len(b.g), len);
    assert_int_equal(conversation_turns(b.c), 1);
    /* Another system prompt: all turns are as if they had been said with it. */
    assert_int_equal(conversation_set_system(a.c, "Be long.", &err), KV_OK);
    save(&a, "said.kv");
    load(&b, "said.kv");
    assert_string_equal(conversation_system(b.c), "Be long.");
    assert_true(ask(&b, "And then?") < 30);
    assert_like_fresh(*state, &b);
    end(&a);
    end(&b);
    remove("said.kv");
}

static void file_that_is_none_changes_nothing(void **state) {
    talk a = begin(*state), b = begin(*state);
    kv_err err = {0};
    const rt_save_cfg plain = {.title = "no chat", .program = "test"}, broken = {.program = "test", .chat = "{\"at\": 3}"},
                      other = {.program = "test",
                               .chat = "{\"at\": 3, \"gone\": 0, \"keep\": 0, \"removed\": 0, \"n_removed\": 0, \"random\": 1, "
                                       "\"surprise\": 0, \"system\": null, \"ahead\": null, \"turns\": []}"};
    const struct {
        const rt_save_cfg *cfg;
        kv_status st;
        const char *says;
    } files[] = {{&plain, KV_EINVAL, "holds no chat"},
                 {&broken, KV_EFORMAT, "no proper 'random'"},
                 {&other, KV_EFORMAT, "its chat is of 3 tokens"}};
    ask(&a, "Hello, how are you?");
    ask(&b, "Hello, how are you?");
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        assert_int_equal(rt_session_save(gen_session(a.g), "none.kv", files[i].cfg, NULL, NULL, &err), KV_OK);
        assert_int_equal(conversation_load(b.c, "none.kv", &b.cfg, NULL, NULL, &err), files[i].st);
        assert_non_null(strstr(err.msg, files[i].says));
        assert_non_null(strstr(err.msg, "none.kv"));
    }
    assert_int_equal(conversation_load(b.c, "nowhere.kv", &b.cfg, NULL, NULL, &err), KV_EIO);
    ask(&a, "And then?");
    ask(&b, "And then?");
    assert_same(&a, &b);
    end(&a);
    end(&b);
    remove("none.kv");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(undo_reads_nothing_that_was_read),
        cmocka_unit_test(undo_after_a_shift_is_safe),
        cmocka_unit_test(stopped_reading_is_not_lost),
        cmocka_unit_test(system_prompt_changes_for_all),
        cmocka_unit_test(document_is_read_before_the_question),
        cmocka_unit_test(document_that_does_not_fit_changes_nothing),
        cmocka_unit_test(file_goes_on_to_the_bit),
        cmocka_unit_test(file_holds_what_was_said),
        cmocka_unit_test(file_that_is_none_changes_nothing),
    };
    return cmocka_run_group_tests(tests, open_model, close_model);
}
