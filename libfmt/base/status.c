#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>

kv_status kv_fail(kv_err *err, kv_status code, const char *fmt, ...) {
    if (err) {
        va_list ap;
        va_start(ap, fmt);
        err->code = code;
        vsnprintf(err->msg, sizeof err->msg, fmt, ap);
        va_end(ap);
    }
    return code;
}
