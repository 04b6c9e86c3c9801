/* How long the threads of a tool wait for each other by spinning; linked into every program.
 *
 * By default libgomp spins for many milliseconds before it sleeps. With anything else running, a thread that waits burns the
 * very time slice that the other one needs, and decoding becomes a hundred times slower; a short spin costs nothing where cores
 * are free. OpenMP libraries read their settings while they are loaded, before main and before any constructor of the program,
 * so they are set from .preinit_array, which the loader runs first. What the user has set stays.
 */
#include <stdlib.h>

static void spin_shortly(void) {
    if (getenv("OMP_WAIT_POLICY"))
        return;
    setenv("GOMP_SPINCOUNT", "10000", 0); /* gcc: rounds, about 0.2 ms */
    setenv("KMP_BLOCKTIME", "0", 0);      /* clang: milliseconds */
}

__attribute__((section(".preinit_array"), used)) static void (*const hook)(void) = spin_shortly;
