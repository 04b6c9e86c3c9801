#include "base/folder.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

kv_status folder_make(const char *path, kv_err *err) {
    char *part = strdup(path);
    kv_status st = part ? KV_OK : kv_fail(err, KV_ENOMEM, "%.500s: out of memory", path);
    for (char *at = part; !st && *at; at++) {
        char *end = at + strcspn(at, "/");
        const char was = *end;
        *end = '\0';
        if (end != part && mkdir(part, 0700) && errno != EEXIST)
            st = kv_fail(err, KV_EIO, "%.500s: cannot make the folder: %s", part, strerror(errno));
        *end = was;
        at = end;
        if (!was)
            break;
    }
    free(part);
    return st;
}
