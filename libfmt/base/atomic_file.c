/* Files that appear whole or not at all.
 *
 * The temporary ".NAME.XXXXXX.tmp", with as much of the name as there is room for, lies in the folder of the target, so that
 * rename() is atomic. A target that is a symbolic link is resolved first: the file behind it is replaced, not the link. What
 * cannot be replaced (a pipe, a terminal, a device) is written straight away; commit and abort then only close it.
 *
 * The names of unfinished temporaries are in `live`, the one mutable global of libfmt, because a signal handler must reach
 * them. Its entries are never freed, only used again: a handler that comes at any moment reads valid memory.
 */
#include "base/atomic_file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_LIVE = 128 };                              /* parts of a model, for example */
enum slot_state { SLOT_FREE, SLOT_TAKEN, SLOT_LIVE }; /* taken: by a thread that is still writing the name */

typedef struct temp_slot {
    _Atomic(int) state;
    char name[PATH_MAX];
} temp_slot;

static temp_slot live[MAX_LIVE];

struct atomic_file {
    FILE *stream;
    char *path;      /* as the caller wrote it, for messages */
    char *target;    /* links resolved */
    temp_slot *temp; /* NULL: written straight */
};

static temp_slot *take_slot(void) {
    for (int i = 0; i < MAX_LIVE; i++) {
        int expected = SLOT_FREE;
        if (atomic_compare_exchange_strong(&live[i].state, &expected, SLOT_TAKEN))
            return &live[i];
    }
    return NULL;
}

void atomic_file_cleanup(void) {
    int saved = errno;
    for (int i = 0; i < MAX_LIVE; i++)
        if (atomic_load(&live[i].state) == SLOT_LIVE)
            unlink(live[i].name);
    errno = saved;
}

static void release(atomic_file *f) {
    if (f->stream)
        fclose(f->stream);
    if (f->temp)
        atomic_store(&f->temp->state, SLOT_FREE);
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

/* Where to write: sets f->target, or leaves it NULL where the path must be written straight. *mode: of the existing file, or
 * 0666 for the umask to cut. */
static kv_status resolve_target(atomic_file *f, mode_t *mode, bool *exists, kv_err *err) {
    struct stat st;
    *mode = 0666;
    *exists = stat(f->path, &st) == 0;
    if (!*exists) {
        if (errno != ENOENT)
            return fail_errno(err, f->path, "cannot write");
        if (lstat(f->path, &st) == 0)
            return kv_fail(err, KV_EIO, "%s: is a symbolic link to nothing (remove it, or make its target)", f->path);
        size_t len = strlen(f->path);
        if (!len || f->path[len - 1] == '/')
            return kv_fail(err, KV_EIO, "%s: is not the name of a file", len ? f->path : "(empty path)");
        f->target = strdup(f->path);
    } else if (S_ISDIR(st.st_mode)) {
        return kv_fail(err, KV_EIO, "%s: is a directory (name a file in it)", f->path);
    } else if (atomic_file_is_straight(f->path, &st)) {
        return KV_OK;
    } else {
        if (access(f->path, W_OK) != 0)
            return fail_errno(err, f->path, "cannot write"); /* rename would replace a write-protected file */
        *mode = st.st_mode & 0777;
        f->target = realpath(f->path, NULL);
    }
    return f->target ? KV_OK : fail_errno(err, f->path, "cannot resolve");
}

/* Create a temporary with random letters in place of the six X at `at`. Like mkstemp, but with permissions as the umask gives
 * them. -1 and errno on failure. */
static int open_temp(const char *name, char *at) {
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz012345";
    for (int tries = 0; tries < 100; tries++) {
        unsigned char random[6];
        if (getrandom(random, sizeof random, 0) != sizeof random)
            return -1;
        for (size_t i = 0; i < sizeof random; i++)
            at[i] = letters[random[i] % 32];
        int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd >= 0 || errno != EEXIST)
            return fd;
    }
    return -1;
}

/* Bytes of the name that the temporary's has room for: a file system ends names somewhere, and characters are not cut. */
static int name_room(const char *target, int folder) {
    enum { USUAL = 255 };
    static const char more[] = "..XXXXXX.tmp";
    char *path = folder ? strndup(target, (size_t)folder) : NULL;
    const long most = pathconf(path ? path : ".", _PC_NAME_MAX);
    const int room = (int)(most > 0 && most < PATH_MAX ? most : USUAL) - (int)strlen(more), len = (int)strlen(target + folder);
    int at = room < len ? room : len;
    while (at > 0 && at < len && ((unsigned char)target[folder + at] & 0xC0) == 0x80)
        at--;
    free(path);
    return at > 0 ? at : 0;
}

static kv_status open_beside(atomic_file *f, mode_t mode, bool exists, kv_err *err) {
    const char *slash = strrchr(f->target, '/');
    int folder = slash ? (int)(slash - f->target) + 1 : 0;
    f->temp = take_slot();
    if (!f->temp)
        return kv_fail(err, KV_EINVAL, "%s: more than %d files are being written at once", f->path, MAX_LIVE);
    char *name = f->temp->name;
    int len = snprintf(name, sizeof f->temp->name, "%.*s.%.*s.XXXXXX.tmp", folder, f->target, name_room(f->target, folder),
                       f->target + folder);
    if (len >= (int)sizeof f->temp->name)
        return kv_fail(err, KV_EIO, "%s: the path is too long", f->path);
    /* Live before it exists: a signal in between finds nothing to remove, instead of leaving a file behind. */
    atomic_store(&f->temp->state, SLOT_LIVE);
    int fd = open_temp(name, name + len - strlen("XXXXXX.tmp"));
    if (fd < 0)
        return fail_errno(err, f->path, "cannot create a temporary file beside it");
    if (exists)
        fchmod(fd, mode); /* where a file system has no modes, the umask's will do */
    f->stream = fdopen(fd, "w");
    if (!f->stream) {
        close(fd);
        unlink(name);
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

    mode_t mode;
    bool exists;
    kv_status st = resolve_target(f, &mode, &exists, err);
    if (st != KV_OK)
        goto done;
    if (f->target) {
        st = open_beside(f, mode, exists, err);
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
    if (fflush(f->stream) != 0 || (f->temp && fsync(fileno(f->stream)) != 0))
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
        if (files[named]->temp && rename(files[named]->temp->name, files[named]->target) != 0) {
            st = fail_errno(err, files[named]->path, "cannot rename the finished temporary file");
            break;
        }
    for (size_t i = 0; i < n; i++) {
        if (st && i < named && files[i]->temp)
            unlink(files[i]->target);
        if (st)
            atomic_file_abort(files[i]);
        else if (files[i]->temp)
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
    if (f->temp)
        unlink(f->temp->name);
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
