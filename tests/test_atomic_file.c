/* Files appear whole or not at all, whatever happens in between. */
#include "base/atomic_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* What the system lets files without a name do: the tests run once for each. */
typedef enum ways { NAMELESS, NAMED, NO_LINKS, WAYS } ways;
static ways way;

/* In place of the C library's, also for the library that is tested: some systems cannot do all of it. */
int open_some(const char *path, int flags, ...) __asm__("open");
int open_some(const char *path, int flags, ...) {
    va_list ap;
    va_start(ap, flags);
    const unsigned mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(ap, unsigned) : 0;
    va_end(ap);
    if (way == NAMED && (flags & O_TMPFILE) == O_TMPFILE) {
        errno = EOPNOTSUPP;
        return -1;
    }
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

int link_some(int from_dir, const char *from, int to_dir, const char *to, int flags) __asm__("linkat");
int link_some(int from_dir, const char *from, int to_dir, const char *to, int flags) {
    if (way == NO_LINKS) {
        errno = EPERM;
        return -1;
    }
    return (int)syscall(SYS_linkat, from_dir, from, to_dir, to, flags);
}

/* Each test runs in a fresh folder, its working directory. */
static char dir[200];

static int setup(void **state) {
    (void)state;
    const char *tmp = getenv("TMPDIR");
    snprintf(dir, sizeof dir, "%s/kv-test-atomic-XXXXXX", tmp ? tmp : P_tmpdir);
    return mkdtemp(dir) && chdir(dir) == 0 ? 0 : -1;
}

/* How many files there are, hidden ones included. *last: 256 bytes, name of one of them; or NULL. */
static int count_files(char *last) {
    int n = 0;
    DIR *d = opendir(".");
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));)
        if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..")) {
            if (last)
                snprintf(last, 256, "%s", e->d_name);
            n++;
        }
    closedir(d);
    return n;
}

static int teardown(void **state) {
    (void)state;
    char name[256];
    while (count_files(name))
        if (remove(name) != 0)
            return -1;
    return chdir("/") == 0 && rmdir(dir) == 0 ? 0 : -1;
}

static void assert_file_is(const char *path, const char *want) {
    char *have;
    size_t len;
    kv_err err;
    if (file_read(path, 1 << 20, &have, &len, &err) != KV_OK)
        fail_msg("%s", err.msg);
    assert_string_equal(have, want);
    assert_int_equal(len, strlen(want));
    free(have);
}

static void must_write(const char *path, const char *text) {
    kv_err err;
    if (file_write(path, text, strlen(text), &err) != KV_OK)
        fail_msg("%s", err.msg);
}

static atomic_file *must_open(const char *path) {
    atomic_file *f;
    kv_err err;
    if (atomic_file_open(path, &f, &err) != KV_OK)
        fail_msg("%s", err.msg);
    return f;
}

static void atomic_file_appears_on_commit(void **state) {
    (void)state;
    char name[256];
    atomic_file *f = must_open("new.txt");
    fputs("hello", atomic_file_stream(f));
    assert_int_equal(access("new.txt", F_OK), -1);
    assert_int_equal(count_files(name), way == NAMED);
    if (way == NAMED) {
        assert_memory_equal(name, ".new.txt.", 9);
        assert_string_equal(name + 9 + 6, ".tmp");
    }
    assert_int_equal(atomic_file_commit(f, NULL), KV_OK);
    assert_file_is("new.txt", "hello");
    assert_int_equal(count_files(NULL), 1);
}

static void atomic_file_commit_replaces_the_old_file(void **state) {
    (void)state;
    must_write("a", "old and long");
    atomic_file *f = must_open("a");
    fputs("new", atomic_file_stream(f));
    fflush(atomic_file_stream(f));
    assert_file_is("a", "old and long");
    assert_int_equal(atomic_file_commit(f, NULL), KV_OK);
    assert_file_is("a", "new");
}

static void atomic_file_abort_leaves_no_trace(void **state) {
    (void)state;
    must_write("a", "old");
    atomic_file *f = must_open("a");
    fputs("new", atomic_file_stream(f));
    atomic_file_abort(f);
    atomic_file_abort(NULL);
    assert_file_is("a", "old");
    assert_int_equal(count_files(NULL), 1);
}

static void on_signal(int sig) {
    atomic_file_cleanup();
    _exit(100 + sig);
}

/* A process ends by a signal while it writes two files. */
static void die_while_writing(int sig, bool handled) {
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (!pid) {
        atomic_file *a, *b;
        if (handled)
            signal(sig, on_signal);
        if (atomic_file_open("a", &a, NULL) != KV_OK || atomic_file_open("b", &b, NULL) != KV_OK)
            _exit(1);
        fputs("half", atomic_file_stream(a));
        fflush(atomic_file_stream(a));
        raise(sig);
        _exit(2);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (handled)
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 100 + sig);
    else
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == sig);
    assert_file_is("a", "old");
    assert_int_equal(access("b", F_OK), -1);
}

static void atomic_file_survives_signals(void **state) {
    (void)state;
    must_write("a", "old");
    die_while_writing(SIGINT, true);
    die_while_writing(SIGTERM, true);
    assert_int_equal(count_files(NULL), 1); /* the handler removed the temporaries */
    die_while_writing(SIGKILL, false);
    assert_int_equal(count_files(NULL), way == NAMED ? 3 : 1);
    must_write("a", "new"); /* what a killed process left of a file goes when that is written next */
    assert_int_equal(count_files(NULL), way == NAMED ? 2 : 1);
    must_write("b", "new");
    assert_int_equal(count_files(NULL), 2);
}

static void atomic_file_sweeps_only_what_nobody_writes(void **state) {
    (void)state;
    static const char *const stays[] = {".a.ABCDEF.tmp", ".a.abcdef.tmp2", ".ab.abcdef.tmp",
                                        ".b.abcdef.tmp", "a.abcdef.tmp",   ".a.abcdef"};
    const size_t n = sizeof stays / sizeof *stays;
    atomic_file *other = must_open("a");
    fputs("other", atomic_file_stream(other));
    for (size_t i = 0; i < n; i++)
        close(open(stays[i], O_WRONLY | O_CREAT, 0600));
    close(open(".a.abcdef.tmp", O_WRONLY | O_CREAT, 0600));
    assert_int_equal(symlink("nowhere", ".a.bbbbbb.tmp"), 0);
    must_write("a", "one");
    assert_int_equal(access(".a.abcdef.tmp", F_OK), -1);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(access(stays[i], F_OK), 0);
    assert_int_equal(atomic_file_commit(other, NULL), KV_OK); /* it was being written all the time */
    assert_file_is("a", "other");
    assert_int_equal(count_files(NULL), n + 2);
}

static void atomic_file_after_cleanup_can_still_be_closed(void **state) {
    (void)state;
    atomic_file *f = must_open("a"), *g = must_open("b");
    atomic_file_cleanup();
    assert_int_equal(count_files(NULL), 0);
    kv_err err;
    assert_int_equal(atomic_file_commit(f, &err), way == NAMED ? KV_EIO : KV_OK);
    atomic_file_abort(g);
    assert_int_equal(count_files(NULL), way != NAMED);
}

static mode_t mode_of(const char *path) {
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return st.st_mode & 0777;
}

static void atomic_file_has_the_usual_permissions(void **state) {
    (void)state;
    mode_t was = umask(027);
    must_write("new", "");
    assert_int_equal(mode_of("new"), 0640);
    assert_int_equal(chmod("new", 0606), 0);
    must_write("new", "again"); /* an existing file keeps its own */
    assert_int_equal(mode_of("new"), 0606);
    umask(was);
}

static void atomic_file_writes_through_links(void **state) {
    (void)state;
    struct stat st;
    must_write("target", "old");
    assert_int_equal(symlink("target", "link"), 0);
    must_write("link", "new");
    assert_file_is("target", "new");
    assert_int_equal(lstat("link", &st), 0);
    assert_true(S_ISLNK(st.st_mode));

    kv_err err;
    assert_int_equal(symlink("nowhere", "dangling"), 0);
    assert_int_equal(file_write("dangling", "x", 1, &err), KV_EIO);
    assert_non_null(strstr(err.msg, "symbolic link to nothing"));
}

static void atomic_file_writes_pipes_and_devices_straight(void **state) {
    (void)state;
    int ends[2];
    char path[64], got[16] = "";
    must_write("/dev/null", "gone");
    assert_int_equal(pipe(ends), 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", ends[1]);
    must_write(path, "through");
    assert_int_equal(read(ends[0], got, sizeof got), 7);
    assert_string_equal(got, "through");
    atomic_file_abort(must_open(path));
    close(ends[0]);
    close(ends[1]);

    /* A file behind /dev/fd, as behind a redirected /dev/stdout, is written to, not replaced. */
    struct stat before, after;
    must_write("redirected", "one ");
    int fd = open("redirected", O_WRONLY | O_APPEND);
    snprintf(path, sizeof path, "/dev/fd/%d", fd);
    assert_int_equal(fstat(fd, &before), 0);
    must_write(path, "two");
    assert_file_is("redirected", "one two");
    assert_int_equal(stat("redirected", &after), 0);
    assert_true(before.st_ino == after.st_ino);
    close(fd);

    kv_err err;
    assert_int_equal(file_write("/dev/full", "x", 1, &err), KV_EIO);
    assert_non_null(strstr(err.msg, "No space left"));
}

static void atomic_file_refuses_impossible_targets(void **state) {
    (void)state;
    static const struct {
        const char *path, *message;
    } cases[] = {
        {"", "(empty path): is not the name of a file"},
        {"missing/", "missing/: is not the name of a file"},
        {".", ".: is a directory"},
        {"missing/file", "missing/file: cannot create a temporary file beside it: No such file"},
        {"plain/file", "plain/file: cannot write: Not a directory"},
    };
    must_write("plain", "");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kv_err err = {KV_OK, ""};
        atomic_file *f = NULL;
        assert_int_equal(atomic_file_open(cases[i].path, &f, &err), KV_EIO);
        assert_null(f);
        if (!strstr(err.msg, cases[i].message))
            fail_msg("'%s', not '%s'", err.msg, cases[i].message);
    }
    assert_int_equal(count_files(NULL), 1);

    must_write("protected", "old");
    assert_int_equal(chmod("protected", 0444), 0);
    if (geteuid() != 0) /* root may write anything */
        assert_int_equal(file_write("protected", "new", 3, NULL), KV_EIO);
}

static void atomic_file_reports_a_full_disk(void **state) {
    (void)state;
    must_write("a", "old");
    char *big = calloc(1, 200000);
    assert_non_null(big);
    struct rlimit was, low;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
    low = (struct rlimit){1000, was.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
    kv_status large = file_write("a", big, 200000, NULL); /* fails in fwrite */
    kv_status small = file_write("a", big, 1500, NULL);   /* fails in the flush */
    atomic_file *f = must_open("a");
    fwrite(big, 1, 200000, atomic_file_stream(f)); /* fails unseen by the caller */
    kv_err err;
    kv_status unseen = atomic_file_commit(f, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
    signal(SIGXFSZ, SIG_DFL);
    free(big);
    assert_int_equal(large, KV_EIO);
    assert_int_equal(small, KV_EIO);
    assert_int_equal(unseen, KV_EIO);
    assert_file_is("a", "old");
    assert_int_equal(count_files(NULL), 1);
}

static void atomic_file_many_at_once(void **state) {
    (void)state;
    atomic_file *open_files[200];
    char name[16];
    int n = 0;
    kv_err err;
    for (; n < 200; n++) {
        snprintf(name, sizeof name, "f%d", n);
        if (atomic_file_open(name, &open_files[n], &err) != KV_OK)
            break;
    }
    assert_in_range(n, 64, 199); /* the table has an end */
    assert_non_null(strstr(err.msg, "at once"));
    for (int i = 0; i < n; i++)
        assert_int_equal(atomic_file_commit(open_files[i], NULL), KV_OK);
    for (int i = 0; i < 100; i++) /* and is free again */
        must_write("again", "x");
    assert_int_equal(count_files(NULL), n + 1);
}

/* As long as names may be; and cut for the temporary's within no character. */
static void atomic_file_takes_long_names(void **state) {
    (void)state;
    kv_err err = {0};
    for (int len = 240; len <= 255; len++) {
        char name[256], temp[256];
        atomic_file *f;
        memset(name, 'n', (size_t)len);
        for (int i = 0; i + 2 <= len; i += 2)
            memcpy(name + i, "\xc3\xa4", 2);
        name[len] = '\0';
        assert_int_equal(atomic_file_open(name, &f, &err), KV_OK);
        if (way == NAMED) {
            assert_int_equal(count_files(temp), 1);
            assert_true(strlen(temp) <= 255 && temp[0] == '.');
            assert_int_not_equal((unsigned char)strchr(temp + 1, '.')[-1], 0xc3);
        }
        fputs("x", atomic_file_stream(f));
        assert_int_equal(atomic_file_commit(f, &err), KV_OK);
        assert_file_is(name, "x");
        unlink(name);
    }
}

static void atomic_file_check_leaves_nothing(void **state) {
    (void)state;
    kv_err err = {0};
    assert_int_equal(atomic_file_check("new", &err), KV_OK);
    assert_int_equal(count_files(NULL), 0);
    assert_int_equal(file_write("old", "x", 1, &err), KV_OK);
    assert_int_equal(atomic_file_check("old", &err), KV_OK);
    assert_file_is("old", "x");
    assert_int_equal(atomic_file_check("none/new", &err), KV_EIO);
    assert_int_equal(atomic_file_check(".", &err), KV_EIO);
    assert_int_equal(atomic_file_check("/dev/null", &err), KV_OK);
    assert_int_equal(mkfifo("pipe", 0600), 0);
    assert_int_equal(atomic_file_check("pipe", &err), KV_OK); /* nobody reads it: opening it would wait */
    unlink("pipe");
}

static void file_read_reads_all_of_it(void **state) {
    (void)state;
    size_t len = 300000, have_len;
    char *bytes = malloc(len), *have;
    assert_non_null(bytes);
    for (size_t i = 0; i < len; i++)
        bytes[i] = (char)(i * 7 >> 3);
    assert_int_equal(file_write("big", bytes, len, NULL), KV_OK);
    assert_int_equal(file_read("big", len, &have, &have_len, NULL), KV_OK);
    assert_int_equal(have_len, len);
    assert_memory_equal(have, bytes, len);
    assert_int_equal(have[len], 0);
    free(have);
    kv_err err;
    have = NULL;
    assert_int_equal(file_read("big", len - 1, &have, &have_len, &err), KV_ERANGE);
    assert_non_null(strstr(err.msg, "big: is larger than 299999 bytes"));
    assert_null(have);
    free(bytes);
}

static void file_read_of_sizes_around_its_steps(void **state) {
    (void)state;
    char *bytes = calloc(1, 1 << 18), *have;
    size_t have_len;
    assert_non_null(bytes);
    for (size_t step = 1 << 16; step <= 1 << 17; step *= 2)
        for (size_t len = step - 2; len <= step + 1; len++) {
            memset(bytes, 'x', len);
            assert_int_equal(file_write("f", bytes, len, NULL), KV_OK);
            assert_int_equal(file_read("f", len, &have, &have_len, NULL), KV_OK);
            assert_int_equal(have_len, len);
            assert_int_equal(strlen(have), len);
            free(have);
        }
    assert_int_equal(file_write("f", "", 0, NULL), KV_OK);
    assert_int_equal(file_read("f", 0, &have, &have_len, NULL), KV_OK);
    assert_true(have_len == 0 && !*have);
    free(have);
    free(bytes);
}

static void file_read_reports_what_it_cannot_read(void **state) {
    (void)state;
    char *have = NULL;
    size_t len;
    kv_err err;
    assert_int_equal(file_read("none", 10, &have, &len, &err), KV_EIO);
    assert_string_equal(err.msg, "none: cannot open: No such file or directory");
    assert_int_equal(file_read(".", 10, &have, &len, &err), KV_EIO);
    assert_non_null(strstr(err.msg, "Is a directory"));
    assert_int_equal(file_read("/dev/zero", 1000, &have, &len, &err), KV_ERANGE); /* no end, no endless reading */
    assert_null(have);
}

/* Of files that belong together, one that cannot get its name takes the others with it. */
static void atomic_files_appear_all_or_none(void **state) {
    (void)state;
    atomic_file *f[3];
    kv_err err = {0};
    for (int again = 0; again < 2; again++) {
        for (int i = 0; i < 3; i++) {
            assert_int_equal(atomic_file_open((const char *[]){"a", "b", "c"}[i], &f[i], NULL), KV_OK);
            fprintf(atomic_file_stream(f[i]), "%d", i);
        }
        if (!again)
            assert_int_equal(mkdir("b", 0777), 0); /* since it was opened */
        assert_int_equal(atomic_files_commit(f, 3, &err), again ? KV_OK : KV_EIO);
        assert_int_equal(count_files(NULL), again ? 3 : 1);
        assert_true(again || (strstr(err.msg, "b: cannot give") && !rmdir("b")));
    }
    assert_file_is("a", "0");
    assert_file_is("c", "2");
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(atomic_file_appears_on_commit),
        TEST(atomic_file_commit_replaces_the_old_file),
        TEST(atomic_file_abort_leaves_no_trace),
        TEST(atomic_file_survives_signals),
        TEST(atomic_file_sweeps_only_what_nobody_writes),
        TEST(atomic_file_after_cleanup_can_still_be_closed),
        TEST(atomic_file_has_the_usual_permissions),
        TEST(atomic_file_writes_through_links),
        TEST(atomic_file_writes_pipes_and_devices_straight),
        TEST(atomic_file_refuses_impossible_targets),
        TEST(atomic_file_reports_a_full_disk),
        TEST(atomic_file_many_at_once),
        TEST(atomic_files_appear_all_or_none),
        TEST(atomic_file_takes_long_names),
        TEST(atomic_file_check_leaves_nothing),
        TEST(file_read_reads_all_of_it),
        TEST(file_read_of_sizes_around_its_steps),
        TEST(file_read_reports_what_it_cannot_read),
    };
    int failed = 0;
    for (way = NAMELESS; way < WAYS; way++)
        failed += cmocka_run_group_tests(tests, NULL, NULL);
    return failed;
}
