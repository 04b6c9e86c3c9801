/* kvrun-net: what kvrun becomes for its subcommands serve and client. */
#include "kvrun/client_main.h"
#include "kvrun/serve_main.h"

#include <string.h>

int main(int argc, char **argv) {
    return argc && strstr(argv[0], "client") ? client_main(argc, argv) : serve_main(argc, argv);
}
