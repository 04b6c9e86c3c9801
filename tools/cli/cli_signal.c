/* Signals. Next to names of temporaries and places of mappings the one mutable global of the project: a signal handler has
 * nothing else to write to. */
#include "base/atomic_file.h"
#include "cli/cli.h"
#include "gguf/gguf.h"

#include <signal.h>
#include <string.h>
#include <sys/time.h>
#include <termios.h>
#include <unistd.h>

static volatile sig_atomic_t interrupted, kind, leaving, guarded;
static struct termios terminal; /* as it was found, if guarded */

/* How long work may take to see that it is to stop. */
static const struct itimerval patience = {.it_value = {.tv_usec = 100000}};

static void leave(void) {
    static const char unmarked[] = "\033[?2004l";
    if (guarded) {
        tcsetattr(STDIN_FILENO, TCSANOW, &terminal);
        (void)!write(STDERR_FILENO, unmarked, strlen(unmarked));
    }
    atomic_file_cleanup();
    _exit(CLI_INTERRUPTED);
}

/* Nothing of the work is asked whether to go on: it is left where it is. */
static void on_alarm(int sig) {
    static const char said[] = "\nerror: interrupted\n";
    (void)sig;
    (void)!write(STDERR_FILENO, said, strlen(said));
    leave();
}

static void on_signal(int sig) {
    if (sig != SIGINT && kind == CLI_KEEPING && !interrupted) {
        interrupted = leaving = 1;
        return;
    }
    if (sig != SIGINT || interrupted || kind == CLI_AT_ONCE)
        leave();
    interrupted = 1;
    if (kind == CLI_SOON)
        setitimer(ITIMER_REAL, &patience, NULL);
}

/* Whoever reads us has left: the usual end, but nothing half-written stays. */
static void on_pipe(int sig) {
    atomic_file_cleanup();
    signal(sig, SIG_DFL);
    raise(sig);
}

static void take(int sig, void (*handler)(int)) {
    /* No SA_RESTART: a read from the terminal has to return, so that Ctrl-C at the prompt leaves. */
    struct sigaction sa = {.sa_handler = handler}, was;
    sigemptyset(&sa.sa_mask);
    if (sig != SIGINT && !sigaction(sig, NULL, &was) && was.sa_handler == SIG_IGN) /* as nohup has it */
        return;
    sigaction(sig, &sa, NULL);
}

void cli_catch_signals(cli_interrupt how) {
    kind = how;
    take(SIGINT, on_signal);
    take(SIGTERM, on_signal);
    take(SIGHUP, on_signal);
    take(SIGALRM, on_alarm);
    take(SIGPIPE, on_pipe);
    signal(SIGXFSZ, SIG_IGN); /* a file that may not grow further is an error of writing */
    gguf_guard(NULL);         /* without it, a model that is cut short ends the process: nothing else is lost */
}

bool cli_interrupted(void) {
    return interrupted;
}

bool cli_go_on(void *unused, double done) {
    (void)unused, (void)done;
    return !cli_interrupted();
}

void cli_clear_interrupt(void) {
    interrupted = 0;
}

bool cli_told_to_leave(void) {
    return leaving;
}

void cli_guard_terminal(void) {
    guarded = 0;
    guarded = !tcgetattr(STDIN_FILENO, &terminal);
}
