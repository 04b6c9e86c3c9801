/* Where the shipped profiles are, from where this code is: the program, or a shared library in it. CMake says how the
 * directories of an installed tree lie to each other (KV_FROM_BIN, KV_FROM_LIB, KV_FROM_LIBEXEC). */
#include "shipped/shipped.h"

#include <limits.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct finding {
    uintptr_t address;
    const char *name; /* of the object that holds the address; "": the program itself */
    bool first;
} finding;

/* The program comes first. */
static int visit_object(struct dl_phdr_info *info, size_t size, void *user) {
    (void)size;
    finding *f = user;
    const bool program = f->first;
    f->first = false;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const uintptr_t from = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
        if (info->dlpi_phdr[i].p_type == PT_LOAD && f->address >= from && f->address - from < info->dlpi_phdr[i].p_memsz) {
            f->name = program ? "" : info->dlpi_name;
            return 1;
        }
    }
    return 0;
}

/* The directory that the program or library is in, without links; false: not known. */
static bool own_directory(char out[PATH_MAX]) {
    static const char here;
    finding f = {.address = (uintptr_t)&here, .first = true};
    dl_iterate_phdr(visit_object, &f);
    char *slash = f.name && realpath(*f.name ? f.name : "/proc/self/exe", out) ? strrchr(out, '/') : NULL;
    if (slash)
        *slash = '\0';
    return slash != NULL;
}

static bool is_directory(const char *path) {
    struct stat st;
    return !stat(path, &st) && S_ISDIR(st.st_mode);
}

void shipped_directory(char out[SHIPPED_PATH]) {
    static const char *const ways[] = {KV_FROM_BIN, KV_FROM_LIB, KV_FROM_LIBEXEC};
    char own[PATH_MAX], path[PATH_MAX + 256], whole[PATH_MAX];
    const bool known = own_directory(own);
    const size_t n_build = strlen(KV_BUILD);
    for (size_t i = 0; known && i < sizeof ways / sizeof *ways; i++) {
        snprintf(path, sizeof path, "%s/%s", own, ways[i]);
        if (is_directory(path) && realpath(path, whole) && strlen(whole) < SHIPPED_PATH) {
            strcpy(out, whole);
            return;
        }
    }
    const bool built_here = known && !strncmp(own, KV_BUILD, n_build) && (own[n_build] == '/' || !own[n_build]);
    snprintf(out, SHIPPED_PATH, "%s", built_here ? KV_SOURCE : KV_INSTALLED);
}
