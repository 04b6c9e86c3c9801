/* Ctrl-C. The one mutable global of the project: a signal handler has nothing else to write to. */
#include "base/atomic_file.h"
#include "cli/cli.h"

#include <signal.h>
#include <unistd.h>

static volatile sig_atomic_t interrupted;

static void leave(void) {
    atomic_file_cleanup();
    _exit(CLI_INTERRUPTED);
}

static void on_signal(int sig) {
    if (sig == SIGTERM || interrupted)
        leave();
    interrupted = 1;
}

void cli_catch_interrupts(void) {
    /* No SA_RESTART: a read from the terminal has to return, so that Ctrl-C at the prompt leaves. */
    struct sigaction sa = {.sa_handler = on_signal};
    sigemptyset(&sa.sa_mask);
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
}

bool cli_interrupted(void) {
    return interrupted;
}

void cli_clear_interrupt(void) {
    interrupted = 0;
}
