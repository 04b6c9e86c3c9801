/* Names of temporaries, and files without any.
 *
 * The names are in `slots`, one of the mutable globals of libfmt, because a signal handler must reach them. Entries are never
 * freed, only used again: a handler that comes at any moment reads valid memory. A file without a name gets one for the moment
 * between link() and rename(), as only rename() replaces a file: a process that is killed right then leaves it behind, to be
 * swept.
 */
#include "base/atomic_temp.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

enum slot_state { SLOT_FREE, SLOT_TAKEN, SLOT_LIVE }; /* live: a file may have the name */

struct atomic_slot {
    _Atomic(int) state;
    char name[PATH_MAX];
};

static atomic_slot slots[ATOMIC_TEMPS];

static const char ending[] = "XXXXXX.tmp";
enum { RANDOM = 6, TRIES = 100 };
static const char letters[] = "abcdefghijklmnopqrstuvwxyz012345";

void atomic_temps_cleanup(void) {
    int saved = errno;
    for (int i = 0; i < ATOMIC_TEMPS; i++)
        if (atomic_load(&slots[i].state) == SLOT_LIVE)
            unlink(slots[i].name);
    errno = saved;
}

static atomic_slot *take_slot(void) {
    for (int i = 0; i < ATOMIC_TEMPS; i++) {
        int expected = SLOT_FREE;
        if (atomic_compare_exchange_strong(&slots[i].state, &expected, SLOT_TAKEN))
            return &slots[i];
    }
    errno = ENFILE;
    return NULL;
}

/* Bytes of the name that the temporary's has room for: a file system ends names somewhere, and characters are not cut. */
static int name_room(const char *target, int folder) {
    enum { USUAL = 255 };
    char *path = folder ? strndup(target, (size_t)folder) : NULL;
    const long most = pathconf(path ? path : ".", _PC_NAME_MAX);
    const int room = (int)(most > 0 && most < PATH_MAX ? most : USUAL) - (int)strlen("..") - (int)strlen(ending);
    const int len = (int)strlen(target + folder);
    int at = room < len ? room : len;
    while (at > 0 && at < len && ((unsigned char)target[folder + at] & 0xC0) == 0x80)
        at--;
    free(path);
    return at > 0 ? at : 0;
}

bool atomic_temp_new(const char *target, atomic_temp *t) {
    const char *slash = strrchr(target, '/');
    *t = (atomic_temp){.folder = slash ? (int)(slash - target) + 1 : 0, .fd = -1};
    if (!(t->slot = take_slot()))
        return false;
    const int len = snprintf(t->slot->name, sizeof t->slot->name, "%.*s.%.*s.%s", t->folder, target,
                             name_room(target, t->folder), target + t->folder, ending);
    if (len < (int)sizeof t->slot->name)
        return true;
    errno = ENAMETOOLONG;
    return false;
}

/* ---- files with names ---- */

/* Random letters, in their place of the name. */
static bool draw_name(const atomic_temp *t) {
    char *at = t->slot->name + strlen(t->slot->name) - strlen(ending);
    unsigned char random[RANDOM];
    if (getrandom(random, sizeof random, 0) != sizeof random)
        return false;
    for (size_t i = 0; i < sizeof random; i++)
        at[i] = letters[random[i] % 32];
    return true;
}

/* A sweeper may have been between the file's creation and its lock: then it is gone. Where locks are not to be had nobody
 * sweeps. */
static bool lock(int fd) {
    struct stat st;
    return flock(fd, LOCK_EX) || fstat(fd, &st) || st.st_nlink > 0;
}

static int open_named(atomic_temp *t) {
    /* Live before it exists: a signal in between finds nothing to remove, instead of leaving a file behind. */
    atomic_store(&t->slot->state, SLOT_LIVE);
    for (int tries = 0; tries < TRIES; tries++) {
        if (!draw_name(t))
            return -1;
        const int fd = open(t->slot->name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd < 0 && errno != EEXIST)
            return -1;
        if (fd >= 0 && lock(fd)) {
            t->named = true;
            return fd;
        }
        if (fd >= 0)
            close(fd);
    }
    return -1;
}

/* Is this the name of a temporary for the same target? */
static bool is_alike(const char *name, const char *ours) {
    const size_t len = strlen(ours), before = len - strlen(ending);
    if (strlen(name) != len || memcmp(name, ours, before) || strcmp(name + before + RANDOM, ours + before + RANDOM))
        return false;
    return strspn(name + before, letters) >= RANDOM;
}

/* Remove what killed processes left. */
static void sweep(const atomic_temp *t) {
    char *path = strndup(t->slot->name, (size_t)t->folder);
    DIR *d = path ? opendir(*path ? path : ".") : NULL;
    free(path);
    for (const struct dirent *e; d && (e = readdir(d));) {
        struct stat st;
        if (!is_alike(e->d_name, t->slot->name + t->folder))
            continue;
        const int fd = openat(dirfd(d), e->d_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd >= 0 && !fstat(fd, &st) && S_ISREG(st.st_mode) && !flock(fd, LOCK_EX | LOCK_NB))
            unlinkat(dirfd(d), e->d_name, 0);
        if (fd >= 0)
            close(fd);
    }
    if (d)
        closedir(d);
}

/* ---- files without names ---- */

typedef struct fd_link {
    char path[32];
} fd_link;

/* The path under which a descriptor can be linked. */
static fd_link link_of(int fd) {
    fd_link l;
    snprintf(l.path, sizeof l.path, "/proc/self/fd/%d", fd);
    return l;
}

/* -1 where the system, the file system or what /proc shows does not allow it. */
static int open_nameless(const atomic_temp *t) {
#ifdef O_TMPFILE
    char *folder = strndup(t->slot->name, (size_t)t->folder);
    const int fd = folder ? open(*folder ? folder : ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0666) : -1;
    free(folder);
    if (fd < 0 || !access(link_of(fd).path, F_OK))
        return fd;
    close(fd);
#else
    (void)t;
#endif
    return -1;
}

static bool write_all(int fd, const char *data, size_t n) {
    for (ssize_t done; n; data += done, n -= (size_t)done)
        if ((done = write(fd, data, n)) < 0) {
            if (errno != EINTR)
                return false;
            done = 0;
        }
    return true;
}

/* As a file with a name after all: the system lets this one have none. */
static bool copy_named(atomic_temp *t) {
    enum { PIECE = 1 << 16 };
    struct stat st;
    char *piece = malloc(PIECE);
    const int to = piece ? open_named(t) : -1;
    bool good = to >= 0;
    ssize_t n = 1;
    for (off_t at = 0; good && n; at += n) {
        n = pread(t->fd, piece, PIECE, at);
        good = n >= 0 && write_all(to, piece, (size_t)n);
    }
    good = good && !fstat(t->fd, &st) && !fchmod(to, st.st_mode & 0777) && !fsync(to);
    const int why = errno;
    if (to >= 0)
        close(to);
    free(piece);
    errno = why;
    return good;
}

static bool give_name(atomic_temp *t) {
    const fd_link from = link_of(t->fd);
    flock(t->fd, LOCK_EX);
    atomic_store(&t->slot->state, SLOT_LIVE);
    for (int tries = 0; tries < TRIES && draw_name(t); tries++) {
        if (!linkat(AT_FDCWD, from.path, AT_FDCWD, t->slot->name, AT_SYMLINK_FOLLOW))
            return t->named = true;
        if (errno != EEXIST)
            break;
    }
    return copy_named(t);
}

/* ---- all of it ---- */

int atomic_temp_open(atomic_temp *t) {
    sweep(t);
    t->fd = open_nameless(t);
    if (t->fd < 0)
        t->fd = open_named(t);
    return t->fd;
}

bool atomic_temp_publish(atomic_temp *t, const char *target) {
    if (!t->named && !give_name(t))
        return false;
    if (rename(t->slot->name, target))
        return false;
    t->named = false;
    return true;
}

void atomic_temp_drop(atomic_temp *t) {
    if (!t->slot)
        return;
    if (t->named)
        unlink(t->slot->name);
    atomic_store(&t->slot->state, SLOT_FREE);
    t->slot = NULL;
}
