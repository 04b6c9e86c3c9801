/* kvrun pull: get a model, by its name or address. */
#include "cli/cli.h"
#include "kvrun/cmd.h"
#include "kvrun/pull.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char program[] = "kvrun-pull";

/* Beside kvrun, where both were built; or where it was installed, seen from there (CMake says how). */
int cmd_pull(int argc, char **argv) {
    static const char *const places[] = {"", KV_LIBEXEC_FROM_BIN "/"};
    char own[PATH_MAX], path[PATH_MAX + 256];
    pull_options o;
    const int code = pull_parse(&o, argc, argv); /* help and what is wrong need nobody else */
    if (code >= 0)
        return code;
    char *slash = realpath("/proc/self/exe", own) ? strrchr(own, '/') : NULL;
    if (slash)
        slash[1] = '\0';
    for (size_t i = 0; slash && i < sizeof places / sizeof *places; i++) {
        snprintf(path, sizeof path, "%s%s%s", own, places[i], program);
        execv(path, argv);
        if (errno != ENOENT && errno != ENOTDIR)
            break;
    }
    cli_complain(pull_tool,
                 "the program %s, which fetches models, cannot be run: %s; it belongs to kvrun and is installed with it",
                 program, strerror(errno));
    return CLI_FAIL;
}
