/* What was read before, found again: the longest beginning, by the right model and cache; and nothing that goes wrong with the
 * files is more than a prompt that has to be read.
 */
#include "contexts/contexts_internal.h"
#include "support.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { LEN = 1200, CTX = 1280, PLENTY = 1 << 30 };

typedef struct fixture {
    char folder[64];
    rt_model *m;
    contexts *c;
    int32_t ids[LEN], other[LEN]; /* other: the same up to where a test makes them part */
} fixture;

static void open_cache(fixture *f, uint64_t limit) {
    kv_err err = {0};
    contexts_close(f->c);
    if (contexts_open(f->folder, limit, &f->c, &err))
        fail_msg("%s", err.msg);
}

static int set_up(void **state) {
    fixture *f = calloc(1, sizeof *f);
    strcpy(f->folder, "/tmp/kv-contexts-XXXXXX");
    if (!mkdtemp(f->folder))
        return -1;
    f->m = load_test_model("tiny/llama", NULL, 1);
    draw_ids(f->m, 11, f->ids, LEN);
    open_cache(f, PLENTY);
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

/* ids that are f->ids up to `at`, and from there on others for every seed. */
static const int32_t *parting(fixture *f, size_t at, uint32_t seed) {
    draw_ids(f->m, seed, f->other, LEN);
    memcpy(f->other, f->ids, at * sizeof *f->ids);
    if (at < LEN && f->other[at] == f->ids[at])
        f->other[at] = !f->other[at];
    return f->other;
}

static rt_ctx_cfg setting(kv_codec_id codec, int window) {
    rt_ctx_cfg cfg = RT_CTX_CFG_DEFAULT;
    cfg.ctk = cfg.ctv = codec;
    cfg.window = window;
    cfg.sinks = window ? 3 : 0;
    cfg.n_ctx = CTX;
    cfg.n_batch = 64;
    cfg.checkpoint_every = 128;
    return cfg;
}

static rt_session *new_session(const fixture *f, const rt_ctx_cfg *cfg) {
    kv_err err = {0};
    rt_session *s = NULL;
    if (rt_session_new(f->m, cfg, &s, &err))
        fail_msg("%s", err.msg);
    return s;
}

static rt_session *read_ids(const fixture *f, const rt_ctx_cfg *cfg, const int32_t *ids, size_t n) {
    kv_err err = {0};
    rt_session *s = new_session(f, cfg);
    if (rt_session_add(s, ids, n, &err) || rt_session_read(s, NULL, NULL, &err))
        fail_msg("%s", err.msg);
    return s;
}

static contexts_end put(const fixture *f, const rt_ctx_cfg *cfg, const int32_t *ids, size_t n) {
    kv_err err = {0};
    contexts_end end;
    rt_session *s = read_ids(f, cfg, ids, n);
    if (contexts_put(f->c, s, "a title", "test", &end, &err))
        fail_msg("%s", err.msg);
    rt_session_free(s);
    return end;
}

static rt_session *take(const fixture *f, const rt_ctx_cfg *cfg, const int32_t *ids, size_t n, contexts_found *found) {
    kv_err err = {0};
    rt_session *s = new_session(f, cfg);
    if (contexts_take(f->c, s, ids, n, NULL, NULL, found, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(rt_session_len(s), found->tokens + found->read);
    assert_memory_equal(rt_session_ids(s), ids, rt_session_len(s) * sizeof *ids);
    return s;
}

/* How much of it was read before, and that what comes of it is what comes of reading all. */
static contexts_found reuse(const fixture *f, const rt_ctx_cfg *cfg, const int32_t *ids, size_t n) {
    contexts_found found;
    kv_err err = {0};
    uint32_t reused;
    rt_session *s = take(f, cfg, ids, n, &found), *whole = read_ids(f, cfg, ids, n);
    if (rt_session_prompt(s, ids, n, &reused, &err) || rt_session_read(s, NULL, NULL, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(rt_session_len(s), n);
    assert_memory_equal(rt_session_ids(s), ids, n * sizeof *ids);
    assert_memory_equal(rt_session_logits(s), rt_session_logits(whole), rt_model_hparams(f->m)->n_vocab * sizeof(float));
    assert_true(kv_cache_digest(rt_ctx_cache(rt_session_ctx(s))) == kv_cache_digest(rt_ctx_cache(rt_session_ctx(whole))));
    rt_session_free(s);
    rt_session_free(whole);
    return found;
}

static size_t count_files(const fixture *f) {
    contexts_row *rows;
    size_t n;
    kv_err err = {0};
    if (contexts_list(f->c, &rows, &n, &err))
        fail_msg("%s", err.msg);
    free(rows);
    return n;
}

/* The only one that there is. */
static contexts_row only_file(const fixture *f) {
    contexts_row *rows, row;
    size_t n;
    assert_int_equal(contexts_list(f->c, &rows, &n, NULL), KV_OK);
    assert_int_equal(n, 1);
    row = rows[0];
    free(rows);
    return row;
}

/* ---- what is found ---- */

static void contexts_go_on_exactly_with_every_setting(void **state) {
    fixture *f = *state;
    static const struct {
        kv_codec_id codec;
        int window, evict;
        uint32_t least; /* that a prompt which goes on from 600 tokens is spared; and one that parts at 500 */
        uint32_t parted;
    } cases[] = {
        {KV_F16, 0, -1, 600, 500},          {KV_Q8_0, 0, -1, 600, 500},
        {KV_Q4_0, 40, -1, 600, 384},        {KV_TURBO3, 100, -1, 600, 384},
        {KV_KIVI2, 0, -1, 600, 384},        {KV_Q8_0, 40, KV_EVICT_SNAPKV, 600, 0},
        {KV_Q8_0, 0, KV_EVICT_H2O, 600, 0}, {KV_Q4_0, 20, KV_EVICT_KNORM, 600, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rt_ctx_cfg cfg = setting(cases[i].codec, cases[i].window);
        cfg.evict = cases[i].evict;
        cfg.budget.tokens = cases[i].evict < 0 ? 0 : 192;
        cfg.recent = 16;
        assert_int_equal(put(f, &cfg, f->ids, 600), CONTEXTS_KEPT);
        assert_int_equal(reuse(f, &cfg, f->ids, 900).tokens, cases[i].least);
        assert_int_equal(reuse(f, &cfg, f->ids, 601).tokens, cases[i].least);
        assert_true(reuse(f, &cfg, f->ids, 600).tokens >= cases[i].parted);
        const contexts_found parted = reuse(f, &cfg, parting(f, 500, 5), 700);
        if (parted.tokens < cases[i].parted)
            fail_msg("case %zu: %u tokens of a beginning of 500", i, parted.tokens);
        assert_true(!parted.tokens || parted.tokens + parted.read == 500);
    }
}

static void contexts_take_the_longest_beginning(void **state) {
    fixture *f = *state;
    const rt_ctx_cfg cfg = setting(KV_Q8_0, 0);
    const int32_t *ids;
    contexts_found found;
    assert_int_equal(reuse(f, &cfg, f->ids, 900).tokens, 0);
    assert_int_equal(put(f, &cfg, parting(f, 300, 1), 900), CONTEXTS_KEPT);
    assert_int_equal(put(f, &cfg, parting(f, 650, 2), 1000), CONTEXTS_KEPT);
    assert_int_equal(put(f, &cfg, parting(f, 420, 3), 1100), CONTEXTS_KEPT);
    assert_int_equal(put(f, &cfg, parting(f, 0, 4), 1000), CONTEXTS_KEPT);
    assert_int_equal(count_files(f), 4);
    found = reuse(f, &cfg, f->ids, 1000);
    assert_int_equal(found.tokens, 650);
    assert_string_equal(found.about.title, "a title");
    assert_int_equal(found.about.n_tokens, 1000);
    assert_int_equal(found.damaged, 0);
    ids = parting(f, 420, 3);
    assert_int_equal(reuse(f, &cfg, ids, 700).tokens, 700);
    ids = parting(f, 200, 9); /* too little in common */
    assert_int_equal(reuse(f, &cfg, ids, 700).tokens, 0);
    assert_int_equal(reuse(f, &cfg, f->ids, CONTEXTS_LEAST - 1).tokens, 0);
}

static void contexts_are_of_one_model_and_cache(void **state) {
    fixture *f = *state, g = *f;
    const rt_ctx_cfg cfg = setting(KV_Q8_0, 0);
    rt_ctx_cfg other = cfg;
    assert_int_equal(put(f, &cfg, f->ids, 600), CONTEXTS_KEPT);
    other.ctv = KV_Q4_0;
    assert_int_equal(reuse(f, &other, f->ids, 900).tokens, 0);
    other = setting(KV_Q8_0, 20);
    assert_int_equal(reuse(f, &other, f->ids, 900).tokens, 0);
    other = cfg;
    other.n_ctx = 512; /* has no room for what is stored */
    assert_int_equal(reuse(f, &other, f->ids, 500).tokens, 0);
    other.n_ctx = 2048;
    other.n_batch = 7;
    assert_int_equal(reuse(f, &other, f->ids, 900).tokens, 600);
    g.m = load_test_model("arch/llama-linear", NULL, 1);
    other = setting(KV_F16, 0);
    assert_int_equal(put(f, &other, f->ids, 600), CONTEXTS_KEPT);
    assert_int_equal(rt_model_hparams(g.m)->n_vocab, rt_model_hparams(f->m)->n_vocab);
    assert_int_equal(reuse(&g, &other, f->ids, 900).tokens, 0);
    assert_int_equal(reuse(f, &other, f->ids, 900).tokens, 600);
    rt_model_free(g.m);
}

/* Where documents with different questions part, a place is remembered: the third one begins there. */
static void contexts_remember_where_prompts_part(void **state) {
    fixture *f = *state;
    const rt_ctx_cfg cfg = setting(KV_Q4_0, 40);
    kv_err err = {0};
    contexts_found found;
    contexts_end end;
    uint32_t reused;
    assert_int_equal(put(f, &cfg, parting(f, 700, 1), 1100), CONTEXTS_KEPT);
    const int32_t *ids = parting(f, 700, 2);
    rt_session *s = take(f, &cfg, ids, 1100, &found);
    assert_int_equal(found.tokens, 640);
    assert_int_equal(found.read, 60);
    assert_int_equal(rt_session_prompt(s, ids, 1100, &reused, &err), KV_OK);
    assert_int_equal(reused, 700);
    assert_int_equal(contexts_put(f->c, s, NULL, "test", &end, &err), KV_OK);
    assert_int_equal(end, CONTEXTS_KEPT);
    rt_session_free(s);
    assert_int_equal(reuse(f, &cfg, parting(f, 700, 3), 800).tokens, 700);
    assert_int_equal(put(f, &cfg, parting(f, 700, 4), 800), CONTEXTS_HELD); /* what it has beyond is soon read */
    assert_int_equal(count_files(f), 2);
}

static void contexts_load_into_an_empty_session_only(void **state) {
    fixture *f = *state;
    const rt_ctx_cfg cfg = setting(KV_Q8_0, 20);
    contexts_found found;
    kv_err err = {0};
    assert_int_equal(put(f, &cfg, f->ids, 600), CONTEXTS_KEPT);
    rt_session *s = read_ids(f, &cfg, f->ids, 10);
    assert_int_equal(contexts_take(f->c, s, f->ids, 900, NULL, NULL, &found, &err), KV_EINVAL);
    for (int i = 0; i < 3; i++) { /* one that came from a file is left for another */
        rt_session_go_back(s, 0);
        assert_int_equal(contexts_take(f->c, s, f->ids, 900, NULL, NULL, &found, &err), KV_OK);
        assert_int_equal(found.tokens, 600);
    }
    rt_session_free(s);
}

/* ---- what is kept ---- */

static void contexts_keep_the_longest_of_nested_ones(void **state) {
    fixture *f = *state;
    static const uint32_t lens[] = {300, 500, 800, 1200};
    for (int window = 0; window <= 40; window += 40) {
        const rt_ctx_cfg cfg = setting(KV_Q8_0, window);
        for (size_t i = 0; i < sizeof lens / sizeof *lens; i++) {
            assert_int_equal(put(f, &cfg, f->ids, lens[i]), i % 4 == 1 ? CONTEXTS_HELD : CONTEXTS_KEPT);
            assert_true(only_file(f).tokens == (i == 1 ? 300 : lens[i]));
        }
        assert_int_equal(put(f, &cfg, f->ids, 900), CONTEXTS_HELD);
        assert_int_equal(put(f, &cfg, f->ids, 1200), CONTEXTS_HELD);
        assert_int_equal(only_file(f).tokens, 1200);
        assert_true(reuse(f, &cfg, parting(f, 780, 3), 900).tokens >= (window ? 640 : 780));
        contexts_remove(f->c, strrchr(only_file(f).path, '/') + 1);
    }
    const rt_ctx_cfg cfg = setting(KV_Q8_0, 0);
    assert_int_equal(put(f, &cfg, f->ids, CONTEXTS_LEAST - 1), CONTEXTS_SHORT);
    assert_int_equal(count_files(f), 0);
}

/* What has forgotten tokens is what no prompt comes to. */
static void contexts_do_not_keep_what_forgot(void **state) {
    fixture *f = *state;
    rt_ctx_cfg cfg = setting(KV_Q8_0, 0);
    kv_err err = {0};
    contexts_end end;
    cfg.n_ctx = 512;
    rt_session *s = new_session(f, &cfg);
    if (rt_session_endless(s, 0, 0, &err) || rt_session_add(s, f->ids, 600, &err) || rt_session_read(s, NULL, NULL, &err))
        fail_msg("%s", err.msg);
    assert_true(rt_session_len(s) >= CONTEXTS_LEAST);
    assert_int_equal(contexts_put(f->c, s, NULL, "test", &end, &err), KV_OK);
    assert_int_equal(end, CONTEXTS_SHIFTED);
    assert_int_equal(count_files(f), 0);
    rt_session_free(s);
}

/* Wrong guesses that were read beyond the end are no part of it, also where they cannot simply be taken back. */
static void contexts_are_kept_without_guesses(void **state) {
    fixture *f = *state;
    for (int i = 0; i < 4; i++) {
        rt_ctx_cfg cfg = setting(i ? KV_Q8_0 : KV_KIVI2, i == 3 ? 20 : 0);
        kv_err err = {0};
        contexts_end end;
        size_t n;
        if (i >= 2) {
            cfg.evict = KV_EVICT_H2O;
            cfg.budget.tokens = 192;
            cfg.recent = 16;
        }
        for (uint32_t len = 340; len < 372; len += 5) {
            uint32_t guesses = RT_GUESSES;
            rt_session *s = read_ids(f, &cfg, f->ids, len);
            if (rt_session_add(s, f->ids + len, 1, &err) || rt_session_guess(s, f->ids + 800, &guesses, &err))
                fail_msg("%s", err.msg);
            assert_int_equal(guesses, RT_GUESSES);
            if (contexts_put(f->c, s, NULL, "test", &end, &err))
                fail_msg("case %d, %u tokens: %s", i, len, err.msg);
            assert_int_equal(end, CONTEXTS_KEPT);
            assert_int_equal(reuse(f, &cfg, f->ids, 400).tokens, len + 1);
            rt_session_free(s);
            assert_int_equal(contexts_clear(f->c, &n, &err), KV_OK);
        }
    }
}

/* A longer one that has let go of tokens is no way back to a shorter one. */
static void contexts_keep_what_longer_ones_cannot_go_back_to(void **state) {
    fixture *f = *state;
    rt_ctx_cfg cfg = setting(KV_Q8_0, 0);
    cfg.evict = KV_EVICT_SNAPKV;
    cfg.budget.tokens = 192;
    cfg.recent = 16;
    assert_int_equal(put(f, &cfg, f->ids, 400), CONTEXTS_KEPT);
    assert_int_equal(put(f, &cfg, f->ids, 1000), CONTEXTS_KEPT);
    assert_int_equal(count_files(f), 2);
    assert_int_equal(reuse(f, &cfg, parting(f, 400, 3), 700).tokens, 400);
    assert_int_equal(reuse(f, &cfg, f->ids, 1100).tokens, 1000);
}

static void set_used(const char *path, time_t when) {
    const struct timespec times[2] = {{.tv_sec = when}, {.tv_sec = when}};
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static void contexts_keep_to_their_limit(void **state) {
    fixture *f = *state;
    const rt_ctx_cfg cfg = setting(KV_Q8_0, 0);
    contexts_row *rows;
    size_t n;
    assert_int_equal(put(f, &cfg, parting(f, 0, 1), 600), CONTEXTS_KEPT);
    const contexts_row first = only_file(f);
    set_used(first.path, 1000);
    assert_int_equal(put(f, &cfg, parting(f, 0, 2), 600), CONTEXTS_KEPT);
    assert_int_equal(contexts_list(f->c, &rows, &n, NULL), KV_OK);
    assert_int_equal(n, 2);
    assert_int_equal(rows[1].used, 1000); /* in the order of use */
    set_used(rows[0].path, 2000);
    free(rows);
    assert_int_equal(reuse(f, &cfg, parting(f, 0, 1), 700).tokens, 600); /* used now */
    open_cache(f, 2 * first.bytes + first.bytes / 2);
    assert_int_equal(put(f, &cfg, parting(f, 0, 3), 600), CONTEXTS_KEPT);
    assert_int_equal(count_files(f), 2);
    assert_int_equal(reuse(f, &cfg, parting(f, 0, 2), 700).tokens, 0);
    assert_int_equal(reuse(f, &cfg, parting(f, 0, 1), 700).tokens, 600);
    assert_int_equal(reuse(f, &cfg, parting(f, 0, 3), 700).tokens, 600);
    assert_int_equal(put(f, &cfg, parting(f, 0, 3), 600), CONTEXTS_HELD);
    open_cache(f, first.bytes / 2);
    assert_int_equal(put(f, &cfg, parting(f, 0, 4), 600), CONTEXTS_LARGE);
    assert_true(count_files(f) == 0); /* there is less room now */
    open_cache(f, first.bytes - 1);   /* found out only when it is written */
    assert_int_equal(put(f, &cfg, parting(f, 0, 4), 600), CONTEXTS_LARGE);
    assert_int_equal(count_files(f), 0);
}

static void contexts_are_private(void **state) {
    fixture *f = *state;
    const rt_ctx_cfg cfg = setting(KV_Q8_0, 0);
    struct stat info;
    char folder[128];
    contexts *c;
    const mode_t mask = umask(0);
    assert_int_equal(put(f, &cfg, f->ids, 600), CONTEXTS_KEPT);
    snprintf(folder, sizeof folder, "%s/deep", f->folder);
    assert_int_equal(contexts_open(folder, PLENTY, &c, NULL), KV_OK);
    contexts_close(c);
    umask(mask);
    assert_int_equal(stat(only_file(f).path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    assert_int_equal(stat(folder, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0700);
}

static void write_text(const char *folder, const char *name, const char *text) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *to = fopen(path, "w");
    assert_non_null(to);
    fputs(text, to);
    fclose(to);
}

static void contexts_leave_other_files_alone(void **state) {
    fixture *f = *state;
    static const char *const names[] = {"notes.kv",
                                        "x.txt",
                                        "0123456789abcdef-0123456789abcdef-0123456789abcdef-0123456789abcdef-7.kv.bak",
                                        "0123456789ABCDEF-0123456789abcdef-0123456789abcdef-0123456789abcdef-7.kv",
                                        "0123456789abcdef-0123456789abcdef-0123456789abcdef-0123456789abcdef-07.kv",
                                        ".new.abcdef.tmp"};
    const rt_ctx_cfg cfg = setting(KV_Q8_0, 0);
    char path[256];
    size_t n;
    kv_err err = {0};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        write_text(f->folder, names[i], "mine");
    write_text(f->folder, ".old.abcdef.tmp", "left by one that was killed");
    snprintf(path, sizeof path, "%s/.old.abcdef.tmp", f->folder);
    set_used(path, 1000);
    assert_int_equal(put(f, &cfg, f->ids, 600), CONTEXTS_KEPT);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(contexts_clear(f->c, &n, &err), KV_OK);
    assert_int_equal(n, 1);
    assert_int_equal(count_files(f), 0);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", f->folder, names[i]);
        assert_int_equal(access(path, F_OK), 0);
    }
}

/* ---- what goes wrong ---- */

static void flip(const char *path, off_t at) {
    char byte;
    const int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= 16;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

/* In what is looked at first, and in what only the sums tell. */
static void contexts_pass_damaged_files_over(void **state) {
    fixture *f = *state;
    const rt_ctx_cfg cfg = setting(KV_Q8_0, 0);
    for (int i = 0; i < 3; i++) {
        contexts_row *rows;
        size_t n;
        assert_int_equal(put(f, &cfg, parting(f, 420, 3), 900), CONTEXTS_KEPT);
        assert_int_equal(put(f, &cfg, parting(f, 700, 4), 1000), CONTEXTS_KEPT);
        assert_int_equal(contexts_list(f->c, &rows, &n, NULL), KV_OK);
        assert_int_equal(rows[0].tokens, 1000);
        if (i < 2)
            flip(rows[0].path, i ? (off_t)rows[0].bytes / 2 : (off_t)rows[0].bytes - 20);
        else
            assert_int_equal(truncate(rows[0].path, (off_t)rows[0].bytes / 2), 0);
        free(rows);
        const contexts_found found = reuse(f, &cfg, f->ids, 1000);
        assert_int_equal(found.tokens, 420);
        assert_int_equal(found.damaged, 1);
        assert_non_null(strstr(found.why.msg, "damaged"));
        assert_int_equal(count_files(f), 1);
        assert_int_equal(contexts_clear(f->c, &n, NULL), KV_OK);
    }
}

/* A folder that went away, or may not be written to, is told. */
static void contexts_tell_what_does_not_work(void **state) {
    fixture *f = *state;
    const rt_ctx_cfg cfg = setting(KV_Q8_0, 0);
    contexts *c;
    contexts_end end;
    contexts_found found;
    kv_err err = {0};
    char path[128];
    snprintf(path, sizeof path, "%s/nowhere/deep", f->folder);
    assert_int_equal(contexts_open(path, PLENTY, &c, &err), KV_EIO);
    assert_non_null(strstr(err.msg, "nowhere/deep: cannot make this folder"));
    snprintf(path, sizeof path, "%s/gone", f->folder);
    assert_int_equal(contexts_open(path, PLENTY, &c, &err), KV_OK);
    assert_int_equal(rmdir(path), 0);
    rt_session *s = new_session(f, &cfg);
    assert_int_equal(contexts_take(c, s, f->ids, 600, NULL, NULL, &found, &err), KV_EIO);
    rt_session_add(s, f->ids, 600, &err);
    assert_int_equal(contexts_put(c, s, NULL, "test", &end, &err), KV_EIO);
    rt_session_free(s);
    contexts_close(c);
}

static bool refuse(void *user, double done) {
    (void)user, (void)done;
    return false;
}

static void contexts_can_be_stopped(void **state) {
    fixture *f = *state;
    const rt_ctx_cfg cfg = setting(KV_Q8_0, 0);
    contexts_found found;
    kv_err err = {0};
    assert_int_equal(put(f, &cfg, f->ids, 600), CONTEXTS_KEPT);
    rt_session *s = new_session(f, &cfg);
    assert_int_equal(contexts_take(f->c, s, f->ids, 900, refuse, NULL, &found, &err), KV_ECANCEL);
    assert_int_equal(rt_session_len(s), 0);
    assert_int_equal(contexts_take(f->c, s, f->ids, 900, NULL, NULL, &found, &err), KV_OK);
    assert_int_equal(found.tokens, 600);
    rt_session_free(s);
}

/* ---- several processes ---- */

/* Put and take at random. Nothing may ever be wrong, though any file can go at any moment. */
static int work(const fixture *f, const rt_ctx_cfg *cfg, rt_session *sessions[4], uint32_t seed, int rounds) {
    fixture own = *f;
    for (int i = 0; i < rounds; i++) {
        contexts_found found;
        contexts_end end;
        kv_err err = {0};
        seed = seed * 1664525u + 1013904223u;
        const uint32_t which = seed >> 30;
        if (contexts_put(f->c, sessions[which], NULL, "test", &end, &err))
            return 1;
        const int32_t *ids = parting(&own, 300, which);
        rt_session *s = new_session(f, cfg);
        /* Others may have let go of all that fits: then there is nothing to compare. */
        const bool wrong = contexts_take(f->c, s, ids, 400, NULL, NULL, &found, &err) || found.damaged ||
                           (rt_session_len(s) && memcmp(rt_session_ids(s), ids, rt_session_len(s) * sizeof *ids));
        rt_session_free(s);
        if (wrong)
            return 2;
    }
    return 0;
}

typedef struct crowd {
    rt_ctx_cfg cfg;
    rt_session *sessions[4];
} crowd;

static crowd gather(fixture *f) {
    crowd all = {.cfg = setting(KV_Q8_0, 0)};
    for (uint32_t i = 0; i < 4; i++)
        all.sessions[i] = read_ids(f, &all.cfg, parting(f, 300, i), 600);
    put(f, &all.cfg, f->ids, 600);
    open_cache(f, 5 * only_file(f).bytes / 2); /* room for two */
    return all;
}

static void disperse(crowd *all) {
    for (size_t i = 0; i < 4; i++)
        rt_session_free(all->sessions[i]);
}

static uint64_t bytes_in(const fixture *f) {
    contexts_row *rows;
    size_t n;
    uint64_t bytes = 0;
    assert_int_equal(contexts_list(f->c, &rows, &n, NULL), KV_OK);
    for (size_t i = 0; i < n; i++)
        bytes += rows[i].bytes;
    free(rows);
    return bytes;
}

static void contexts_are_shared_by_processes(void **state) {
    fixture *f = *state;
    crowd all = gather(f);
    pid_t children[3];
    for (uint32_t i = 0; i < 3; i++)
        if (!(children[i] = fork()))
            _exit(work(f, &all.cfg, all.sessions, i + 1, 25));
    for (int i = 0; i < 3; i++) {
        int status;
        assert_int_equal(waitpid(children[i], &status, 0), children[i]);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
    assert_true(bytes_in(f) <= f->c->limit);
    disperse(&all);
}

/* Whatever is there afterwards is whole, and belongs there. */
static void assert_all_whole(const fixture *f) {
    DIR *d = opendir(f->folder);
    assert_non_null(d);
    for (const struct dirent *e; (e = readdir(d));) {
        char path[512];
        kv_err err = {0};
        ctx_file *file;
        if (e->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", f->folder, e->d_name);
        if (ctx_file_open(path, true, NULL, NULL, &file, &err))
            fail_msg("%s", err.msg);
        ctx_file_close(file);
    }
    closedir(d);
}

static void contexts_survive_being_killed(void **state) {
    fixture *f = *state;
    crowd all = gather(f);
    uint32_t seed = 17;
    for (uint32_t i = 0; i < 40; i++) {
        int status;
        const pid_t child = fork();
        if (!child)
            _exit(work(f, &all.cfg, all.sessions, i, 1000));
        seed = seed * 1664525u + 1013904223u;
        usleep(seed >> 18); /* up to 16 ms */
        kill(child, SIGKILL);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));
        assert_all_whole(f);
    }
    assert_int_equal(work(f, &all.cfg, all.sessions, 3, 4), 0);
    assert_true(bytes_in(f) <= f->c->limit);
    disperse(&all);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(contexts_go_on_exactly_with_every_setting),
        T(contexts_take_the_longest_beginning),
        T(contexts_are_of_one_model_and_cache),
        T(contexts_remember_where_prompts_part),
        T(contexts_load_into_an_empty_session_only),
        T(contexts_keep_the_longest_of_nested_ones),
        T(contexts_are_kept_without_guesses),
        T(contexts_do_not_keep_what_forgot),
        T(contexts_keep_what_longer_ones_cannot_go_back_to),
        T(contexts_keep_to_their_limit),
        T(contexts_are_private),
        T(contexts_leave_other_files_alone),
        T(contexts_pass_damaged_files_over),
        T(contexts_tell_what_does_not_work),
        T(contexts_can_be_stopped),
        T(contexts_are_shared_by_processes),
        T(contexts_survive_being_killed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
