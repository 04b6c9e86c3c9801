/* Generation and conversations, on a tiny random model: full contexts, shifts, taking back, stopping, feeding only what is new.
 */
#include "kvrun/conversation.h"
#include "support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { PROMPT = 20, KEEP = 4 };

static rt_model *open_tiny(const char *path) {
    rt_exec e;
    kv_err err = {0};
    rt_model *m = NULL;
    if (rt_exec_init(&e, NULL, 1, false, &err) || rt_model_load(path, &e, &m, &err))
        print_error("%s\n", err.msg);
    return m;
}

static void to_file(void *file, const char *text, size_t len) {
    fwrite(text, 1, len, file);
}

static int open_model(void **state) {
    *state = open_tiny(KV_TEST_DATA "/tiny/qwen2.gguf");
    return *state ? 0 : -1;
}

static int close_model(void **state) {
    rt_model_free(*state);
    return 0;
}

static void ignore(void *user, const char *text, size_t len) {
    (void)user, (void)text, (void)len;
}

static void count_calls(void *user, const char *text, size_t len) {
    (void)text;
    *(size_t *)user += len;
}

static gen *make_gen(const rt_model *m, uint32_t n_ctx, bool shift, bool endless, bool (*stop)(void)) {
    gen *g = NULL;
    kv_err err = {0};
    /* A high temperature: the answer wanders, and hardly ever ends by itself. The seed decides; it is fixed. */
    gen_cfg cfg = {.ctx = RT_CTX_CFG_DEFAULT,
                   .sampling = {.temp = 5, .top_p = 1, .seed = 3},
                   .shift = shift,
                   .endless = endless,
                   .stop = stop};
    cfg.ctx.n_ctx = n_ctx;
    cfg.ctx.n_batch = 16;
    cfg.ctx.ctk = cfg.ctx.ctv = KV_Q8_0;
    cfg.ctx.sinks = 2;
    cfg.ctx.window = 6;
    if (gen_new(m, &cfg, &g, &err))
        fail_msg("%s", err.msg);
    return g;
}

static gen *new_gen(const rt_model *m, uint32_t n_ctx, bool shift, bool (*stop)(void)) {
    return make_gen(m, n_ctx, shift, false, stop);
}

static void append(gen *g, int32_t from, int32_t n) {
    kv_err err;
    for (int32_t i = 0; i < n; i++) {
        int32_t id = from + i;
        assert_int_equal(gen_append(g, &id, 1, &err), KV_OK);
    }
}

/* The context holds exactly what a fresh one would hold that was fed the same ids. */
static void assert_like_fresh(const rt_model *m, gen *g) {
    gen *fresh = new_gen(m, rt_ctx_n_ctx(gen_ctx(g)), false, NULL);
    kv_err err = {0};
    const uint32_t len = rt_ctx_len(gen_ctx(g));
    assert_true(len > 0 && len + 1 >= gen_len(g));
    if (rt_prefill(gen_ctx(fresh), gen_ids(g), len, NULL, &err))
        fail_msg("%s", err.msg);
    assert_true(kv_cache_digest(rt_ctx_cache(gen_ctx(g))) == kv_cache_digest(rt_ctx_cache(gen_ctx(fresh))));
    gen_free(fresh);
}

static void generate_full_context_is_an_error(void **state) {
    gen *g = new_gen(*state, 32, false, NULL);
    kv_err err = {0};
    gen_end end;
    append(g, 10, PROMPT);
    assert_int_equal(gen_answer(g, -1, ignore, NULL, &end, &err), KV_ERANGE);
    assert_non_null(strstr(err.msg, "the context of 32 tokens is full: 33 are needed; use --ctx 256 or --context-shift"));
    assert_int_equal(gen_get_stats(g)->answer_tokens, 32 - PROMPT + 1);
    assert_like_fresh(*state, g);
    gen_free(g);
}

static void generate_long_prompt_is_refused_even_with_shift(void **state) {
    gen *g = new_gen(*state, 16, true, NULL);
    kv_err err = {0};
    gen_end end;
    append(g, 10, PROMPT);
    assert_int_equal(gen_answer(g, -1, ignore, NULL, &end, &err), KV_ERANGE);
    assert_int_equal(rt_ctx_len(gen_ctx(g)), 0);
    assert_non_null(strstr(err.msg, "may not be dropped"));
    gen_free(g);
}

/* Only what would help is offered. */
static void generate_says_what_would_work(void **state) {
    gen *g = new_gen(*state, 16, false, NULL);
    kv_err err = {0};
    gen_end end;
    append(g, 10, PROMPT);
    assert_int_equal(gen_answer(g, -1, ignore, NULL, &end, &err), KV_ERANGE);
    assert_non_null(strstr(err.msg, "use --ctx 256"));
    assert_null(strstr(err.msg, "--context-shift")); /* the prompt alone is too long */
    append(g, 10, 400);
    assert_int_equal(gen_answer(g, -1, ignore, NULL, &end, &err), KV_ERANGE);
    assert_non_null(strstr(err.msg, "use --ctx 512")); /* what it was trained for, and not 1024 */
    append(g, 10, 100);
    assert_int_equal(gen_answer(g, -1, ignore, NULL, &end, &err), KV_ERANGE);
    assert_non_null(strstr(err.msg, "trained for 512; give it less text"));
    assert_null(strstr(err.msg, "--"));
    gen_free(g);
}

static void generate_shift_equals_a_fresh_context(void **state) {
    gen *g = new_gen(*state, 32, true, NULL);
    kv_err err = {0};
    gen_end end;
    int32_t before[32];
    append(g, 10, PROMPT);
    assert_int_equal(gen_set_keep(g, KEEP, &err), KV_OK);
    assert_int_equal(gen_answer(g, 32 - PROMPT, ignore, NULL, &end, &err), KV_OK);
    assert_int_equal(end, GEN_LIMIT);
    assert_int_equal(gen_len(g), 32);
    memcpy(before, gen_ids(g), sizeof before);

    /* One more does not fit any longer: of the 28 that may go, the older 14 do. */
    append(g, 77, 1);
    assert_int_equal(gen_answer(g, 1, ignore, NULL, &end, &err), KV_OK);
    assert_int_equal(gen_len(g), 32 + 1 - 14 + 1);
    assert_memory_equal(gen_ids(g), before, KEEP * sizeof *before);
    assert_memory_equal(gen_ids(g) + KEEP, before + KEEP + 14, (28 - 14) * sizeof *before);
    assert_like_fresh(*state, g);

    /* And on, over many shifts. */
    assert_int_equal(gen_answer(g, 150, ignore, NULL, &end, &err), KV_OK);
    assert_memory_equal(gen_ids(g), before, KEEP * sizeof *before);
    assert_like_fresh(*state, g);
    gen_free(g);
}

/* A prompt longer than the context, and an answer longer than that. */
static void generate_endless_goes_on(void **state) {
    gen *g = make_gen(*state, 160, false, true, NULL);
    kv_err err = {0};
    gen_end end;
    uint32_t at_once;
    int32_t first[KEEP];
    for (int i = 0; i < 3; i++)
        append(g, 10 + i, 100);
    memcpy(first, gen_ids(g), sizeof first);
    assert_int_equal(gen_set_keep(g, KEEP, &err), KV_OK);
    assert_int_equal(gen_answer(g, 1, ignore, NULL, &end, &err), KV_OK);
    assert_int_equal(gen_forgotten(g, &at_once), 192);
    assert_int_equal(at_once, 64);
    assert_int_equal(gen_len(g), 300 - 192 + 1);
    assert_int_equal(gen_ids(g)[300 - 192 - 1], 10 + 2 + 99);
    assert_int_equal(gen_get_stats(g)->prompt_tokens, 300);
    for (int i = 0; i < 200 && gen_forgotten(g, &at_once) < 512; i++) { /* answers may end early */
        append(g, 77, 1);
        assert_int_equal(gen_answer(g, 50, ignore, NULL, &end, &err), KV_OK);
        assert_true(gen_len(g) <= 161);
    }
    assert_int_equal(gen_forgotten(g, &at_once), 512);
    assert_memory_equal(gen_ids(g), first, sizeof first);
    assert_int_equal(gen_set_keep(g, 120, &err), KV_EINVAL);
    assert_non_null(strstr(err.msg, "a context of 256 would do"));
    gen_free(g);
}

static void generate_truncate_takes_back(void **state) {
    gen *g = new_gen(*state, 64, false, NULL);
    kv_err err = {0};
    gen_end end;
    append(g, 10, PROMPT);
    assert_int_equal(gen_answer(g, 10, ignore, NULL, &end, &err), KV_OK);
    gen_truncate(g, 7);
    append(g, 99, 5);
    assert_int_equal(gen_answer(g, 3, ignore, NULL, &end, &err), KV_OK);
    assert_int_equal(gen_len(g), 7 + 5 + 3);
    assert_int_equal(gen_ids(g)[7], 99);
    assert_like_fresh(*state, g);
    gen_free(g);
}

static void generate_same_seed_same_answer(void **state) {
    gen *a = new_gen(*state, 64, false, NULL), *b = new_gen(*state, 64, false, NULL);
    kv_err err = {0};
    gen_end end;
    append(a, 10, PROMPT);
    append(b, 10, PROMPT);
    assert_int_equal(gen_answer(a, 20, ignore, NULL, &end, &err), KV_OK);
    for (int i = 0; i < 20; i++) /* in pieces: the same */
        assert_int_equal(gen_answer(b, 1, ignore, NULL, &end, &err), KV_OK);
    assert_int_equal(gen_len(a), gen_len(b));
    assert_memory_equal(gen_ids(a), gen_ids(b), gen_len(a) * sizeof(int32_t));
    gen_free(a);
    gen_free(b);
}

static bool always(void) {
    return true;
}

static void generate_stops_when_asked(void **state) {
    gen *g = new_gen(*state, 64, false, always);
    kv_err err = {0};
    gen_end end;
    append(g, 10, PROMPT);
    assert_int_equal(gen_answer(g, -1, ignore, NULL, &end, &err), KV_ECANCEL);
    gen_free(g);
}

static void generate_empty_prompt_is_an_error(void **state) {
    gen *g = new_gen(*state, 64, false, NULL);
    kv_err err = {0};
    gen_end end;
    assert_int_equal(gen_answer(g, 3, ignore, NULL, &end, &err), KV_EINVAL);
    gen_free(g);
}

static void generate_lets_no_byte_get_lost(void **state) {
    /* One token at a time: many are halves of a character, and each answer must show them before it returns. */
    gen *g = new_gen(*state, 128, false, NULL);
    const tok *t = rt_model_tok(*state);
    size_t halves = 0;
    append(g, 10, PROMPT);
    for (int i = 0; i < 60; i++) {
        kv_err err = {0};
        gen_end end;
        size_t emitted = 0, len = 0;
        assert_int_equal(gen_answer(g, 1, count_calls, &emitted, &end, &err), KV_OK);
        if (end != GEN_LIMIT)
            continue;
        const char *piece = tok_piece(t, gen_ids(g)[gen_len(g) - 1], false, &len);
        halves += len == 1 && (piece[0] & 0x80);
        assert_true(!len || emitted >= len);
    }
    assert_true(halves > 5);
    gen_free(g);
}

/* ---- conversations ---- */

static conversation *new_conversation(const rt_model *m, gen *g, const char *system, chat_format **format) {
    conversation *c = NULL;
    kv_err err = {0};
    chat_format *f = NULL;
    assert_int_equal(chat_open(rt_model_gguf(m), rt_model_tok(m), NULL, &f, &err), KV_OK);
    assert_non_null(f);
    *format = f;
    if (conversation_new(m, g, f, system, &c, &err))
        fail_msg("%s", err.msg);
    return c;
}

static void turn(conversation *c, const char *text, FILE *to) {
    kv_err err = {0};
    gen_end end;
    if (conversation_turn(c, text, 5, to_file, to, &end, &err))
        fail_msg("%s", err.msg);
}

static void conversation_feeds_only_what_is_new(void **state) {
    gen *g = new_gen(*state, 512, false, NULL);
    chat_format *format;
    conversation *c = new_conversation(*state, g, "Be brief.", &format);
    FILE *to = tmpfile();
    int32_t before[512];
    size_t n_before = 0;
    for (int i = 0; i < 4; i++) {
        const size_t read = gen_get_stats(g)->prompt_tokens;
        turn(c, "Hello, how are you?", to);
        /* Nothing that was there is changed or read again. */
        assert_memory_equal(gen_ids(g), before, n_before * sizeof *before);
        assert_true(gen_get_stats(g)->prompt_tokens - read <= gen_len(g) - n_before);
        n_before = gen_len(g);
        memcpy(before, gen_ids(g), n_before * sizeof *before);
    }
    assert_like_fresh(*state, g);
    conversation_reset(c);
    assert_int_equal(gen_len(g), 0);
    turn(c, "Hello, how are you?", to);
    conversation_free(c);
    chat_free(format);
    gen_free(g);
    fclose(to);
}

/* What was asked may be asked again, or taken back: what is the same is not read again, and the context is as if nothing had
 * been between. */
static void conversation_takes_turns_back(void **state) {
    gen *g = new_gen(*state, 512, false, NULL);
    chat_format *format;
    conversation *c = new_conversation(*state, g, "Be brief.", &format);
    FILE *to = tmpfile();
    assert_null(conversation_undo(c));
    turn(c, "Hello, how are you?", to);
    const size_t asked = gen_get_stats(g)->prompt_tokens;
    for (int i = 0; i < 3; i++) {
        char *again = conversation_undo(c);
        assert_string_equal(again, "Hello, how are you?");
        assert_null(conversation_undo(c));
        turn(c, again, to);
        free(again);
    }
    assert_int_equal(gen_get_stats(g)->prompt_tokens, asked);
    assert_int_equal(gen_len(g), asked + 5);
    assert_like_fresh(*state, g);

    turn(c, "And now to something else.", to);
    free(conversation_undo(c));
    const size_t before = gen_get_stats(g)->prompt_tokens;
    turn(c, "And now to something new.", to);
    assert_true(gen_get_stats(g)->prompt_tokens - before < gen_len(g) - 5);
    assert_like_fresh(*state, g);
    conversation_free(c);
    chat_free(format);
    gen_free(g);
    fclose(to);
}

/* A template that writes old answers otherwise than they were: they are read again from there on, and nothing else is. */
static void conversation_follows_templates_that_change_the_past(void **state) {
    gen *g = new_gen(*state, 512, false, NULL);
    conversation *c = NULL;
    chat_format *f = NULL;
    kv_err err = {0};
    FILE *to = tmpfile(), *file = fopen("generate-past.jinja", "w");
    fputs("{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content if m.role == 'user' else '...' }}<|im_end|>\n{% "
          "endfor %}"
          "<|im_start|>assistant\n",
          file);
    fclose(file);
    assert_int_equal(chat_open(rt_model_gguf(*state), rt_model_tok(*state), "generate-past.jinja", &f, &err), KV_OK);
    assert_int_equal(conversation_new(*state, g, f, NULL, &c, &err), KV_OK);
    turn(c, "Hello, how are you? A long question, which is read once.", to);
    const size_t first = gen_get_stats(g)->prompt_tokens;
    turn(c, "hm", to);
    assert_true(gen_get_stats(g)->prompt_tokens - first < first);
    assert_like_fresh(*state, g);
    turn(c, "hm", to);
    assert_like_fresh(*state, g);
    conversation_free(c);
    chat_free(f);
    gen_free(g);
    fclose(to);
    remove("generate-past.jinja");
}

static size_t undo_all(conversation *c) {
    size_t n = 0;
    for (char *said; (said = conversation_undo(c)); n++)
        free(said);
    return n;
}

/* The system prompt stays, nothing but new turns is read, and turns that are gone are dropped. */
static void conversation_goes_on_past_its_context(void **state) {
    gen *g = make_gen(*state, 256, false, true, NULL);
    chat_format *format;
    conversation *c = new_conversation(*state, g, "Be brief.", &format);
    FILE *to = tmpfile();
    int32_t ids[8];
    size_t most = 0;
    uint32_t at_once;
    turn(c, "Hello, how are you?", to);
    memcpy(ids, gen_ids(g), 8 * sizeof *ids);
    for (int i = 0; i < 60; i++) {
        const size_t read = gen_get_stats(g)->prompt_tokens;
        turn(c, "Hello, how are you?", to);
        most = gen_get_stats(g)->prompt_tokens - read > most ? gen_get_stats(g)->prompt_tokens - read : most;
        assert_true(gen_len(g) <= 256 + 1);
        assert_memory_equal(gen_ids(g), ids, 8 * sizeof *ids);
    }
    assert_true(gen_forgotten(g, &at_once) > 1000);
    assert_true(most < 50);
    /* the last question once more: what comes before it is the same */
    const uint64_t forgotten = gen_forgotten(g, &at_once);
    const size_t len = gen_len(g);
    char *again = conversation_undo(c);
    turn(c, again, to);
    free(again);
    assert_int_equal(gen_forgotten(g, &at_once), forgotten);
    assert_memory_equal(gen_ids(g), ids, 8 * sizeof *ids);
    assert_true(gen_len(g) > len / 2);
    const size_t left = undo_all(c);
    assert_true(left >= 2 && left < 20);
    conversation_free(c);
    chat_free(format);
    gen_free(g);
    fclose(to);
}

/* Where a template writes the past anew, what was forgotten stays so. */
static void conversation_forgets_a_changing_past(void **state) {
    gen *g = make_gen(*state, 256, false, true, NULL);
    conversation *c = NULL;
    chat_format *f = NULL;
    kv_err err = {0};
    FILE *to = tmpfile(), *file = fopen("generate-endless.jinja", "w");
    fputs("{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content if m.role == 'user' else '...' }}<|im_end|>\n{% "
          "endfor %}"
          "<|im_start|>assistant\n",
          file);
    fclose(file);
    assert_int_equal(chat_open(rt_model_gguf(*state), rt_model_tok(*state), "generate-endless.jinja", &f, &err), KV_OK);
    assert_int_equal(conversation_new(*state, g, f, NULL, &c, &err), KV_OK);
    for (int i = 0; i < 60; i++) {
        const size_t read = gen_get_stats(g)->prompt_tokens;
        char asks[64]; /* no two alike, as it goes by what is the same */
        snprintf(asks, sizeof asks, "Hello %d times %d, how are you? %d", i * i, i, 1000 - i);
        turn(c, asks, to);
        assert_true(gen_len(g) <= 256 + 1);
        assert_true(gen_get_stats(g)->prompt_tokens - read <= 256 + 64); /* all of it, after something was forgotten */
    }
    const size_t left = undo_all(c);
    assert_true(left >= 2 && left < 20);
    conversation_free(c);
    chat_free(f);
    gen_free(g);
    fclose(to);
    remove("generate-endless.jinja");
}

static void conversation_forgets_a_turn_that_failed(void **state) {
    gen *g = new_gen(*state, 96, false, NULL);
    chat_format *format;
    conversation *c = new_conversation(*state, g, NULL, &format);
    FILE *to = tmpfile();
    kv_err err = {0};
    gen_end end;
    char longer[400];
    memset(longer, 'z', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    turn(c, "hi", to);
    const size_t n = gen_len(g);
    assert_int_equal(conversation_turn(c, longer, 5, to_file, to, &end, &err), KV_ERANGE);
    assert_int_equal(gen_len(g), n);
    turn(c, "hi", to);
    assert_like_fresh(*state, g);
    conversation_free(c);
    chat_free(format);
    gen_free(g);
    fclose(to);
}

static void conversation_answers_end_with_a_newline(void **state) {
    gen *g = new_gen(*state, 256, false, NULL);
    chat_format *format;
    conversation *c = new_conversation(*state, g, NULL, &format);
    FILE *to = tmpfile();
    turn(c, "hi", to);
    assert_true(ftell(to) > 1);
    fseek(to, -1, SEEK_END);
    assert_int_equal(fgetc(to), '\n');
    conversation_free(c);
    chat_free(format);
    gen_free(g);
    fclose(to);
}

static void conversation_without_format_continues_plain_text(void **state) {
    (void)state;
    rt_model *m = open_tiny(KV_TEST_DATA "/tiny/gemma3.gguf");
    gen *g = new_gen(m, 64, false, NULL);
    conversation *c = NULL;
    kv_err err = {0};
    FILE *to = tmpfile();
    assert_int_equal(conversation_new(m, g, NULL, NULL, &c, &err), KV_OK);
    turn(c, "the", to);
    const size_t n = gen_len(g);
    assert_int_equal(gen_ids(g)[0], tok_bos(rt_model_tok(m)));
    turn(c, "the", to); /* knows nothing of the first */
    assert_true(gen_len(g) <= n + 5);
    assert_like_fresh(m, g);
    conversation_free(c);
    gen_free(g);
    rt_model_free(m);
    fclose(to);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(generate_full_context_is_an_error),
        cmocka_unit_test(generate_long_prompt_is_refused_even_with_shift),
        cmocka_unit_test(generate_says_what_would_work),
        cmocka_unit_test(generate_shift_equals_a_fresh_context),
        cmocka_unit_test(generate_endless_goes_on),
        cmocka_unit_test(generate_truncate_takes_back),
        cmocka_unit_test(generate_same_seed_same_answer),
        cmocka_unit_test(generate_stops_when_asked),
        cmocka_unit_test(generate_empty_prompt_is_an_error),
        cmocka_unit_test(generate_lets_no_byte_get_lost),
        cmocka_unit_test(conversation_feeds_only_what_is_new),
        cmocka_unit_test(conversation_takes_turns_back),
        cmocka_unit_test(conversation_follows_templates_that_change_the_past),
        cmocka_unit_test(conversation_goes_on_past_its_context),
        cmocka_unit_test(conversation_forgets_a_changing_past),
        cmocka_unit_test(conversation_forgets_a_turn_that_failed),
        cmocka_unit_test(conversation_answers_end_with_a_newline),
        cmocka_unit_test(conversation_without_format_continues_plain_text),
    };
    return cmocka_run_group_tests(tests, open_model, close_model);
}
