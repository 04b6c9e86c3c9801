/* kvrun-pull: what kvrun becomes for its subcommand pull. */
#include "kvrun/pull.h"

int main(int argc, char **argv) {
    pull_options o;
    const int code = pull_parse(&o, argc, argv);
    return code >= 0 ? code : pull_run(&o);
}
