/* Files of payload/ that belong to nobody: of a process that was killed between naming files and committing their row, or
 * between committing a removal and removing files, or while it added something.
 *
 * What is being added has names "new-LETTERS.*", or, while atomic_file.h writes it, ".new-LETTERS.*". Beside them lies
 * new-LETTERS.lock, which the process that adds holds locked: so whoever gets the lock knows that it has died. The lock is made
 * first and goes last. Files of any other name are not ours, and stay.
 */
#include "library/library_internal.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

static const char letters[] = "abcdefghijklmnopqrstuvwxyz012345", new[] = "new-", lock_kind[] = "lock";
enum { LETTERS = 8, STEM = sizeof new - 1 + LETTERS, TRIES = 100 };
_Static_assert((int)STEM < (int)LIBRARY_STEM, "a stem has room");

static bool seize(int fd) {
    return !flock(fd, LOCK_EX | LOCK_NB);
}

/* A sweeper may have been between the file's creation and its lock: then it is gone, or will be. Where locks are not to be had,
 * nobody sweeps. */
static bool is_ours(int fd) {
    struct stat there;
    return seize(fd) ? !fstat(fd, &there) && there.st_nlink > 0 : errno != EWOULDBLOCK;
}

kv_status library_reserve(const library *l, char stem[LIBRARY_STEM], int *lock, kv_err *err) {
    unsigned char random[LETTERS];
    *lock = -1;
    for (int tries = 0; tries < TRIES && *lock < 0; tries++) {
        if (getrandom(random, sizeof random, 0) != sizeof random)
            break;
        memcpy(stem, new, sizeof new);
        for (int i = 0; i < LETTERS; i++)
            stem[STEM - LETTERS + i] = letters[random[i] % 32];
        stem[STEM] = '\0';
        char *path = library_payload(l, "%s.%s", stem, lock_kind);
        if (!path)
            return library_memory(err);
        *lock = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        const int why = errno;
        free(path);
        errno = why;
        if (*lock < 0 && errno != EEXIST)
            break;
        if (*lock >= 0 && !is_ours(*lock)) {
            close(*lock);
            *lock = -1;
        }
    }
    return *lock < 0 ? kv_fail(err, KV_EIO, "%.500s: cannot make a file there: %m", l->payload) : KV_OK;
}

/* The document that a file belongs to by its name, or -1. */
static int64_t id_of(const char *name) {
    char *end;
    if (!isdigit((unsigned char)*name))
        return -1;
    errno = 0;
    const long long id = strtoll(name, &end, 10);
    return !errno && (!strcmp(end, ".kv") || !strcmp(end, ".txt")) ? id : -1;
}

/* The stem of what is being added, or was; NULL: it is no such file. */
static const char *stem_of(const char *name) {
    name += *name == '.';
    const bool ours = !strncmp(name, new, strlen(new)) && strspn(name + strlen(new), letters) == LETTERS && name[STEM] == '.';
    return ours ? name : NULL;
}

static bool is_lock(const char *name) {
    return !strcmp(name + STEM + 1, lock_kind);
}

/* Whether the process that has this stem is dead. */
static bool is_dead(int folder, const char *stem) {
    char name[LIBRARY_STEM + sizeof lock_kind];
    snprintf(name, sizeof name, "%.*s.%s", STEM, stem, lock_kind);
    const int fd = openat(folder, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    const bool dead = fd < 0 ? errno == ENOENT : seize(fd);
    if (fd >= 0)
        close(fd);
    return dead;
}

static DIR *open_folder(const library *l, kv_err *err) {
    DIR *d = opendir(l->payload);
    if (!d)
        kv_fail(err, KV_EIO, "%.500s: cannot list its files: %m", l->payload);
    return d;
}

kv_status library_count_payloads(const library *l, size_t *out, kv_err *err) {
    struct stat there;
    *out = 0;
    if (stat(l->payload, &there) && errno == ENOENT)
        return KV_OK;
    DIR *d = open_folder(l, err);
    if (!d)
        return KV_EIO;
    for (const struct dirent *e; (e = readdir(d));)
        *out += id_of(e->d_name) >= 0;
    closedir(d);
    return KV_OK;
}

static kv_status sweep_file(library *l, int folder, const char *name, bool locks, kv_err *err) {
    const char *stem = stem_of(name);
    const int64_t id = id_of(name);
    int64_t rows = 1;
    if (id >= 0 && !locks) {
        kv_status st = library_number(l, "SELECT count(*) FROM document WHERE id = ?1", id, &rows, err);
        if (st)
            return st;
    }
    if (!rows || (stem && is_lock(stem) == locks && is_dead(folder, stem)))
        unlinkat(folder, name, 0);
    return KV_OK;
}

kv_status library_sweep(library *l, kv_err *err) {
    DIR *d = open_folder(l, err);
    if (!d)
        return KV_EIO;
    kv_status st = library_begin(l, err);
    for (int locks = 0; locks < 2 && !st; locks++) {
        rewinddir(d);
        for (const struct dirent *e; !st && (e = readdir(d));)
            st = sweep_file(l, dirfd(d), e->d_name, locks, err);
    }
    closedir(d);
    return library_end(l, st, err);
}
