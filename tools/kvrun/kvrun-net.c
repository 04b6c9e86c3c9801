/* kvrun-net: what kvrun becomes for its subcommands serve, client and pull. */
#include "kvrun/client_main.h"
#include "kvrun/pull_main.h"
#include "kvrun/serve_main.h"

#include <string.h>

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        int (*run)(int argc, char **argv);
    } parts[] = {{"client", client_main}, {"pull", pull_main}};
    for (size_t i = 0; argc && i < sizeof parts / sizeof *parts; i++)
        if (strstr(argv[0], parts[i].name))
            return parts[i].run(argc, argv);
    return serve_main(argc, argv);
}
