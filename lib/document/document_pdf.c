/* PDF, through pdftotext of poppler, in a process of its own: what a hostile file does to it happens there. It is started
 * without a shell and reads the file as its standard input, so that nobody's name becomes an option. Its output is cut at the
 * limit, and it is killed where nobody wants the text any more. */
#include "document/document_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { ASK_MS = 100, SAID = 256 };
#define MEMORY ((rlim_t)4 << 30) /* bytes that pdftotext may have */

typedef struct child {
    pid_t pid;
    int out, err;    /* what it writes; -1: closed */
    char said[SAID]; /* the beginning of what it says on stderr */
    size_t n_said;
} child;

static void shut(int *fd) {
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* The file as something to read from: not the one on the disk, which may have changed since. */
static kv_status as_file(const document_input *in, int *fd, kv_err *err) {
    *fd = memfd_create("document", MFD_CLOEXEC);
    if (*fd < 0)
        return kv_fail(err, KV_EIO, "%s: cannot be handed to pdftotext: %m", in->where);
    for (size_t at = 0; at < in->size;) {
        const ssize_t n = write(*fd, in->bytes + at, in->size - at);
        if (n < 0 && errno != EINTR)
            return kv_fail(err, errno == ENOSPC ? KV_ENOMEM : KV_EIO, "%s: cannot be handed to pdftotext: %m", in->where);
        at += n > 0 ? (size_t)n : 0;
    }
    lseek(*fd, 0, SEEK_SET);
    return KV_OK;
}

static int spawn(const int fds[3], pid_t *pid) {
    static char *const argv[] = {"pdftotext", "-enc", "UTF-8", "-eol", "unix", "-nopgbrk", "--", "-", "-", NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t none, usual;
    sigemptyset(&none);
    sigemptyset(&usual);
    sigaddset(&usual, SIGPIPE);
    sigaddset(&usual, SIGINT);
    sigaddset(&usual, SIGXFSZ);
    int code = posix_spawn_file_actions_init(&actions);
    if (code)
        return code;
    if ((code = posix_spawnattr_init(&attr))) {
        posix_spawn_file_actions_destroy(&actions);
        return code;
    }
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &usual);
    for (int i = 0; i < 3 && !code; i++)
        code = posix_spawn_file_actions_adddup2(&actions, fds[i], i);
    if (!code)
        code = posix_spawnp(pid, argv[0], &actions, &attr, argv, environ);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&actions);
    return code;
}

/* A hostile file may ask for more than there is. */
static void bound(pid_t pid) {
    const struct rlimit memory = {MEMORY, MEMORY}, no_core = {0, 0};
    prlimit(pid, RLIMIT_AS, &memory, NULL);
    prlimit(pid, RLIMIT_CORE, &no_core, NULL);
}

static kv_status start(const document_input *in, child *c, kv_err *err) {
    int file = -1, out[2] = {-1, -1}, said[2] = {-1, -1};
    kv_status st = as_file(in, &file, err);
    if (!st && (pipe2(out, O_CLOEXEC) || pipe2(said, O_CLOEXEC)))
        st = kv_fail(err, KV_EIO, "%s: no pipe to pdftotext: %m", in->where);
    const int code = st ? 0 : spawn((int[]){file, out[1], said[1]}, &c->pid);
    if (code == ENOENT || code == EACCES)
        st = kv_fail(err, KV_EUNSUPP, "%s: PDF is read by the program pdftotext, which is not here (apt install poppler-utils)",
                     in->where);
    else if (code)
        st =
            kv_fail(err, code == ENOMEM ? KV_ENOMEM : KV_EIO, "%s: pdftotext cannot be started: %s", in->where, strerror(code));
    else if (!st)
        bound(c->pid);
    shut(&file);
    shut(&out[1]);
    shut(&said[1]);
    c->out = out[0];
    c->err = said[0];
    if (st) {
        shut(&c->out);
        shut(&c->err);
    }
    return st;
}

/* What there is to read on *fd; it is closed at its end. */
static void take(int *fd, document_out *out, child *c) {
    char room[1 << 16];
    const ssize_t n = read(*fd, room, sizeof room);
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (n <= 0)
        shut(fd);
    else if (out)
        document_add(out, room, (size_t)n);
    else
        for (ssize_t i = 0; i < n && c->n_said + 1 < SAID; i++)
            c->said[c->n_said++] = room[i];
}

static kv_status listen_to(const document_input *in, child *c, document_out *out, kv_err *err) {
    kv_status st = KV_OK;
    while (!st && !out->st && (c->out >= 0 || c->err >= 0)) {
        struct pollfd fds[2] = {{.fd = c->out, .events = POLLIN}, {.fd = c->err, .events = POLLIN}};
        const int n = poll(fds, 2, ASK_MS);
        if (n > 0 && fds[0].revents)
            take(&c->out, out, c);
        if (n > 0 && fds[1].revents)
            take(&c->err, NULL, c);
        st = document_go_on(in, 0, err);
    }
    return st;
}

/* Its end, by force where it has more to say than anybody wants. */
static int finish(child *c, bool force) {
    int status = 0;
    if (force)
        kill(c->pid, SIGKILL);
    shut(&c->out);
    shut(&c->err);
    while (waitpid(c->pid, &status, 0) < 0 && errno == EINTR)
        ;
    return status;
}

static kv_status verdict(const document_input *in, child *c, int status, kv_err *err) {
    c->said[c->n_said] = '\0';
    c->said[strcspn(c->said, "\r\n")] = '\0';
    if (WIFSIGNALED(status))
        return kv_fail(err, KV_EFORMAT, "%s: pdftotext was ended by signal %d (%s)", in->where, WTERMSIG(status),
                       strsignal(WTERMSIG(status)));
    if (WEXITSTATUS(status))
        return kv_fail(err, KV_EFORMAT, "%s: pdftotext says: %s (exit code %d)", in->where, *c->said ? c->said : "nothing",
                       WEXITSTATUS(status));
    return KV_OK;
}

/* What is no letter of any text goes: NUL bytes, control characters, and what is not UTF-8, for which U+FFFD stands. */
static kv_status tidy(const document_input *in, document_out *raw, document *out, kv_err *err) {
    document_out clean = {.max = in->max};
    bool letters = false;
    for (size_t i = 0; i < raw->len;) {
        size_t n = document_utf8_end(raw->s + i, raw->len - i), end = i + n;
        for (; i < end; i++) {
            const unsigned char c = (unsigned char)raw->s[i];
            if (c >= ' ' || c == '\n' || c == '\t')
                document_add(&clean, raw->s + i, 1);
            letters = letters || c > ' ';
        }
        if (i < raw->len) {
            document_add(&clean, "\xef\xbf\xbd", 3);
            i++;
        }
    }
    if (!letters && !clean.st) {
        document_out_free(&clean);
        return kv_fail(err, KV_EUNSUPP, "%s: there is no text in it; where pages are pictures, ocrmypdf adds what they say",
                       in->where);
    }
    return document_out_take(&clean, in->where, &out->text, &out->len, err);
}

kv_status document_pdf_parse(document_input *in, document *out, kv_err *err) {
    child c = {.pid = 0};
    document_out raw = {.max = in->max};
    kv_status st = start(in, &c, err);
    if (st)
        return st;
    st = listen_to(in, &c, &raw, err);
    const int status = finish(&c, st || raw.st);
    if (!st && raw.st)
        st = document_out_take(&raw, in->where, &out->text, &out->len, err);
    else if (!st && !(st = document_go_on(in, 1, err)) && !(st = verdict(in, &c, status, err)))
        st = tidy(in, &raw, out, err);
    document_out_free(&raw);
    return st;
}
