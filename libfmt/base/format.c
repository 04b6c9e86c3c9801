#include "base/format.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

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

char *format_date(int64_t seconds, char buf[FORMAT_DATE]) {
    const time_t t = (time_t)seconds;
    struct tm when;
    if (!localtime_r(&t, &when) || !strftime(buf, FORMAT_DATE, "%Y-%m-%d %H:%M", &when))
        snprintf(buf, FORMAT_DATE, "unknown");
    return buf;
}

uint64_t format_parse_bytes(const char *text) {
    static const char units[] = "KMGT";
    char *end;
    double v = strtod(text, &end);
    const char *unit = *end && end > text ? strchr(units, *end) : NULL;
    if (unit) {
        v *= (double)((uint64_t)1 << 10 * (unit - units + 1));
        end += 1 + 2 * !strcmp(end + 1, "iB");
    }
    return end > text && !*end && v >= 1 && v < 1e15 ? (uint64_t)v : 0;
}
