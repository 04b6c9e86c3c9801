#include "cli/cli_folder.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* A folder and those above it. */
static kv_status make_folders(char *path, kv_err *err) {
    for (char *end = path + 1; end; end++) {
        end = strchr(end, '/');
        if (end)
            *end = '\0';
        if (mkdir(path, 0700) && errno != EEXIST)
            return kv_fail(err, KV_EIO, "%s: cannot make this folder: %s", path, strerror(errno));
        if (!end)
            return KV_OK;
        *end = '/';
    }
    return KV_OK;
}

kv_status cli_cache_folder(const char *name, char path[CLI_FOLDER], kv_err *err) {
    const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    const bool own = xdg && *xdg == '/'; /* others do not count, says the standard */
    if (!own && (!home || !*home))
        return kv_fail(err, KV_EINVAL, "there is no home folder: set HOME or XDG_CACHE_HOME");
    const int n = snprintf(path, CLI_FOLDER, "%s%s/kvcalib%s%s", own ? xdg : home, own ? "" : "/.cache", name ? "/" : "",
                           name ? name : "");
    if (n < 0 || n >= CLI_FOLDER)
        return kv_fail(err, KV_EINVAL, "the path of the cache folder is too long");
    return make_folders(path, err);
}
