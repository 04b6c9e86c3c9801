#include "kvrun/repl_history.h"

#include "base/atomic_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

void history_entries_free(history_entries *e) {
    for (size_t i = 0; i < e->n; i++)
        free(e->v[i]);
    free(e->v);
    *e = (history_entries){0};
}

/* ---- entries as lines ---- */

/* With its newline; NULL: no memory. */
static char *as_line(const char *text, size_t *len) {
    char *line = malloc(2 * strlen(text) + 2), *at = line;
    if (!line)
        return NULL;
    for (; *text; text++) {
        if (*text == '\n' || *text == '\\')
            *at++ = '\\';
        *at++ = *text == '\n' ? 'n' : *text;
    }
    *at++ = '\n';
    *len = (size_t)(at - line);
    return line;
}

/* In place. False: no entry is written so. */
static bool from_line(char *line) {
    char *to = line;
    for (const char *at = line; *at; at++) {
        if (*at != '\\') {
            *to++ = *at;
            continue;
        }
        if (*++at != 'n' && *at != '\\')
            return false;
        *to++ = *at == 'n' ? '\n' : '\\';
    }
    *to = '\0';
    return to > line;
}

/* ---- the file ---- */

static kv_status split(char *text, history_entries *out, kv_err *err) {
    size_t n = 0;
    for (const char *c = text; *c; c++)
        n += *c == '\n';
    if (!(out->v = calloc(n + 1, sizeof *out->v)))
        return kv_fail(err, KV_ENOMEM, "out of memory for a history of %zu entries", n);
    /* what follows the last newline was cut off */
    for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1) {
        *end = '\0';
        if (!from_line(line))
            continue;
        if (!(out->v[out->n] = strdup(line)))
            return kv_fail(err, KV_ENOMEM, "out of memory for a history of %zu entries", n);
        out->n++;
    }
    return KV_OK;
}

kv_status history_file_read(const char *path, history_entries *out, kv_err *err) {
    char *text;
    size_t len;
    *out = (history_entries){0};
    if (access(path, F_OK) && errno == ENOENT)
        return KV_OK;
    kv_status st = file_read(path, 2 * (size_t)HISTORY_FILE, &text, &len, err);
    if (st)
        return st;
    if ((st = split(text, out, err)))
        history_entries_free(out);
    free(text);
    return st;
}

/* Open it with nobody else at it, until it is closed. Who made it smaller has replaced it meanwhile, perhaps. */
static int open_alone(const char *path) {
    for (;;) {
        struct stat mine, there;
        const int fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
        if (fd < 0)
            return -1;
        if (!flock(fd, LOCK_EX) && !fstat(fd, &mine) && !stat(path, &there)) {
            if (mine.st_ino == there.st_ino && mine.st_dev == there.st_dev)
                return fd;
        } else if (errno != ENOENT && errno != EINTR) {
            close(fd);
            return -1;
        }
        close(fd);
    }
}

/* All of it; a line that was cut off, as by a full disk, is ended first. */
static bool append(int fd, char *line, size_t len) {
    struct stat info;
    char last = '\n';
    if (fstat(fd, &info) || (info.st_size && pread(fd, &last, 1, info.st_size - 1) != 1))
        return false;
    if (last != '\n' && write(fd, "\n", 1) != 1)
        return false;
    errno = ENOSPC; /* of a short write */
    return write(fd, line, len) == (ssize_t)len;
}

/* The newer half stays. */
static kv_status shorten(const char *path, kv_err *err) {
    char *text;
    size_t len;
    kv_status st = file_read(path, (size_t)1 << 30, &text, &len, err);
    if (st)
        return st;
    const char *from = len > HISTORY_FILE / 2 ? strchr(text + len - HISTORY_FILE / 2, '\n') : NULL;
    st = from ? file_write(path, from + 1, len - (size_t)(from + 1 - text), err) : KV_OK;
    free(text);
    return st;
}

kv_status history_file_add(const char *path, const char *text, kv_err *err) {
    struct stat info;
    size_t len;
    char *line = as_line(text, &len);
    kv_status st = KV_OK;
    if (!line)
        return kv_fail(err, KV_ENOMEM, "out of memory for the history");
    if (len > HISTORY_ENTRY || len < 2) {
        free(line);
        return KV_OK;
    }
    const int fd = open_alone(path);
    if (fd < 0 || fstat(fd, &info) || ((info.st_mode & 077) && fchmod(fd, 0600)) || !append(fd, line, len))
        st = kv_fail(err, KV_EIO, "%s: the history cannot be written: %s", path, strerror(errno));
    else if (info.st_size > HISTORY_FILE)
        st = shorten(path, err);
    if (fd >= 0)
        close(fd);
    free(line);
    return st;
}
