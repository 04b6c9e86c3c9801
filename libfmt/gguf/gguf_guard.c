/* Model files that change while they are mapped.
 *
 * A file that becomes shorter takes the pages behind its new end away, and who reads these gets SIGBUS. The handler puts zeros
 * in their place and takes a note; the work goes on with these and fails at its end, where gguf_unchanged is asked. What lies
 * within the file and was changed shows in its size and its time.
 *
 * The places of mappings are in `places`, a mutable global, because a signal handler must reach them. An entry is filled before
 * its address is set, and never freed.
 */
#include "gguf/gguf_internal.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PLACES = 1024 }; /* files beyond these are not guarded */

struct gguf_place {
    _Atomic(uintptr_t) from; /* 0: free; 1: being filled */
    _Atomic(size_t) size;
    _Atomic(bool) lost; /* some of it became zeros */
};

static gguf_place places[PLACES];
static struct sigaction before;

gguf_place *gguf_place_take(const void *map, size_t size) {
    for (int i = 0; i < PLACES; i++) {
        uintptr_t expected = 0;
        if (!atomic_compare_exchange_strong(&places[i].from, &expected, 1))
            continue;
        atomic_store(&places[i].size, size);
        atomic_store(&places[i].lost, false);
        atomic_store(&places[i].from, (uintptr_t)map);
        return &places[i];
    }
    return NULL;
}

void gguf_place_leave(gguf_place *p) {
    if (p)
        atomic_store(&p->from, 0);
}

/* Zeros from the page of an address to the end of its mapping; false: it is none of ours. */
static bool put_zeros(uintptr_t at) {
    const uintptr_t page = at - at % (uintptr_t)sysconf(_SC_PAGESIZE);
    for (int i = 0; i < PLACES; i++) {
        const uintptr_t from = atomic_load(&places[i].from);
        const size_t size = atomic_load(&places[i].size);
        if (from <= 1 || at < from || at - from >= size)
            continue;
        atomic_store(&places[i].lost, true);
        return mmap((void *)page, from + size - page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED;
    }
    return false;
}

static void on_bus(int sig, siginfo_t *info, void *context) {
    const int saved = errno;
    const bool ours = info->si_code == BUS_ADRERR && put_zeros((uintptr_t)info->si_addr);
    errno = saved;
    if (ours)
        return;
    if (before.sa_flags & SA_SIGINFO)
        before.sa_sigaction(sig, info, context);
    else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN)
        before.sa_handler(sig);
    else
        signal(sig, SIG_DFL); /* it comes again at once, and ends the process */
}

kv_status gguf_guard(kv_err *err) {
    static atomic_flag set = ATOMIC_FLAG_INIT;
    struct sigaction sa = {.sa_sigaction = on_bus, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    if (atomic_flag_test_and_set(&set))
        return KV_OK;
    sigemptyset(&sa.sa_mask);
    if (!sigaction(SIGBUS, NULL, &before) && !sigaction(SIGBUS, &sa, NULL))
        return KV_OK;
    atomic_flag_clear(&set);
    return kv_fail(err, KV_EIO, "model files cannot be guarded: %s", strerror(errno));
}

/* Seconds by which a network's file system may change its mind about when a file was written. */
enum { SETTLES = 2 };

static kv_status check_file(const gguf *g, kv_err *err) {
    static const char fix[] = "leave it alone while it is in use, see that it is whole, and start again";
    struct stat now;
    if (fstat(g->fd, &now))
        return kv_fail(err, KV_EIO, "%s: cannot be looked at any more: %s", g->path, strerror(errno));
    if ((size_t)now.st_size < g->size)
        return kv_fail(err, KV_EIO, "%s: has become shorter while it was read, %lld of %zu bytes: %s", g->path,
                       (long long)now.st_size, g->size, fix);
    if ((size_t)now.st_size != g->size || llabs((long long)now.st_mtim.tv_sec - (long long)g->mtime.tv_sec) > SETTLES)
        return kv_fail(err, KV_EIO, "%s: was changed while it was read: %s", g->path, fix);
    if (g->place && atomic_load(&g->place->lost))
        return kv_fail(err, KV_EIO, "%s: some of it could not be read: its disk fails, or it was changed meanwhile", g->path);
    return KV_OK;
}

kv_status gguf_unchanged(const gguf *g, kv_err *err) {
    kv_status st = check_file(g, err);
    for (size_t i = 0; i < g->n_others && !st; i++)
        st = check_file(g->others[i], err);
    return st;
}
