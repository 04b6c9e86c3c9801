#include "base/status.h"

#include "base/printable.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

kv_status(kv_fail)(kv_err *err, kv_status code, const char *fmt, ...) {
    if (err) {
        char said[sizeof err->msg]; /* names and texts of files as they are */
        va_list ap;
        va_start(ap, fmt);
        err->code = code;
        vsnprintf(said, sizeof said, fmt, ap);
        va_end(ap);
        printable(said, strlen(said), NULL, err->msg, sizeof err->msg);
    }
    return code;
}
