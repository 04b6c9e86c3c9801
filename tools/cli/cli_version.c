/* What --version says. */
#include "cli/cli_internal.h"
#include "kernels/kernels.h"

#define TEXT_(x) #x
#define TEXT(x)  TEXT_(x)
#if defined(__clang__)
#define COMPILER "clang " TEXT(__clang_major__) "." TEXT(__clang_minor__) "." TEXT(__clang_patchlevel__)
#else
#define COMPILER "gcc " TEXT(__GNUC__) "." TEXT(__GNUC_MINOR__) "." TEXT(__GNUC_PATCHLEVEL__)
#endif

void cli_version(const char *tool) {
    printf("%s %s (%s; " COMPILER ", " KV_BUILD_TYPE ")\ninstruction sets:", tool, KV_TOOL_VERSION,
           rt_cpu_name(rt_cpu_detect()));
    for (rt_cpu isa = 0; isa < RT_CPU_COUNT; isa++)
        if (rt_kernels_built(isa))
            printf(" %s", rt_cpu_name(isa));
    putchar('\n');
}
