/* Files that appear whole or not at all: finished elsewhere (atomic_temp.h), and then given their name by rename(), which is
 * atomic. A target that is a symbolic link is resolved first: the file behind it is replaced, not the link. What cannot be
 * replaced (a pipe, a terminal, a device) is written straight away; commit and abort then only close it.
 */
#include "base/atomic_file.h"

#include "base/atomic_temp.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct atomic_file {
    FILE *stream;
    char *path;       /* as the caller wrote it, for messages */
    char *target;     /* links resolved */
    atomic_temp temp; /* of what is not written straight */
    bool lazy;        /* need not be on the disk when it gets its name */
};

void atomic_file_cleanup(void) {
    atomic_temps_cleanup();
}

static void release(atomic_file *f) {
    if (f->stream)
        fclose(f->stream);
    atomic_temp_drop(&f->temp);
    free(f->target);
    free(f->path);
    free(f);
}

static kv_status fail_errno(kv_err *err, const char *path, const char *what) {
    int code = errno;
    const char *fix = code == ENOSPC || code == EDQUOT ? " (free some space or write elsewhere)" : "";
    return kv_fail(err, KV_EIO, "%s: %s: %s%s", path, what, strerror(code), fix);
}

bool atomic_file_is_straight(const char *path, const struct stat *there) {
    return !S_ISREG(there->st_mode) || !strncmp(path, "/dev/", 5);
}

/* Where to write: sets f->target, or leaves it NULL where the path must be written straight. *old: the file that is there. */
static kv_status resolve_target(atomic_file *f, struct stat *old, bool *exists, kv_err *err) {
    struct stat st;
    *exists = stat(f->path, old) == 0;
    if (!*exists) {
        if (errno != ENOENT)
            return fail_errno(err, f->path, "cannot write");
        if (lstat(f->path, &st) == 0 && S_ISLNK(st.st_mode)) /* not a file that somebody has put there just now */
            return kv_fail(err, KV_EIO, "%s: is a symbolic link to nothing (remove it, or make its target)", f->path);
        size_t len = strlen(f->path);
        if (!len || f->path[len - 1] == '/')
            return kv_fail(err, KV_EIO, "%s: is not the name of a file", len ? f->path : "(empty path)");
        f->target = strdup(f->path);
    } else if (S_ISDIR(old->st_mode)) {
        return kv_fail(err, KV_EIO, "%s: is a directory (name a file in it)", f->path);
    } else if (atomic_file_is_straight(f->path, old)) {
        return KV_OK;
    } else {
        if (access(f->path, W_OK) != 0 && errno != ENOENT)
            return fail_errno(err, f->path, "cannot write"); /* rename would replace a write-protected file */
        f->target = realpath(f->path, NULL);
        if (!f->target && errno == ENOENT) { /* somebody has removed it just now */
            *exists = false;
            f->target = strdup(f->path);
        }
    }
    return f->target ? KV_OK : fail_errno(err, f->path, "cannot resolve");
}

/* Permissions and owners of the file that is replaced, as far as the system lets us: its group's permissions are not for
 * another group. Where a file system has no modes, the umask's will do. */
static void keep_owner(int fd, const struct stat *old) {
    const bool same = !fchown(fd, old->st_uid, old->st_gid) || !fchown(fd, (uid_t)-1, old->st_gid);
    fchmod(fd, old->st_mode & (same ? 0777 : 0707));
}

static kv_status open_beside(atomic_file *f, const struct stat *old, kv_err *err) {
    if (!atomic_temp_new(f->target, &f->temp))
        return errno == ENFILE
                   ? kv_fail(err, KV_EINVAL, "%s: more than %d files are being written at once", f->path, ATOMIC_TEMPS)
                   : kv_fail(err, KV_EIO, "%s: the path is too long", f->path);
    const int fd = atomic_temp_open(&f->temp);
    if (fd < 0)
        return fail_errno(err, f->path, "cannot create a temporary file beside it");
    if (old)
        keep_owner(fd, old);
    f->stream = fdopen(fd, "w");
    if (!f->stream) {
        close(fd);
        return fail_errno(err, f->path, "cannot open");
    }
    return KV_OK;
}

kv_status atomic_file_open(const char *path, atomic_file **out, kv_err *err) {
    atomic_file *f = calloc(1, sizeof *f);
    if (!f || !(f->path = strdup(path))) {
        free(f);
        return kv_fail(err, KV_ENOMEM, "%s: out of memory", path);
    }

    struct stat old;
    bool exists;
    kv_status st = resolve_target(f, &old, &exists, err);
    if (st != KV_OK)
        goto done;
    if (f->target) {
        st = open_beside(f, exists ? &old : NULL, err);
    } else {
        f->stream = fopen(path, "ae"); /* append: never cut what a redirected stdout has received already */
        if (!f->stream)
            st = fail_errno(err, path, "cannot open");
    }
done:
    if (st == KV_OK)
        *out = f;
    else
        release(f);
    return st;
}

kv_status atomic_file_check(const char *path, kv_err *err) {
    atomic_file *f = NULL;
    struct stat st;
    /* To open a pipe for nothing would keep its reader waiting, or end what it reads. */
    if (!stat(path, &st) && !S_ISDIR(st.st_mode) && atomic_file_is_straight(path, &st))
        return access(path, W_OK) ? fail_errno(err, path, "cannot write") : KV_OK;
    kv_status status = atomic_file_open(path, &f, err);
    if (!status)
        atomic_file_abort(f);
    return status;
}

kv_status atomic_file_as_cache(atomic_file *f, kv_err *err) {
    f->lazy = true;
    return f->target && fchmod(fileno(f->stream), S_IRUSR | S_IWUSR) ? fail_errno(err, f->path, "cannot be made private")
                                                                     : KV_OK;
}

FILE *atomic_file_stream(atomic_file *f) {
    return f->stream;
}

/* Make the new name itself durable. A file system that cannot sync folders is no reason to fail: the file is whole. */
static void sync_folder(const char *target) {
    char folder[PATH_MAX];
    if (snprintf(folder, sizeof folder, "%s", target) >= (int)sizeof folder)
        return;
    int fd = open(dirname(folder), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    fsync(fd);
    close(fd);
}

/* All of it is on the disk. */
static kv_status finish(const atomic_file *f, kv_err *err) {
    const bool failed_before = ferror(f->stream);
    if (fflush(f->stream) != 0 || (f->target && !f->lazy && fsync(fileno(f->stream)) != 0))
        return fail_errno(err, f->path, "cannot write");
    if (failed_before) /* errno of that write is long gone */
        return kv_fail(err, KV_EIO, "%s: could not be written in full (is the disk full?)", f->path);
    return KV_OK;
}

kv_status atomic_files_commit(atomic_file *const *files, size_t n, kv_err *err) {
    kv_status st = KV_OK;
    size_t named = 0;
    for (size_t i = 0; !st && i < n; i++)
        st = finish(files[i], err);
    for (; !st && named < n; named++)
        if (files[named]->target && !atomic_temp_publish(&files[named]->temp, files[named]->target)) {
            st = fail_errno(err, files[named]->path, "cannot give the finished file its name");
            break;
        }
    for (size_t i = 0; i < n; i++) {
        if (st && i < named && files[i]->target)
            unlink(files[i]->target);
        if (st)
            atomic_file_abort(files[i]);
        else if (files[i]->target && !files[i]->lazy)
            sync_folder(files[i]->target);
        if (!st)
            release(files[i]);
    }
    return st;
}

kv_status atomic_file_commit(atomic_file *f, kv_err *err) {
    return atomic_files_commit(&f, 1, err);
}

void atomic_file_abort(atomic_file *f) {
    if (!f)
        return;
    release(f);
}

kv_status stream_read(FILE *f, const char *where, size_t max, char **out, size_t *len, kv_err *err) {
    kv_status st = KV_OK;
    char *data = NULL;
    size_t have = 0, cap = 0;
    /* By reading, not by asking for the size: works for pipes, and a wrong size cannot hurt. */
    do {
        if (have + 1 >= cap) {
            cap = cap ? 2 * cap : 1 << 16;
            char *grown = realloc(data, cap);
            if (!grown) {
                st = kv_fail(err, KV_ENOMEM, "%s: out of memory", where);
                goto done;
            }
            data = grown;
        }
        have += fread(data + have, 1, cap - have - 1, f);
        if (ferror(f)) {
            st = fail_errno(err, where, "cannot read");
            goto done;
        }
        if (have > max) {
            st = kv_fail(err, KV_ERANGE, "%s: is larger than %zu bytes", where, max);
            goto done;
        }
    } while (!feof(f));
    data[have] = 0;
    *out = data;
    *len = have;
    data = NULL;
done:
    free(data);
    return st;
}

kv_status file_read(const char *path, size_t max, char **out, size_t *len, kv_err *err) {
    FILE *f = fopen(path, "re");
    if (!f)
        return fail_errno(err, path, "cannot open");
    kv_status st = stream_read(f, path, max, out, len, err);
    fclose(f);
    return st;
}

kv_status file_write(const char *path, const void *data, size_t len, kv_err *err) {
    atomic_file *f;
    kv_status st = atomic_file_open(path, &f, err);
    if (st != KV_OK)
        return st;
    if (fwrite(data, 1, len, f->stream) != len) {
        st = fail_errno(err, path, "cannot write");
        atomic_file_abort(f);
        return st;
    }
    return atomic_file_commit(f, err);
}
