/* The places of mappings are in `places`, a mutable global, because a signal handler must reach them. An entry is filled before
 * its address is set, and never freed. */
#include "base/map_guard.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PLACES = 1024 }; /* files beyond these are not guarded */

struct map_guard {
    _Atomic(uintptr_t) from; /* 0: free; 1: being filled */
    _Atomic(size_t) size;
    _Atomic(bool) lost; /* some of it became zeros */
};

static map_guard places[PLACES];
static struct sigaction before;

map_guard *map_guard_take(const void *map, size_t size) {
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

void map_guard_leave(map_guard *g) {
    if (g)
        atomic_store(&g->from, 0);
}

bool map_guard_lost(const map_guard *g) {
    return g && atomic_load(&g->lost);
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

bool map_guard_start(void) {
    static atomic_flag set = ATOMIC_FLAG_INIT;
    struct sigaction sa = {.sa_sigaction = on_bus, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    if (atomic_flag_test_and_set(&set))
        return true;
    sigemptyset(&sa.sa_mask);
    if (!sigaction(SIGBUS, NULL, &before) && !sigaction(SIGBUS, &sa, NULL))
        return true;
    atomic_flag_clear(&set);
    return false;
}
