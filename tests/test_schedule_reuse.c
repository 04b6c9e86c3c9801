/* What was read once is not read again, where it can be had from a slot, from the folder of contexts or from a file by name;
 * and whatever is shared, each gets what it would get alone. */
#include "contexts/contexts.h"
#include "schedule_fixture.h"

#include <unistd.h>

typedef struct fixture {
    rt_model *m;
    char folder[64];
    contexts *c;
} fixture;

static int set_up(void **state) {
    kv_err err = {0};
    fixture *f = calloc(1, sizeof *f);
    strcpy(f->folder, "/tmp/kv-schedule-XXXXXX");
    if (!mkdtemp(f->folder) || contexts_open(f->folder, 1 << 30, &f->c, &err))
        return -1;
    f->m = load_test_model("tiny/llama", NULL, 2);
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    fixture *f = *state;
    char command[128];
    contexts_close(f->c);
    rt_model_free(f->m);
    snprintf(command, sizeof command, "rm -rf '%s'", f->folder);
    free(f);
    return system(command);
}

static scheduler *with_contexts(const fixture *f, const rt_ctx_cfg *cfg, uint32_t slots) {
    scheduler *s = NULL;
    kv_err err = {0};
    if (sched_new(&(sched_cfg){.m = f->m, .ctx = cfg, .slots = slots, .queue = 8, .contexts = f->c}, &s, &err))
        fail_msg("%s", err.msg);
    return s;
}

/* A request and its answer, which must be that of a plain session; returns how many tokens were read before. */
static uint32_t ask(const fixture *f, scheduler *s, const rt_ctx_cfg *cfg, const int32_t *ids, uint32_t n) {
    const rt_sampling sampling = sampling_of(n);
    int32_t want[MOST];
    answer *a = new_answer();
    sched_request r = request(ids, n, 8, a);
    r.sampling = &sampling;
    submit(s, &r, a);
    wait_end(a);
    check_same(a, want, expected(f->m, cfg, ids, n, &sampling, 8, want));
    const uint32_t cached = a->stats.cached;
    assert_true(cached <= n);
    free_answer(a);
    return cached;
}

/* base up to `at`, then others for every seed. */
static void part(const fixture *f, const int32_t *base, uint32_t at, uint32_t seed, int32_t ids[LEN]) {
    draw_ids(f->m, seed, ids, LEN);
    memcpy(ids, base, at * sizeof *ids);
    if (ids[at] == base[at])
        ids[at] = !ids[at];
}

static void slots_keep_what_others_come_back_for(void **state) {
    const fixture *f = *state;
    const rt_ctx_cfg cfg = setting();
    int32_t base[LEN], ids[LEN];
    draw_ids(f->m, 1, base, LEN);
    for (uint32_t at = 0; at <= 100; at += 50) { /* where the small ones part from it, and whether they begin alike at all */
        scheduler *s = new_scheduler(f->m, &cfg, 3, 4);
        ask(f, s, &cfg, base, 300);
        for (uint32_t i = 0; i < 6; i++) {
            part(f, base, at, 10 + i, ids);
            ask(f, s, &cfg, ids, 120);
        }
        assert_in_range(ask(f, s, &cfg, base, 340), 300, 339);
        sched_free(s);
    }
}

static void slots_share_a_beginning_up_to_where_prompts_part(void **state) {
    const fixture *f = *state;
    rt_ctx_cfg cfg = setting();
    int32_t base[LEN], ids[LEN];
    sched_facts facts;
    cfg.checkpoint_every = 0;
    draw_ids(f->m, 1, base, LEN);
    scheduler *s = new_scheduler(f->m, &cfg, 3, 4);
    ask(f, s, &cfg, base, 380);
    part(f, base, 300, 10, ids);
    assert_int_equal(ask(f, s, &cfg, ids, 380), 0); /* there is no way back to 300 yet, */
    part(f, base, 300, 11, ids);
    assert_int_equal(ask(f, s, &cfg, ids, 380), 300); /* but now there is */
    sched_drain(s, 600);                              /* what it shows comes after it has told */
    sched_get_facts(s, &facts);
    assert_true(facts.shared_bytes > 0 && facts.shared_bytes < facts.cache_bytes);
    sched_free(s);
}

static void slots_share_with_one_that_is_at_work(void **state) {
    const fixture *f = *state;
    const rt_ctx_cfg cfg = setting();
    int32_t base[LEN], ids[LEN], want[CTX];
    rt_sampling endless = sampling_of(1);
    endless.ignore_eos = true;
    draw_ids(f->m, 1, base, LEN);
    scheduler *s = new_scheduler(f->m, &cfg, 2, 4);
    answer *a = new_answer();
    sched_request r = request(base, 300, -1, a);
    r.sampling = &endless;
    submit(s, &r, a);
    wait_tokens(a, 3);
    hold(a, true);
    wait_tokens(a, a->n + 1);
    hold(a, false);
    assert_in_range(ask(f, s, &cfg, base, 320), 250, 320);
    part(f, base, 200, 10, ids);
    assert_in_range(ask(f, s, &cfg, ids, 320), 128, 200);
    wait_end(a);
    assert_int_equal(a->why, SCHED_CONTEXT);
    check_same(a, want, expected(f->m, &cfg, base, 300, &endless, CTX - 300 + 1, want));
    free_answer(a);
    sched_free(s);
}

/* Those that come while another reads what they begin with wait for it. */
static void slots_read_a_common_beginning_once(void **state) {
    enum { SAME = 4 };
    const fixture *f = *state;
    rt_ctx_cfg cfg = setting();
    int32_t base[LEN], ids[SAME][LEN], want[MOST];
    answer *a[SAME], *first = new_answer();
    rt_sampling sampling[SAME];
    uint32_t cached = 0;
    cfg.n_batch = 16;
    cfg.checkpoint_every = 0;
    draw_ids(f->m, 1, base, LEN);
    for (uint32_t at = 350; at <= LEN; at += 50) { /* parting, or the same to the end */
        scheduler *s = new_scheduler(f->m, &cfg, SAME + 1, 4);
        sched_request begin = request(base, 5, 1, first);
        hold(first, true); /* until all have come */
        submit(s, &begin, first);
        wait_tokens(first, 1);
        for (uint32_t i = 0; i < SAME; i++) {
            if (at < LEN)
                part(f, base, at, 20 + i, ids[i]);
            else
                memcpy(ids[i], base, sizeof base);
            a[i] = new_answer();
            sampling[i] = sampling_of(i);
            sched_request r = request(ids[i], LEN, 10, a[i]);
            r.sampling = &sampling[i];
            submit(s, &r, a[i]);
        }
        hold(first, false);
        cached = 0;
        for (uint32_t i = 0; i < SAME; i++) {
            wait_end(a[i]);
            cached += a[i]->stats.cached;
            check_same(a[i], want, expected(f->m, &cfg, ids[i], LEN, &sampling[i], 10, want));
            free_answer(a[i]);
        }
        assert_in_range(cached, 3 * at, 3 * at + 5);
        sched_free(s);
        first->n = first->ends = 0;
        first->read = 0;
    }
    free_answer(first);
}

/* ---- the folder ---- */

static void contexts_bring_back_what_slots_lost(void **state) {
    const fixture *f = *state;
    const rt_ctx_cfg cfg = setting();
    int32_t a[LEN], b[LEN];
    draw_ids(f->m, 31, a, LEN);
    draw_ids(f->m, 32, b, LEN);
    scheduler *s = with_contexts(f, &cfg, 1);
    assert_int_equal(ask(f, s, &cfg, a, 350), 0);
    assert_in_range(ask(f, s, &cfg, b, 350), 0, 3);
    assert_in_range(ask(f, s, &cfg, a, 390), 350, 389);
    assert_in_range(ask(f, s, &cfg, b, 390), 350, 389);
    sched_free(s);
}

static void contexts_survive_a_restart(void **state) {
    const fixture *f = *state;
    const rt_ctx_cfg cfg = setting();
    int32_t a[LEN], b[LEN];
    draw_ids(f->m, 41, a, LEN);
    scheduler *s = with_contexts(f, &cfg, 2);
    assert_int_equal(ask(f, s, &cfg, a, 350), 0);
    sched_free(s);
    s = with_contexts(f, &cfg, 2);
    assert_in_range(ask(f, s, &cfg, a, 390), 350, 389);
    part(f, a, 340, 42, b);
    assert_in_range(ask(f, s, &cfg, b, 390), 256, 340);
    sched_free(s);
}

/* ---- files by name ---- */

static void save_context(const fixture *f, const rt_ctx_cfg *cfg, const int32_t *ids, uint32_t n, const char *path) {
    rt_session *s = NULL;
    kv_err err = {0};
    if (rt_session_new(f->m, cfg, &s, &err) || rt_session_add(s, ids, n, &err) ||
        rt_session_save(s, path, &(rt_save_cfg){.program = "test", .packed = true}, NULL, NULL, &err))
        fail_msg("%s", err.msg);
    rt_session_free(s);
}

static answer *ask_context(scheduler *s, const char *path, const int32_t *ids, uint32_t n, const rt_sampling *sampling) {
    answer *a = new_answer();
    sched_request r = request(ids, n, 8, a);
    r.sampling = sampling;
    r.context = path;
    submit(s, &r, a);
    return a;
}

static void contexts_are_gone_on_from_by_name(void **state) {
    const fixture *f = *state;
    const rt_sampling sampling = sampling_of(4);
    char path[128];
    int32_t ids[LEN], want[MOST];
    answer *a[3];
    draw_ids(f->m, 51, ids, LEN);
    snprintf(path, sizeof path, "%s/document.kv", f->folder);
    for (int other = 0; other < 2; other++) { /* stored as the slots are; or otherwise */
        rt_ctx_cfg cfg = setting(), stored = setting();
        if (other) {
            stored.ctk = stored.ctv = KV_Q4_0;
            cfg.ctk = cfg.ctv = cfg.window = cfg.sinks = -1; /* it is what the file says */
        }
        save_context(f, &stored, ids, 300, path);
        scheduler *s = new_scheduler(f->m, &cfg, 2, 4);
        for (uint32_t i = 0; i < 3; i++)
            a[i] = ask_context(s, path, ids + 300, 40 + i, &sampling);
        for (uint32_t i = 0; i < 3; i++) {
            wait_end(a[i]);
            check_same(a[i], want, expected(f->m, &stored, ids, 340 + i, &sampling, 8, want));
            assert_int_equal(a[i]->stats.prompt, 340 + i);
            assert_in_range(a[i]->stats.cached, 300, 341);
            free_answer(a[i]);
        }
        ask(f, s, &cfg, ids, 310); /* and without one */
        sched_free(s);
    }
}

static void contexts_that_cannot_be_used_are_named(void **state) {
    const fixture *f = *state;
    const rt_ctx_cfg cfg = setting();
    rt_ctx_cfg other = setting();
    char path[128];
    int32_t ids[LEN];
    draw_ids(f->m, 51, ids, LEN);
    snprintf(path, sizeof path, "%s/other.kv", f->folder);
    scheduler *s = new_scheduler(f->m, &cfg, 2, 4);
    const struct {
        const char *path;
        uint32_t n;
        kv_status st;
    } cases[] = {{"/nowhere/a.kv", 3, KV_EIO}, {path, 3, KV_EMISMATCH}, {path, 300, KV_ERANGE}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        other.ctk = i == 1 ? KV_Q4_0 : cfg.ctk;
        save_context(f, &other, ids, 300, path);
        answer *a = ask_context(s, cases[i].path, ids, cases[i].n, NULL);
        wait_end(a);
        assert_int_equal(a->why, SCHED_FAILED);
        assert_int_equal(a->err.code, cases[i].st);
        assert_non_null(strstr(a->err.msg, cases[i].path));
        free_answer(a);
    }
    ask(f, s, &cfg, ids, 100);
    sched_free(s);
}

/* ---- everything at once ---- */

typedef struct crowd {
    const fixture *f;
    const rt_ctx_cfg *cfg;
    scheduler *s;
    uint32_t seed;
    const char *path; /* of a context of the first 260 ids of base 0 */
} crowd;

enum { BASES = 3, ROUNDS = 10 };

static uint32_t next(uint32_t *x) {
    *x = *x * 1664525 + 1013904223;
    return *x >> 8;
}

static void *come_and_go(void *arg) {
    const crowd *c = arg;
    uint32_t x = c->seed;
    int32_t base[LEN], ids[LEN], want[MOST];
    for (int i = 0; i < ROUNDS; i++) {
        answer *a = new_answer();
        const uint32_t which = next(&x) % BASES, at = next(&x) % (LEN - 1), n = 1 + next(&x) % LEN, most = next(&x) % 12;
        const rt_sampling sampling = sampling_of(next(&x));
        draw_ids(c->f->m, 90 + which, base, LEN);
        part(c->f, base, at, next(&x), ids);
        sched_request r = request(ids, n, most, a);
        r.sampling = &sampling;
        if (n > 260 && at > 260 && !which && next(&x) % 2) {
            r.context = c->path;
            r.ids += 260;
            r.n -= 260;
        }
        if (try_submit(c->s, &r, a, NULL) == KV_OK) {
            if (next(&x) % 4 == 0) {
                wait_tokens(a, next(&x) % 4);
                cancel(c->s, a);
            }
            wait_end(a);
            const uint32_t all = expected(c->f->m, c->cfg, ids, n, &sampling, most, want);
            if (a->why != SCHED_CANCELLED)
                check_same(a, want, all);
            else
                assert_memory_equal(a->ids, want, a->n * sizeof *want);
        }
        free_answer(a);
    }
    return NULL;
}

static void everything_at_once_is_as_alone(void **state) {
    enum { THREADS = 6 };
    const fixture *f = *state;
    const rt_ctx_cfg cfg = setting();
    char path[128];
    int32_t base[LEN];
    pthread_t t[THREADS];
    crowd c[THREADS];
    snprintf(path, sizeof path, "%s/crowd.kv", f->folder);
    draw_ids(f->m, 90, base, LEN);
    save_context(f, &cfg, base, 260, path);
    for (uint32_t slots = 1; slots <= 4; slots += 3) {
        scheduler *s = with_contexts(f, &cfg, slots);
        for (uint32_t i = 0; i < THREADS; i++) {
            c[i] = (crowd){f, &cfg, s, 177 + 10 * slots + i, path};
            assert_int_equal(pthread_create(&t[i], NULL, come_and_go, &c[i]), 0);
        }
        for (uint32_t i = 0; i < THREADS; i++)
            pthread_join(t[i], NULL);
        sched_free(s);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slots_keep_what_others_come_back_for),
        cmocka_unit_test(slots_share_a_beginning_up_to_where_prompts_part),
        cmocka_unit_test(slots_share_with_one_that_is_at_work),
        cmocka_unit_test(slots_read_a_common_beginning_once),
        cmocka_unit_test(contexts_bring_back_what_slots_lost),
        cmocka_unit_test(contexts_survive_a_restart),
        cmocka_unit_test(contexts_are_gone_on_from_by_name),
        cmocka_unit_test(contexts_that_cannot_be_used_are_named),
        cmocka_unit_test(everything_at_once_is_as_alone),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
