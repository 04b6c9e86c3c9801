/* Whether an answer is right, and how sure the share of right ones is. */
#include "measure/ask.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* s[at] is a comma that groups digits: "12,345" but not "1, 234" or "3,14". */
static bool groups_digits(const char *s, size_t at) {
    return s[at] == ',' && at && is_digit(s[at - 1]) && is_digit(s[at + 1]) && is_digit(s[at + 2]) && is_digit(s[at + 3]) &&
           !is_digit(s[at + 4]);
}

/* A letter, digit or mark, or a point between digits. */
static bool in_word(const char *s, size_t at, utf8proc_int32_t c) {
    if (c == '.')
        return at && is_digit(s[at - 1]) && is_digit(s[at + 1]);
    const utf8proc_category_t kind = utf8proc_category(c);
    return kind >= UTF8PROC_CATEGORY_LU && kind <= UTF8PROC_CATEGORY_NO;
}

static bool is_article(const char *word, size_t len) {
    static const char *const articles[] = {"a", "an", "the"};
    for (size_t i = 0; i < sizeof articles / sizeof *articles; i++)
        if (strlen(articles[i]) == len && !memcmp(articles[i], word, len))
            return true;
    return false;
}

char *ask_normalise(const char *text) {
    char *folded = (char *)utf8proc_NFKC_Casefold((const utf8proc_uint8_t *)text);
    char *out = folded ? malloc(strlen(folded) + 1) : NULL;
    size_t n = 0, word = 0; /* out[word..n) is the word being written */
    for (size_t at = 0; out;) {
        utf8proc_int32_t c = 0;
        const utf8proc_ssize_t len = folded[at] ? utf8proc_iterate((utf8proc_uint8_t *)folded + at, -1, &c) : 0;
        if (len > 0 && in_word(folded, at, c)) {
            memcpy(out + n, folded + at, (size_t)len);
            n += (size_t)len;
        } else if (!len || !groups_digits(folded, at)) {
            if (is_article(out + word, n - word))
                n = word;
            else if (n > word)
                out[n++] = ' ';
            word = n;
        }
        if (len <= 0)
            break;
        at += (size_t)len;
    }
    if (out)
        out[n && out[n - 1] == ' ' ? n - 1 : n] = '\0';
    free(folded);
    return out;
}

/* Both normalised: words separated by single spaces. */
static bool holds(const char *text, const char *words) {
    const size_t len = strlen(words);
    for (const char *at = text; len && (at = strstr(at, words)); at++)
        if ((at == text || at[-1] == ' ') && (!at[len] || at[len] == ' '))
            return true;
    return false;
}

kv_status ask_is_right(const char *answer, const char *wanted, bool *right, kv_err *err) {
    char *said = ask_normalise(answer);
    kv_status st = said ? KV_OK : kv_fail(err, KV_ENOMEM, "out of memory for an answer, or it is not UTF-8");
    *right = false;
    for (const char *one = wanted, *end; !st && *one && !*right; one = *end ? end + 1 : end) {
        end = one + strcspn(one, "|");
        char *raw = strndup(one, (size_t)(end - one)), *words = raw ? ask_normalise(raw) : NULL;
        if (!words)
            st = kv_fail(err, KV_ENOMEM, "out of memory for an answer, or it is not UTF-8");
        else
            *right = holds(said, words);
        free(raw);
        free(words);
    }
    free(said);
    return st;
}

char *ask_percent(ask_tally t, bool interval, char buf[48]) {
    double lo, hi;
    ask_wilson(t, &lo, &hi);
    if (!t.n)
        snprintf(buf, 48, "–");
    else if (interval)
        snprintf(buf, 48, "%.0f %% (%.0f–%.0f)", 100 * ask_share(t), 100 * lo, 100 * hi);
    else
        snprintf(buf, 48, "%.0f %%", 100 * ask_share(t));
    return buf;
}

double ask_share(ask_tally t) {
    return t.n ? (double)t.hits / t.n : NAN;
}

void ask_wilson(ask_tally t, double *lo, double *hi) {
    static const double z = 1.959963984540054; /* 97.5 % of the standard normal distribution lie below */
    *lo = 0;
    *hi = 1;
    if (!t.n)
        return;
    const double n = t.n, p = t.hits / n, zz = z * z / n;
    const double middle = (p + zz / 2) / (1 + zz), half = z / (1 + zz) * sqrt(p * (1 - p) / n + zz / (4 * n));
    *lo = t.hits ? fmax(middle - half, 0) : 0;
    *hi = t.hits < t.n ? fmin(middle + half, 1) : 1;
}
