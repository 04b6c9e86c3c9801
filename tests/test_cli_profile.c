/* Finding profiles: by name, by file, by model; the order of directories; what is broken is passed over. */
#include "base/atomic_file.h"
#include "cli/cli_profile.h"
#include "profile_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* Two directories, each with models/ in it: the first is $KVCALIB_PROFILES, the second belongs to $XDG_DATA_HOME. */
typedef struct folder {
    char top[200], first[256], second[256];
} folder;

static void run(const char *fmt, const char *arg) {
    char command[512];
    snprintf(command, sizeof command, fmt, arg);
    assert_int_equal(system(command), 0);
}

static int setup(void **state) {
    folder *f = calloc(1, sizeof *f);
    const char *tmp = getenv("TMPDIR");
    snprintf(f->top, sizeof f->top, "%s/kv-test-find-XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(f->top))
        return -1;
    snprintf(f->first, sizeof f->first, "%s/first", f->top);
    snprintf(f->second, sizeof f->second, "%s/kvcalib/profiles", f->top);
    run("mkdir -p '%s/models'", f->first);
    run("mkdir -p '%s/models'", f->second);
    char list[600];
    snprintf(list, sizeof list, "%s/missing::%s", f->top, f->first);
    setenv("KVCALIB_PROFILES", list, 1);
    setenv("XDG_DATA_HOME", f->top, 1);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    folder *f = *state;
    run("rm -r '%s'", f->top);
    free(f);
    return 0;
}

static void put(const char *dir, const char *name, const char *text) {
    char path[600];
    kv_err err;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    if (file_write(path, text, strlen(text), &err))
        fail_msg("%s", err.msg);
}

#define POLICY(sinks, k) "version: 2\npolicy: {sinks: " #sinks ", window: 0, k: " k ", v: f16}\n"

static uint32_t sinks_of(const char *name) {
    prof *p;
    kv_err err;
    if (cli_find_profile(name, &p, NULL, &err))
        fail_msg("%s", err.msg);
    uint32_t sinks = p->sinks;
    prof_free(p);
    return sinks;
}

static void find_profile_by_name_or_file(void **state) {
    folder *f = *state;
    char path[CLI_PROFILE_PATH], want[600];
    prof *p;
    kv_err err = {0};
    put(f->second, "mine.yaml", POLICY(2, "f16"));
    assert_int_equal(sinks_of("mine"), 2);
    put(f->first, "mine.yaml", POLICY(1, "f16"));
    assert_int_equal(sinks_of("mine"), 1);
    put(f->second, "small.yaml", POLICY(77, "f16")); /* before the one that is shipped */
    assert_int_equal(sinks_of("small"), 77);
    assert_int_equal(cli_find_profile("tiny", &p, path, &err), KV_OK); /* of the source tree */
    assert_true(p->aim_bits == 2.75);
    prof_free(p);
    snprintf(want, sizeof want, "%s/mine.yaml", f->second);
    assert_int_equal(cli_find_profile(want, &p, path, &err), KV_OK);
    assert_string_equal(path, want);
    assert_int_equal(p->sinks, 2);
    prof_free(p);

    put(f->top, "plain", POLICY(5, "f16")); /* a file without an ending, a file of a shipped name */
    put(f->top, "tiny", POLICY(6, "f16"));
    put(f->top, "local.yaml", POLICY(7, "f16"));
    char *here = getcwd(NULL, 0);
    assert_int_equal(chdir(f->top), 0);
    assert_int_equal(sinks_of("plain"), 5);
    assert_int_equal(sinks_of("tiny"), 4);
    assert_int_equal(sinks_of("./tiny"), 6);
    assert_int_equal(sinks_of("local.yaml"), 7);
    assert_int_equal(cli_find_profile("local", &p, NULL, &err), KV_EINVAL);
    assert_int_equal(cli_find_profile("mine.yaml", &p, NULL, &err), KV_EIO); /* a file, which is not here */
    assert_int_equal(chdir(here), 0);
    free(here);
}

static void find_profile_lists_what_there_is(void **state) {
    folder *f = *state;
    prof *p = (prof *)f;
    kv_err err = {0};
    put(f->first, "ball.yaml", POLICY(1, "f16"));
    put(f->second, "ball.yaml", POLICY(1, "f16"));
    put(f->first, ".yaml", POLICY(1, "f16"));
    put(f->first, "notes.txt", "");
    assert_int_equal(cli_find_profile("bal", &p, NULL, &err), KV_EINVAL);
    assert_null(p);
    const char *list = strstr(err.msg, "'bal' is neither a file nor a shipped profile; those are: ball, balanced, f16, ");
    assert_non_null(list);
    assert_null(strstr(list + 70, "ball,"));
    assert_null(strstr(list, "notes"));
    put(f->first, "broken.yaml", "version: 2\npolicy: {sinks: 4}\n");
    assert_int_equal(cli_find_profile("broken", &p, NULL, &err), KV_EFORMAT);
    assert_non_null(strstr(err.msg, "first/broken.yaml:2: policy.window: missing"));
}

static const rt_hparams shape = {
    .n_layer = 3, .n_head = 4, .n_kv_head = 2, .head_dim = 8, .heads = {4, 4, 4}, .kv_heads = {2, 2, 2}, .kv_layer = {0, 1, 2}};
static const char hash[] = "00112233445566778899aabbccddeeff";

static void put_model(const char *dir, const char *name, uint32_t window, const char *model) {
    char path[600];
    kv_err err;
    prof *p = fixture_profile(3, 4, 2, 8);
    p->window = window;
    strcpy(p->model_hash, model);
    snprintf(path, sizeof path, "%s/models/%s", dir, name);
    if (prof_save(p, path, &err))
        fail_msg("%s", err.msg);
    prof_free(p);
}

static uint32_t shipped_window(char *path) {
    prof *p = NULL;
    assert_int_equal(cli_shipped_profile("test", hash, &shape, &p, path, NULL), KV_OK);
    uint32_t window = p ? p->window : 0;
    prof_free(p);
    return window;
}

static void shipped_profile_is_found_by_hash(void **state) {
    folder *f = *state;
    char path[CLI_PROFILE_PATH], want[600];
    assert_int_equal(shipped_window(path), 0);
    put_model(f->second, "a.yaml", 1, "10112233445566778899aabbccddeeff"); /* of another model */
    assert_int_equal(shipped_window(path), 0);
    put_model(f->second, "b.yaml", 2, hash);
    assert_int_equal(shipped_window(path), 2);
    snprintf(want, sizeof want, "%s/models/b.yaml", f->second);
    assert_string_equal(path, want);
    put_model(f->first, "z.yaml", 3, hash); /* an earlier directory goes first */
    assert_int_equal(shipped_window(path), 3);
}

/* Said on stderr, by name, and passed over. */
static void shipped_profile_that_is_broken_is_left_aside(void **state) {
    folder *f = *state;
    char path[CLI_PROFILE_PATH], said[2048] = "";
    put_model(f->first, "a.yaml", 1, hash);
    run("cd '%s/models' && head -c 2000 a.yaml >cut.yaml && mv cut.yaml a.yaml", f->first);
    put_model(f->first, "b.yaml", 2, hash);
    run("cd '%s/models' && sed 's/head_dim: 8/head_dim: 16/' b.yaml >c && mv c b.yaml", f->first);
    put(f->first, "models/c.yaml",
        "# not of 00112233445566778899aabbccddeeff\nversion: 2\npolicy: {sinks: 4, window: 9, k: f16, v: f16}\n");
    run("mkdir '%s/models/d.yaml'", f->first);
    FILE *file = tmpfile();
    int saved = dup(STDERR_FILENO);
    assert_true(file && saved >= 0 && dup2(fileno(file), STDERR_FILENO) >= 0);
    uint32_t none = shipped_window(path);
    put_model(f->second, "e.yaml", 5, hash);
    uint32_t next = shipped_window(path);
    fflush(stderr);
    dup2(saved, STDERR_FILENO);
    close(saved);
    rewind(file);
    said[fread(said, 1, sizeof said - 1, file)] = 0;
    fclose(file);
    assert_int_equal(none, 0);
    assert_int_equal(next, 5);
    assert_non_null(strstr(said, "left aside: "));
    assert_non_null(strstr(said, "models/a.yaml"));
    assert_non_null(strstr(said, "models/b.yaml"));
    assert_null(strstr(said, "c.yaml"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(find_profile_by_name_or_file, setup, teardown),
        cmocka_unit_test_setup_teardown(find_profile_lists_what_there_is, setup, teardown),
        cmocka_unit_test_setup_teardown(shipped_profile_is_found_by_hash, setup, teardown),
        cmocka_unit_test_setup_teardown(shipped_profile_that_is_broken_is_left_aside, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
