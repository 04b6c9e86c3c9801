/* Many requests at once: each gets what it would get alone, of a plain session; and whatever others do, it ends once. */
#include "schedule_fixture.h"

#include <jansson.h>

static int set_up(void **state) {
    *state = load_test_model("tiny/llama", NULL, 2);
    return 0;
}

static int tear_down(void **state) {
    rt_model_free(*state);
    return 0;
}

static void schedule_answers_as_alone(void **state) {
    const rt_model *m = model(state);
    const rt_ctx_cfg cfg = setting();
    enum { JOBS = 12 };
    int32_t prompt[LEN], want[MOST];
    answer *a[JOBS];
    rt_sampling sampling[JOBS];
    scheduler *s = new_scheduler(m, &cfg, 4, JOBS);
    for (uint32_t i = 0; i < JOBS; i++) {
        a[i] = new_answer();
        sampling[i] = sampling_of(i);
        draw_ids(m, i, prompt, LEN);
        sched_request r = request(prompt, 1 + i * 33, 20 + i, a[i]);
        r.sampling = &sampling[i];
        submit(s, &r, a[i]);
    }
    for (uint32_t i = 0; i < JOBS; i++) {
        wait_end(a[i]);
        draw_ids(m, i, prompt, LEN);
        const uint32_t n = expected(m, &cfg, prompt, 1 + i * 33, &sampling[i], 20 + i, want);
        check_same(a[i], want, n);
        assert_int_equal(a[i]->why, n < 20 + i ? SCHED_TURN : SCHED_LIMIT);
        assert_int_equal(a[i]->ends, 1);
        assert_int_equal(a[i]->stats.prompt, 1 + i * 33);
        assert_int_equal(a[i]->stats.said, n);
        assert_int_equal(a[i]->read, 1 + i * 33);
        free_answer(a[i]);
    }
    sched_facts f;
    sched_drain(s, 600);
    sched_get_facts(s, &f);
    assert_int_equal(f.requests, JOBS);
    assert_int_equal(f.busy + f.waiting, 0);
    assert_true(f.cache_bytes > 0 && f.cache_bytes < f.cache_bytes_f16);
    assert_true(f.exact_tokens > 0 && f.encoded_tokens > 0 && f.exact_tokens + f.encoded_tokens == f.tokens);
    sched_free(s);
}

static uint64_t memory_of(const rt_model *m, const rt_ctx_cfg *cfg, uint32_t slots) {
    sched_facts f;
    scheduler *s = new_scheduler(m, cfg, slots, 4);
    sched_get_facts(s, &f);
    sched_free(s);
    return f.memory;
}

/* A slot more is a cache more: in f16, keys and values of every layer and KV head, two bytes a number. */
static void schedule_counts_its_memory(void **state) {
    const rt_model *m = model(state);
    const rt_hparams *hp = rt_model_hparams(m);
    rt_ctx_cfg cfg = RT_CTX_CFG_DEFAULT;
    cfg.n_ctx = 4096;
    cfg.n_batch = 64;
    const uint64_t cache = 2ull * 2 * hp->n_layer * hp->n_kv_head * hp->head_dim * cfg.n_ctx, two = memory_of(m, &cfg, 2);
    assert_in_range(memory_of(m, &cfg, 5) - two, 3 * cache, 3 * cache + cache / 100);
    assert_true(two > 2 * cache); /* the workspace is there as well */
    cfg.n_ctx = 8192;
    assert_true(memory_of(m, &cfg, 2) >= two + 2 * cache);
}

static void schedule_goes_on_from_what_a_slot_has_read(void **state) {
    const rt_model *m = model(state);
    const rt_ctx_cfg cfg = setting();
    const rt_sampling sampling = sampling_of(0);
    int32_t prompt[LEN], want[MOST];
    scheduler *s = new_scheduler(m, &cfg, 3, 4);
    draw_ids(m, 5, prompt, LEN);
    for (uint32_t i = 0; i < 3; i++) { /* longer, the same, and one that parts from it */
        const uint32_t n = i ? 250 : 200;
        answer *a = new_answer();
        sched_request r = request(prompt, n, 10, a);
        r.sampling = &sampling;
        if (i == 2)
            prompt[199] = !prompt[199];
        submit(s, &r, a);
        wait_end(a);
        check_same(a, want, expected(m, &cfg, prompt, n, &sampling, 10, want));
        assert_int_equal(a->cached, a->stats.cached);
        if (i)
            assert_in_range(a->cached, i == 1 ? 200 : 64, i == 1 ? 249 : 199);
        free_answer(a);
    }
    sched_free(s);
}

static void schedule_tells_how_likely_tokens_are(void **state) {
    const rt_model *m = model(state);
    const rt_ctx_cfg cfg = setting();
    const rt_sampling greedy = sampling_of(0);
    const uint32_t n_vocab = rt_model_hparams(m)->n_vocab;
    int32_t prompt[LEN];
    kv_err err = {0};
    rt_session *plain = NULL;
    scheduler *s = new_scheduler(m, &cfg, 1, 1);
    answer *a = new_answer();
    draw_ids(m, 6, prompt, LEN);
    sched_request r = request(prompt, 50, 5, a);
    r.sampling = &greedy;
    r.n_top = 4;
    submit(s, &r, a);
    wait_end(a);
    if (rt_session_new(m, &cfg, &plain, &err) || rt_session_add(plain, prompt, 50, &err))
        fail_msg("%s", err.msg);
    assert_true(a->n > 0);
    for (uint32_t i = 0; i < a->n; i++) {
        double sum = 0;
        if (rt_session_read(plain, NULL, NULL, &err))
            fail_msg("%s", err.msg);
        const float *x = rt_session_logits(plain);
        for (uint32_t v = 0; v < n_vocab; v++)
            sum += exp((double)x[v]);
        assert_float_equal(a->logprob[i], (double)x[a->ids[i]] - log(sum), 1e-4);
        assert_int_equal(a->top[i][0].id, a->ids[i]); /* greedy */
        for (uint32_t t = 0; t < 4; t++) {
            uint32_t greater = 0;
            for (uint32_t v = 0; v < n_vocab; v++)
                greater += x[v] > x[a->top[i][t].id];
            assert_int_equal(greater, t);
            assert_float_equal(a->top[i][t].logprob, (double)x[a->top[i][t].id] - log(sum), 1e-4);
        }
        if (rt_session_add(plain, &a->ids[i], 1, &err))
            fail_msg("%s", err.msg);
    }
    rt_session_free(plain);
    free_answer(a);
    sched_free(s);
}

static void schedule_follows_rules(void **state) {
    const rt_model *m = model(state);
    const rt_ctx_cfg cfg = setting();
    int32_t prompt[LEN];
    char text[256] = "";
    grammar *g = NULL;
    kv_err err = {0};
    const char *rules = "root ::= [ab]{3} \"c\"";
    if (grammar_parse(rules, strlen(rules), "rules", &g, &err))
        fail_msg("%s", err.msg);
    scheduler *s = new_scheduler(m, &cfg, 2, 1);
    answer *a = new_answer();
    draw_ids(m, 7, prompt, LEN);
    sched_request r = request(prompt, 9, -1, a);
    r.rules = g;
    submit(s, &r, a);
    wait_end(a);
    assert_int_equal(a->why, SCHED_TURN);
    for (uint32_t i = 0; i < a->n; i++) {
        size_t n;
        const char *piece = tok_piece(rt_model_tok(m), a->ids[i], false, &n);
        strncat(text, piece, n);
    }
    assert_int_equal(strlen(text), 4);
    assert_int_equal(strspn(text, "ab"), 3);
    assert_int_equal(text[3], 'c');
    free_answer(a);
    sched_free(s);
    grammar_free(g);
}

static void schedule_ends_for_the_reason_that_there_is(void **state) {
    const rt_model *m = model(state);
    const rt_ctx_cfg cfg = setting();
    rt_sampling endless = sampling_of(1);
    int32_t prompt[CTX];
    endless.ignore_eos = true;
    scheduler *s = new_scheduler(m, &cfg, 2, 2);
    draw_ids(m, 8, prompt, CTX);
    const struct {
        uint32_t n, stop_after;
        int64_t n_predict;
        sched_why why;
        uint32_t said;
    } cases[] = {
        {100, 0, 0, SCHED_LIMIT, 0},        {100, 0, 3, SCHED_LIMIT, 3},    {100, 2, 3, SCHED_STOPPED, 2},
        {CTX - 5, 0, -1, SCHED_CONTEXT, 6}, {CTX, 0, -1, SCHED_CONTEXT, 1}, {CTX, 0, 0, SCHED_LIMIT, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        answer *a = new_answer();
        a->stop_after = cases[i].stop_after;
        sched_request r = request(prompt, cases[i].n, cases[i].n_predict, a);
        r.sampling = &endless;
        submit(s, &r, a);
        wait_end(a);
        assert_int_equal(a->why, cases[i].why);
        assert_int_equal(a->n, cases[i].said);
        assert_int_equal(a->stats.said, cases[i].said);
        free_answer(a);
    }
    sched_free(s);
}

static void schedule_refuses_what_cannot_be(void **state) {
    const rt_model *m = model(state);
    const rt_ctx_cfg cfg = setting();
    rt_sampling wrong = RT_SAMPLING_DEFAULT;
    int32_t prompt[CTX + 1];
    scheduler *s = new_scheduler(m, &cfg, 1, 0);
    answer *a = new_answer();
    draw_ids(m, 9, prompt, CTX + 1);
    sched_request r = request(prompt, CTX + 1, 1, a);
    kv_err err = {0};
    assert_int_equal(try_submit(s, &r, a, &err), KV_ERANGE);
    assert_non_null(strstr(err.msg, "513"));
    assert_non_null(strstr(err.msg, "512"));
    r.n = 0;
    assert_int_equal(try_submit(s, &r, a, &err), KV_EINVAL);
    r.n = 4;
    prompt[2] = -1;
    assert_int_equal(try_submit(s, &r, a, &err), KV_EINVAL);
    prompt[2] = 1;
    r.n_top = SCHED_TOP + 1;
    assert_int_equal(try_submit(s, &r, a, &err), KV_EINVAL);
    r.n_top = 0;
    wrong.top_p = -1;
    r.sampling = &wrong;
    assert_int_equal(try_submit(s, &r, a, &err), KV_EINVAL);
    assert_int_equal(a->ends, 0);
    free_answer(a);
    sched_free(s);
    assert_int_equal(sched_new(&(sched_cfg){.m = m, .ctx = &cfg, .slots = 0}, &s, &err), KV_EINVAL);
    assert_int_equal(sched_new(&(sched_cfg){.m = m, .ctx = &cfg, .slots = 65}, &s, &err), KV_EINVAL);
}

/* One that says tokens until it is told to stop. */
static answer *start_endless(scheduler *s, const rt_model *m, uint32_t seed) {
    int32_t prompt[8];
    answer *a = new_answer();
    rt_sampling endless = sampling_of(1);
    endless.ignore_eos = true;
    draw_ids(m, seed, prompt, 8);
    sched_request r = request(prompt, 8, -1, a);
    r.sampling = &endless;
    submit(s, &r, a);
    return a;
}

static void schedule_takes_no_more_than_may_wait(void **state) {
    const rt_model *m = model(state);
    const rt_ctx_cfg cfg = setting();
    int32_t prompt[8];
    kv_err err = {0};
    scheduler *s = new_scheduler(m, &cfg, 1, 1);
    answer *works = start_endless(s, m, 1), *waits = new_answer(), *refused = new_answer();
    hold(works, true);
    wait_tokens(works, 1);
    draw_ids(m, 2, prompt, 8);
    sched_request r = request(prompt, 8, 2, waits), other = request(prompt, 8, 2, refused);
    submit(s, &r, waits);
    assert_int_equal(try_submit(s, &other, refused, &err), KV_EBUSY);
    assert_int_equal(refused->ends, 0);
    assert_int_equal(waits->ends, 0);
    cancel(s, works);
    hold(works, false);
    wait_end(works);
    assert_true(works->why == SCHED_CANCELLED || works->why == SCHED_CONTEXT);
    wait_end(waits);
    assert_true(waits->why == SCHED_LIMIT || waits->why == SCHED_TURN);
    submit(s, &other, refused);
    wait_end(refused);
    free_answer(works);
    free_answer(waits);
    free_answer(refused);
    sched_free(s);
}

static void schedule_cancels_where_it_stands(void **state) {
    const rt_model *m = model(state);
    const rt_ctx_cfg cfg = setting();
    int32_t prompt[LEN], want[MOST];
    const rt_sampling sampling = sampling_of(2);
    scheduler *s = new_scheduler(m, &cfg, 2, 8);
    draw_ids(m, 3, prompt, LEN);
    answer *first = start_endless(s, m, 1), *second = start_endless(s, m, 2), *waiting = new_answer(), *after = new_answer();
    sched_request r = request(prompt, LEN, 10, waiting), again = request(prompt, LEN, 10, after);
    again.sampling = &sampling;
    wait_tokens(first, 3);
    submit(s, &r, waiting);
    cancel(s, waiting); /* in the queue, or in its prompt */
    wait_end(waiting);
    assert_int_equal(waiting->n, 0);
    assert_int_equal(waiting->why, SCHED_CANCELLED);
    cancel(s, first);
    wait_end(first);
    submit(s, &again, after);
    wait_end(after);
    check_same(after, want, expected(m, &cfg, prompt, LEN, &sampling, 10, want));
    sched_free(s); /* ends the second, if it did not come to its end */
    assert_int_equal(second->ends, 1);
    assert_true(second->why == SCHED_CANCELLED || second->why == SCHED_CONTEXT);
    free_answer(first);
    free_answer(second);
    free_answer(waiting);
    free_answer(after);
}

static void schedule_drains(void **state) {
    const rt_model *m = model(state);
    const rt_ctx_cfg cfg = setting();
    kv_err err = {0};
    int32_t prompt[LEN];
    answer *a[4], *late = new_answer();
    scheduler *s = new_scheduler(m, &cfg, 2, 8);
    draw_ids(m, 3, prompt, LEN);
    for (int i = 0; i < 4; i++) {
        a[i] = new_answer();
        sched_request r = request(prompt + i, 100, 10, a[i]);
        submit(s, &r, a[i]);
    }
    sched_drain(s, 600);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(a[i]->ends, 1);
        assert_true(a[i]->why == SCHED_LIMIT || a[i]->why == SCHED_TURN);
        free_answer(a[i]);
    }
    sched_request r = request(prompt, 10, 1, late);
    assert_int_equal(try_submit(s, &r, late, &err), KV_EBUSY);
    free_answer(late);
    sched_free(s);
}

/* ---- embeddings ---- */

static void check_vector(const json_t *want, const float *got, size_t n, double within) {
    assert_int_equal(json_array_size(want), n);
    for (size_t i = 0; i < n; i++)
        assert_float_equal(got[i], json_number_value(json_array_get(want, i)), within);
}

/* Against tests/reference/make_states.py; and the same in company, in pieces, after a part was read before. */
static void schedule_embeds_as_the_reference(void **state) {
    enum { MOST_EMBD = 256 };
    (void)state;
    json_t *all = json_load_file(KV_TEST_DATA "/ref/states.json", 0, NULL);
    assert_true(json_array_size(all) >= 3);
    for (size_t i = 0; i < json_array_size(all); i++) {
        const json_t *one = json_array_get(all, i), *tokens = json_object_get(one, "tokens");
        const uint32_t n = (uint32_t)json_array_size(tokens);
        rt_model *loaded = load_test_model(json_string_value(json_object_get(one, "model")), NULL, 2), *m = NULL;
        const uint32_t n_embd = rt_model_hparams(loaded)->n_embd;
        int32_t ids[CTX];
        float x[4][MOST_EMBD];
        answer *a[4], *beside = NULL;
        kv_err err = {0};
        rt_ctx_cfg cfg = setting();
        cfg.ctk = cfg.ctv = KV_F32;
        cfg.window = cfg.sinks = 0;
        assert_true(n_embd <= MOST_EMBD);
        if (rt_model_exact(loaded, &m, &err))
            fail_msg("%s", err.msg);
        for (uint32_t t = 0; t < n; t++)
            ids[t] = (int32_t)json_integer_value(json_array_get(tokens, t));
        scheduler *s = new_scheduler(m, &cfg, 3, 4);
        beside = start_endless(s, m, 1);
        wait_tokens(beside, 1);
        for (uint32_t k = 0; k < 4; k++) {
            a[k] = new_answer();
            sched_request r = request(ids, n, 0, a[k]);
            r.embedding = x[k];
            r.last_token = k % 2;
            submit(s, &r, a[k]);
        }
        for (uint32_t k = 0; k < 4; k++) {
            wait_end(a[k]);
            assert_int_equal(a[k]->why, SCHED_LIMIT);
            check_vector(json_object_get(one, k % 2 ? "last" : "mean"), x[k], n_embd, 2e-4);
            assert_memory_equal(x[k], x[k % 2], n_embd * sizeof **x);
            free_answer(a[k]);
        }
        sched_free(s);
        free_answer(beside);
        rt_model_free(m);
        rt_model_free(loaded);
    }
    json_decref(all);
}

/* ---- many threads ---- */

typedef struct crowd {
    const rt_model *m;
    scheduler *s;
    uint32_t seed;
} crowd;

static void *come_and_go(void *arg) {
    const crowd *c = arg;
    uint32_t x = c->seed;
    int32_t prompt[LEN];
    for (int i = 0; i < 12; i++) {
        answer *a = new_answer();
        x = x * 1664525 + 1013904223;
        draw_ids(c->m, x >> 28, prompt, LEN);
        const rt_sampling sampling = sampling_of(x >> 8);
        sched_request r = request(prompt, 1 + (x >> 16) % (LEN - 1), (x >> 12) % 30, a);
        r.sampling = &sampling;
        if (try_submit(c->s, &r, a, NULL) == KV_OK) {
            if (x >> 30 == 1)
                wait_tokens(a, (x >> 20) % 8);
            if (x >> 31 == 0)
                cancel(c->s, a);
            wait_end(a);
            assert_int_equal(a->ends, 1);
        }
        free_answer(a);
    }
    return NULL;
}

static void schedule_bears_a_crowd(void **state) {
    enum { THREADS = 6 };
    const rt_ctx_cfg cfg = setting();
    pthread_t t[THREADS];
    crowd c[THREADS];
    scheduler *s = new_scheduler(model(state), &cfg, 3, 2);
    for (uint32_t i = 0; i < THREADS; i++) {
        c[i] = (crowd){model(state), s, 77 + i};
        assert_int_equal(pthread_create(&t[i], NULL, come_and_go, &c[i]), 0);
    }
    for (uint32_t i = 0; i < THREADS; i++) {
        sched_facts f;
        sched_slot slots[3];
        sched_get_facts(s, &f);
        assert_int_equal(sched_get_slots(s, slots, 3), 3);
        pthread_join(t[i], NULL);
    }
    sched_free(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(schedule_answers_as_alone),
        cmocka_unit_test(schedule_counts_its_memory),
        cmocka_unit_test(schedule_goes_on_from_what_a_slot_has_read),
        cmocka_unit_test(schedule_tells_how_likely_tokens_are),
        cmocka_unit_test(schedule_follows_rules),
        cmocka_unit_test(schedule_ends_for_the_reason_that_there_is),
        cmocka_unit_test(schedule_refuses_what_cannot_be),
        cmocka_unit_test(schedule_takes_no_more_than_may_wait),
        cmocka_unit_test(schedule_cancels_where_it_stands),
        cmocka_unit_test(schedule_drains),
        cmocka_unit_test(schedule_embeds_as_the_reference),
        cmocka_unit_test(schedule_bears_a_crowd),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
