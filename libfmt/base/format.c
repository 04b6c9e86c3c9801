#include "base/format.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>

char *format_bytes(double bytes, char buf[FORMAT_BYTES]) {
    static const char *const unit[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
    size_t u = 0;
    while (fabs(bytes) >= 1024 && u + 1 < sizeof unit / sizeof *unit) {
        bytes /= 1024;
        u++;
    }
    snprintf(buf, FORMAT_BYTES, u && fabs(bytes) < 100 ? "%.1f %s" : "%.0f %s", bytes, unit[u]);
    return buf;
}
