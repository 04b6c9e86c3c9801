/* kvrun-net: what kvrun becomes for subcommands that ask others. */
#include "cli/cli.h"
#include "kvrun/net.h"

#include <string.h>

static int pull(int argc, char **argv) {
    pull_options o;
    const int code = pull_parse(&o, argc, argv);
    return code >= 0 ? code : pull_run(&o);
}

static int client(int argc, char **argv) {
    client_options o;
    const int code = client_parse(&o, argc, argv);
    return code >= 0 ? code : client_run(&o);
}

int main(int argc, char **argv) {
    const bool is_client = argc && !strcmp(argv[0], "client");
    return is_client ? client(argc, argv) : pull(argc, argv);
}
