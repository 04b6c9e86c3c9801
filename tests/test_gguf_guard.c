/* Model files that change while they are open: zeros instead of SIGBUS, and an error that names the file; faults elsewhere go
 * to whoever else handles them. */
#include "gguf/gguf.h"

#include "base/atomic_file.h"

#include <kv/model.h>

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char path[200];
static size_t size;

/* A copy of a tiny model, to be spoilt. */
static int setup(void **state) {
    char *data;
    gguf *g;
    const char *tmp = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/kv-test-guard-XXXXXX", tmp ? tmp : P_tmpdir);
    const int fd = mkstemp(path);
    if (fd < 0 || file_read(KV_TEST_DATA "/tiny/qwen2.gguf", 1 << 24, &data, &size, NULL))
        return -1;
    close(fd);
    kv_status st = file_write(path, data, size, NULL);
    free(data);
    if (st || gguf_open(path, &g, NULL))
        return -1;
    *state = g;
    return 0;
}

static int teardown(void **state) {
    gguf_close(*state);
    return unlink(path);
}

static unsigned sum_of_tensors(const gguf *g) {
    unsigned sum = 0;
    for (size_t i = 0; i < gguf_n_tensors(g); i++)
        for (size_t j = 0; j < gguf_tensor_at(g, i)->nbytes; j++)
            sum += gguf_tensor_at(g, i)->data[j];
    return sum;
}

static void says(const gguf *g, const char *what) {
    kv_err err = {0};
    assert_int_equal(gguf_unchanged(g, &err), KV_EIO);
    if (!strstr(err.msg, path) || !strstr(err.msg, what))
        fail_msg("'%s', not '%s'", err.msg, what);
}

static void guard_reads_zeros_of_a_shorter_file(void **state) {
    const gguf *g = *state;
    assert_int_equal(gguf_guard(NULL), KV_OK);
    assert_int_equal(kv_guard_model_files(NULL), KV_OK); /* once is enough, twice does no harm */
    const unsigned whole = sum_of_tensors(g);
    assert_int_equal(gguf_unchanged(g, NULL), KV_OK);
    assert_int_equal(truncate(path, (off_t)size / 2), 0);
    assert_true(sum_of_tensors(g) < whole);
    says(g, "has become shorter while it was read");
    assert_int_equal(truncate(path, (off_t)size), 0); /* too late: zeros are what was read */
    says(g, "some of it could not be read");
}

static void guard_notices_what_is_written(void **state) {
    const gguf *g = *state;
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = 1000000000}};
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
    says(g, "was changed while it was read");
    assert_int_equal(truncate(path, (off_t)size + 1), 0);
    says(g, "was changed while it was read");
}

static void guard_of_opening_and_copying(void **state) {
    const gguf *g = *state;
    char out[210];
    kv_err err = {0};
    gguf *again = NULL;
    snprintf(out, sizeof out, "%s.out", path);
    assert_int_equal(truncate(path, 5000), 0);
    assert_int_equal(gguf_copy(g, out, NULL, NULL, 0, &err), KV_EIO);
    assert_non_null(strstr(err.msg, "has become shorter")); /* not: cannot be written */
    assert_int_equal(access(out, F_OK), -1);
    assert_int_equal(gguf_open(path, &again, &err), KV_EFORMAT); /* it is as long as it is */
    char hash[33];
    assert_int_equal(gguf_model_hash(g, hash, &err), KV_EIO);
}

static void on_bus(int sig) {
    (void)sig;
    _exit(42);
}

/* How a process ends that reads behind the end of another file. */
static int elsewhere(void (*handler)(int)) {
    const pid_t pid = fork();
    if (!pid) {
        FILE *f = tmpfile();
        signal(SIGBUS, handler);
        if (!f || ftruncate(fileno(f), 1) || gguf_guard(NULL))
            _exit(1);
        volatile const char *p = mmap(NULL, 1 << 16, PROT_READ, MAP_PRIVATE, fileno(f), 0);
        _exit(p[1 << 15]);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    return status;
}

/* First of all, as the handler that it finds is that of the process. */
static void guard_leaves_other_faults_alone(void **state) {
    (void)state;
    const int own = elsewhere(on_bus), none = elsewhere(SIG_DFL);
    assert_true(WIFEXITED(own) && WEXITSTATUS(own) == 42);
    assert_true(WIFSIGNALED(none) && WTERMSIG(none) == SIGBUS);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(guard_leaves_other_faults_alone),
        cmocka_unit_test_setup_teardown(guard_reads_zeros_of_a_shorter_file, setup, teardown),
        cmocka_unit_test_setup_teardown(guard_notices_what_is_written, setup, teardown),
        cmocka_unit_test_setup_teardown(guard_of_opening_and_copying, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
