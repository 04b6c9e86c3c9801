/* Progress with ETA.
 *
 * On a terminal a bar is redrawn in place at most ten times a second; elsewhere (logs) a line comes every ten seconds, so that
 * short runs leave no trace there.
 */
#include "base/clock.h"
#include "cli/cli.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const double redraw = 0.1, log_every = 10.0;

void cli_progress_start(cli_progress *p, const char *label, bool quiet) {
    const double now = clock_now();
    const bool tty = isatty(STDERR_FILENO);
    *p = (cli_progress){
        .label = label, .started = now, .last = tty ? now - 2 * redraw : now, .tty = tty, .quiet = quiet}; /* a bar at once */
}

static void duration(double seconds, char *buf, size_t size) {
    if (!(seconds < 360000)) {
        snprintf(buf, size, "--:--");
        return;
    }
    long s = lround(seconds);
    if (s >= 3600)
        snprintf(buf, size, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
    else
        snprintf(buf, size, "%ld:%02ld", s / 60, s % 60);
}

void cli_progress_set(cli_progress *p, double done) {
    double now = clock_now();
    if (p->quiet || now - p->last < (p->tty ? redraw : log_every))
        return;
    done = done < 0 ? 0 : done > 1 ? 1 : done;
    p->last = now;
    char eta[32];
    duration(done > p->from ? (now - p->started) * (1 - done) / (done - p->from) : INFINITY, eta, sizeof eta);
    if (!p->tty) {
        fprintf(stderr, "%s: %.0f %%, %s left\n", p->label, 100 * done, eta);
        return;
    }
    enum { CELLS = 30, REST = sizeof " []  100 %  00:00:00 left" };
    char bar[CELLS + 1];
    const int room = (int)cli_width(STDERR_FILENO) - (int)strlen(p->label) - REST;
    const int cells = room < 0 ? 0 : room < CELLS ? room : CELLS; /* a line that is too long would be drawn below itself */
    for (int i = 0; i < cells; i++)
        bar[i] = i < (int)(done * cells) ? '#' : '.';
    bar[cells] = '\0';
    fprintf(stderr, "\r%s [%s] %3.0f %%  %s left\033[K", p->label, bar, 100 * done, eta);
    fflush(stderr);
    p->shown = true;
}

void cli_progress_end(cli_progress *p) {
    if (p->shown)
        fputs("\r\033[K", stderr);
    p->shown = false;
}

bool cli_progress_show(void *bar, double done) {
    cli_progress_set(bar, done);
    return !cli_interrupted();
}
