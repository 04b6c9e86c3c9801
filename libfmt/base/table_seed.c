#include "base/table_seed.h"

#include "base/splitmix64.h"

#include <time.h>
#include <unistd.h>

uint64_t table_seed(void) {
    uint64_t seed;
    struct timespec now = {0};
    if (!getentropy(&seed, sizeof seed))
        return seed;
    clock_gettime(CLOCK_MONOTONIC, &now); /* a system that has none to give: hard to guess will do */
    seed = (uint64_t)now.tv_nsec << 32 ^ (uint64_t)now.tv_sec ^ (uint64_t)(uintptr_t)&seed;
    return splitmix64(&seed);
}
