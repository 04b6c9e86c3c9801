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

bool parse_bytes(const char *s, int64_t *out) {
    static const char units[] = "KMGT";
    char *end;
    if (*s < '0' || *s > '9' || s[1] == 'x' || s[1] == 'X') /* strtod takes more than people mean */
        return false;
    double bytes = strtod(s, &end);
    const char *unit = *end ? strchr(units, *end & ~0x20) : NULL;
    for (const char *u = units; unit && u <= unit; u++)
        bytes *= 1024;
    end += unit != NULL;
    if (unit && *end == 'i' && end[1] == 'B')
        end++;
    end += *end == 'B';
    if (*end || !(bytes < 0x1p62))
        return false;
    *out = (int64_t)bytes;
    return true;
}
