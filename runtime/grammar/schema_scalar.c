/* Integers in a range, numbers and strings. */
#include "grammar/schema_internal.h"

#include <inttypes.h>
#include <string.h>

/* ---- integers in a range ---- */

/* Numbers of the same many digits between two, as text. */
static void same_digits(FILE *to, const char *lo, const char *hi) {
    const size_t n = strlen(lo);
    if (!n)
        return;
    if (*lo == *hi) {
        fprintf(to, "\"%c\" ", *lo);
        same_digits(to, lo + 1, hi + 1);
        return;
    }
    char nines[32], zeros[32];
    memset(nines, '9', sizeof nines);
    memset(zeros, '0', sizeof zeros);
    nines[n - 1] = zeros[n - 1] = '\0';
    const bool low_whole = !strcmp(lo + 1, zeros), high_whole = !strcmp(hi + 1, nines);
    const char first = (char)(*lo + !low_whole), last = (char)(*hi - !high_whole);
    const char *between = "(";
    if (!low_whole) {
        fprintf(to, "%s\"%c\" ", between, *lo);
        same_digits(to, lo + 1, nines);
        between = "| ";
    }
    if (first <= last) {
        fprintf(to, "%s[%c-%c] ", between, first, last);
        if (n > 1)
            fprintf(to, "[0-9]{%zu} ", n - 1);
        between = "| ";
    }
    if (!high_whole) {
        fprintf(to, "%s\"%c\" ", between, *hi);
        same_digits(to, zeros, hi + 1);
    }
    fputs(") ", to);
}

/* lo .. hi, neither negative. */
static void naturals(FILE *to, uint64_t lo, uint64_t hi) {
    uint64_t power = 10;
    const char *between = "(";
    while (lo <= hi) {
        char l[32], h[32];
        while (power <= lo && power < 10000000000000000000u)
            power *= 10;
        const uint64_t end = power - 1 < hi && power < 10000000000000000000u ? power - 1 : hi;
        snprintf(l, sizeof l, "%" PRIu64, lo);
        snprintf(h, sizeof h, "%" PRIu64, end);
        fputs(between, to);
        same_digits(to, l, h);
        between = "| ";
        if (end == hi)
            break;
        lo = end + 1;
    }
    fputs(") ", to);
}

/* A bound of integers; false: there is none. */
static bool bound(writer *w, const json_t *schema, const char *key, const char *exclusive, int64_t step, int64_t *out) {
    const json_t *value = json_object_get(schema, key), *open = json_object_get(schema, exclusive);
    if (value && open)
        schema_fail(w, KV_EUNSUPP, "'%s' and '%s' together", key, exclusive);
    const json_t *said = value ? value : open;
    if (!said)
        return false;
    if (!json_is_integer(said) || json_integer_value(said) > (INT64_C(1) << 53) ||
        json_integer_value(said) < -(INT64_C(1) << 53))
        schema_fail(w, KV_EUNSUPP, "'%s' of an integer must be one, of at most 53 bits", value ? key : exclusive);
    *out = json_integer_value(said) + (value ? 0 : step);
    return true;
}

void schema_integer(writer *w, FILE *to, const json_t *schema) {
    static const char *const known[] = {"type", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", NULL};
    const int64_t most = INT64_C(9999999999999999);
    int64_t lo = -most, hi = most;
    schema_check_keys(w, schema, known);
    const bool low = bound(w, schema, "minimum", "exclusiveMinimum", 1, &lo),
               high = bound(w, schema, "maximum", "exclusiveMaximum", -1, &hi);
    if (w->st)
        return;
    if (!low && !high) {
        fputs("integer ", to);
        return;
    }
    if (lo > hi) {
        schema_fail(w, KV_EFORMAT, "no integer is in the range");
        return;
    }
    fputs("(", to);
    if (lo < 0) {
        fputs("\"-\" ", to);
        naturals(to, hi < 0 ? (uint64_t)-hi : 1, (uint64_t)-lo);
        fputs(hi >= 0 ? "| " : "", to);
    }
    if (hi >= 0)
        naturals(to, lo > 0 ? (uint64_t)lo : 0, (uint64_t)hi);
    fputs(") ", to);
}

void schema_number(writer *w, FILE *to, const json_t *schema) {
    static const char *const known[] = {"type", NULL};
    schema_check_keys(w, schema, known); /* bounds of real numbers are not understood */
    fputs("number ", to);
}

/* ---- strings ---- */

void schema_string(writer *w, FILE *to, const json_t *schema) {
    static const char *const known[] = {"type", "minLength", "maxLength", "format", NULL};
    static const char *const formats[][2] = {
        {"date", "[0-9]{4} \"-\" (\"0\" [1-9] | \"1\" [0-2]) \"-\" (\"0\" [1-9] | \"1\" [0-9] | \"2\" [0-8])"},
        {"time", "([01] [0-9] | \"2\" [0-3]) \":\" [0-5] [0-9] \":\" [0-5] [0-9] (\".\" [0-9]{1,6})? (\"Z\" | [-+] ([01] [0-9] "
                 "| \"2\" [0-3]) \":\" [0-5] [0-9])"},
        {"uuid", "[0-9a-fA-F]{8} \"-\" [0-9a-fA-F]{4} \"-\" [0-9a-fA-F]{4} \"-\" [0-9a-fA-F]{4} \"-\" [0-9a-fA-F]{12}"}};
    const uint32_t least = schema_count(w, schema, "minLength", 0), most = schema_count(w, schema, "maxLength", UINT32_MAX);
    const char *format = json_string_value(json_object_get(schema, "format"));
    schema_check_keys(w, schema, known);
    if (most < least)
        schema_fail(w, KV_EFORMAT, "maxLength is less than minLength");
    for (size_t i = 0; format && i < 3; i++)
        if (!strcmp(format, formats[i][0])) {
            fprintf(to, "\"\\\"\" %s \"\\\"\" ", formats[i][1]);
            return;
        }
    if (format && !strcmp(format, "date-time")) {
        fprintf(to, "\"\\\"\" %s \"T\" %s \"\\\"\" ", formats[0][1], formats[1][1]);
        return;
    }
    if (format)
        schema_fail(w, KV_EUNSUPP, "the format '%.60s' is not understood; date, time, date-time and uuid are", format);
    if (!least && most == UINT32_MAX)
        fputs("string ", to);
    else if (most == UINT32_MAX)
        fprintf(to, "\"\\\"\" char{%u,} \"\\\"\" ", least);
    else
        fprintf(to, "\"\\\"\" char{%u,%u} \"\\\"\" ", least, most);
}
