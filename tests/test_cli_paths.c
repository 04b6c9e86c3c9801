/* No output is an input or another output, by whatever name. */
#include "cli/cli_paths.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* Each test runs in a fresh folder, its working directory, with file "a" in it, a symbolic and a hard link to that, folder
 * "sub" and a link "linked" to that. */
static char dir[200];

static int setup(void **state) {
    (void)state;
    const char *tmp = getenv("TMPDIR");
    snprintf(dir, sizeof dir, "%s/kv-test-paths-XXXXXX", tmp ? tmp : P_tmpdir);
    if (!mkdtemp(dir) || chdir(dir))
        return -1;
    return system("echo a >a && ln -s a soft && ln -s soft softer && ln a hard && mkdir sub && ln -s sub linked && echo b >b");
}

static int teardown(void **state) {
    (void)state;
    char command[256];
    snprintf(command, sizeof command, "rm -r '%s'", dir);
    return chdir("/") || system(command);
}

static kv_err err;

static bool clash(cli_kind one, const char *a, cli_kind other, const char *b) {
    const cli_path paths[] = {{one, "--one", a}, {CLI_IN, "--not-given", NULL}, {other, "--other", b}};
    kv_status st = cli_paths_check(paths, 3, &err);
    assert_true(st == KV_OK || st == KV_EINVAL);
    return st != KV_OK;
}

/* Whichever of them comes first, and whichever is the output. */
static bool clash_each_way(const char *a, const char *b) {
    const bool yes = clash(CLI_IN, a, CLI_OUT, b);
    assert_true(clash(CLI_OUT, a, CLI_IN, b) == yes && clash(CLI_OUT, b, CLI_IN, a) == yes &&
                clash(CLI_IN, b, CLI_OUT, a) == yes && clash(CLI_OUT, a, CLI_OUT, b) == yes &&
                clash(CLI_OUT, b, CLI_OUT, a) == yes);
    assert_false(clash(CLI_IN, a, CLI_IN, b));
    return yes;
}

static void paths_of_a_file_that_is_there(void **state) {
    (void)state;
    char whole[256];
    snprintf(whole, sizeof whole, "%s/a", dir);
    const char *names[] = {"a", "./a", "sub/../a", "linked/../a", whole, "soft", "softer", "hard"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        for (size_t j = 0; j < sizeof names / sizeof *names; j++)
            assert_true(clash_each_way(names[i], names[j]));
    assert_false(clash_each_way("a", "b"));
    assert_false(clash_each_way("soft", "b"));
    assert_false(clash_each_way("a", "sub/a"));
}

static void paths_of_a_file_that_is_not_there_yet(void **state) {
    (void)state;
    char whole[256];
    snprintf(whole, sizeof whole, "%s/sub/new", dir);
    const char *names[] = {"sub/new", "linked/new", "./sub//new", whole};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        for (size_t j = 0; j < sizeof names / sizeof *names; j++)
            assert_true(clash_each_way(names[i], names[j]));
    assert_true(clash_each_way("new", "./new"));
    assert_false(clash_each_way("new", "sub/new"));
    assert_false(clash_each_way("sub/new", "linked/other"));
    assert_false(clash_each_way("sub/a", "a"));
    /* Nothing can be made of these: the tool says so itself. */
    assert_false(clash_each_way("no-such/new", "no-such/new"));
    assert_false(clash_each_way("", ""));
}

static void paths_of_pipes_and_devices(void **state) {
    (void)state;
    char fd_path[32];
    assert_false(clash_each_way("/dev/null", "/dev/null"));
    assert_false(clash_each_way(".", "."));
    /* What the shell has open may be written into twice, but is no other output, and no input. */
    int fd = open("a", O_WRONLY | O_APPEND);
    snprintf(fd_path, sizeof fd_path, "/dev/fd/%d", fd);
    assert_false(clash(CLI_OUT, fd_path, CLI_OUT, fd_path));
    assert_true(clash(CLI_OUT, fd_path, CLI_IN, fd_path));
    assert_true(clash_each_way(fd_path, "hard"));
    close(fd);
}

static void paths_on_standard_output(void **state) {
    (void)state;
    assert_true(clash(CLI_OUT_OR_STDOUT, "-", CLI_OUT_OR_STDOUT, "-"));
    assert_true(clash(CLI_OUT_OR_STDOUT, "-", CLI_OUT, "-"));
    assert_true(clash(CLI_OUT, "-", CLI_OUT_OR_STDOUT, "-"));
    assert_false(clash(CLI_OUT_OR_STDOUT, "-", CLI_OUT, "./-"));
    assert_false(clash(CLI_OUT_OR_STDOUT, "-", CLI_IN, "-"));
    assert_true(clash(CLI_OUT, "-", CLI_IN, "./-")); /* elsewhere it is a name like others */
    assert_true(clash(CLI_OUT_OR_STDOUT, "a", CLI_IN, "soft"));
}

static void paths_of_profiles_by_name(void **state) {
    (void)state;
    assert_int_equal(system("mkdir profiles && echo >profiles/mine.yaml && echo >mine"), 0);
    setenv("KVCALIB_PROFILES", "profiles", 1);
    assert_true(clash(CLI_OUT, "profiles/mine.yaml", CLI_PROFILE, "mine"));
    assert_false(clash(CLI_OUT, "mine", CLI_PROFILE, "mine"));
    assert_true(clash(CLI_OUT, "mine", CLI_PROFILE, "./mine"));
    assert_true(clash(CLI_OUT, "hard", CLI_PROFILE, "a"));
    assert_false(clash(CLI_OUT, "no-such-name", CLI_PROFILE, "no-such-name"));
    unsetenv("KVCALIB_PROFILES");
}

/* A part of a split model that is read stands for all; one that is written for itself. */
static void paths_of_split_models(void **state) {
    (void)state;
    assert_int_equal(system("echo 1 >m-00001-of-00003.gguf && echo 3 >m-00003-of-00003.gguf && ln m-00003-of-00003.gguf x"), 0);
    assert_true(clash(CLI_IN, "m-00001-of-00003.gguf", CLI_OUT, "m-00003-of-00003.gguf"));
    assert_string_equal(err.msg,
                        "--other m-00003-of-00003.gguf and --one m-00003-of-00003.gguf are the same file, and an output "
                        "may not be an input; choose another name for --other");
    assert_true(clash(CLI_OUT, "x", CLI_IN, "linked/../m-00001-of-00003.gguf"));
    assert_true(clash(CLI_OUT, "m-00002-of-00003.gguf", CLI_IN, "m-00003-of-00003.gguf")); /* not there, and still a part */
    assert_false(clash(CLI_OUT, "m-00001-of-00003.gguf", CLI_OUT, "m-00003-of-00003.gguf"));
    assert_false(clash(CLI_OUT, "m-00001-of-00003.gguf", CLI_PROFILE, "./m-00003-of-00003.gguf"));
    assert_false(clash(CLI_OUT, "m-00001-of-00002.gguf", CLI_IN, "m-00003-of-00003.gguf"));
}

static void paths_are_named_in_the_message(void **state) {
    (void)state;
    assert_true(clash(CLI_IN, "soft", CLI_OUT, "./a"));
    assert_string_equal(err.msg, "--other ./a and --one soft are the same file, and an output may not be an input; choose "
                                 "another name for --other");
    assert_true(clash(CLI_OUT, "new", CLI_OUT, "./new"));
    assert_string_equal(err.msg, "--one new and --other ./new are the same file; choose another name for one of them");
    assert_int_equal(cli_paths_check(NULL, 0, NULL), KV_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(paths_of_a_file_that_is_there, setup, teardown),
        cmocka_unit_test_setup_teardown(paths_of_a_file_that_is_not_there_yet, setup, teardown),
        cmocka_unit_test_setup_teardown(paths_of_pipes_and_devices, setup, teardown),
        cmocka_unit_test_setup_teardown(paths_on_standard_output, setup, teardown),
        cmocka_unit_test_setup_teardown(paths_of_profiles_by_name, setup, teardown),
        cmocka_unit_test_setup_teardown(paths_of_split_models, setup, teardown),
        cmocka_unit_test_setup_teardown(paths_are_named_in_the_message, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
