#include "kvrun/become.h"

#include "cli/cli.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int become(const char *tool, const char *program, char **argv) {
    static const char *const places[] = {"", KV_LIBEXEC_FROM_BIN "/"};
    char own[PATH_MAX], path[PATH_MAX + 256], name[64];
    char *slash = realpath("/proc/self/exe", own) ? strrchr(own, '/') : NULL;
    snprintf(name, sizeof name, "%s", tool);
    argv[0] = name;
    if (slash)
        slash[1] = '\0';
    for (size_t i = 0; slash && i < sizeof places / sizeof *places; i++) {
        snprintf(path, sizeof path, "%s%s%s", own, places[i], program);
        execv(path, argv);
        if (errno != ENOENT && errno != ENOTDIR)
            break;
    }
    cli_complain(tool, "the program %s, which does this, cannot be run: %s; it belongs to kvrun and is installed with it",
                 program, strerror(errno));
    return CLI_FAIL;
}
