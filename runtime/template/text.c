#include "template/text.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* ---- ends ---- */

static size_t in_front(const tpl_str *s, const tpl_str *chars) {
    size_t i = 0, n;
    for (int32_t c; i < s->len; i += n) {
        n = tpl_char(s->s + i, s->len - i, &c);
        if (!memmem(chars->s, chars->len, s->s + i, n))
            break;
    }
    return i;
}

static size_t at_end(const tpl_str *s, size_t from, const tpl_str *chars) {
    size_t end = s->len;
    while (end > from) {
        size_t at = end - 1;
        int32_t c;
        while (at > from && end - at < 4 && ((unsigned char)s->s[at] & 0xC0) == 0x80)
            at--;
        if (tpl_char(s->s + at, end - at, &c) != end - at)
            at = end - 1;
        if (!memmem(chars->s, chars->len, s->s + at, end - at))
            break;
        end = at;
    }
    return s->len - end;
}

tpl_value tpl_strip(tpl_run *r, const tpl_str *s, const tpl_str *chars, bool left, bool right) {
    const size_t front = !left ? 0 : chars ? in_front(s, chars) : tpl_spaces(s->s, s->len);
    const size_t back = !right ? 0 : chars ? at_end(s, front, chars) : tpl_spaces_end(s->s + front, s->len - front);
    tpl_steps(r, (front + back) / 64);
    return tpl_part(r, s, front, s->len - front - back);
}

tpl_value tpl_padded(tpl_run *r, const tpl_str *s, int64_t width, char fill, int side) {
    tpl_buf b = {.r = r, .safe = s->safe};
    const int64_t n = (int64_t)tpl_count(s->s, s->len), all = width > n ? width - n : 0;
    /* as Python: the middle is a little to the left, where the width is even */
    const int64_t front = side < 0 ? 0 : side > 0 ? all : all / 2 + (all & width & 1);
    if (!tpl_fits(r, all, 1))
        return TPL_UNDEFINED;
    for (int64_t i = 0; i < front && !r->st; i++)
        tpl_put(&b, &fill, 1, false);
    tpl_put_str(&b, s);
    for (int64_t i = front; i < all && !r->st; i++)
        tpl_put(&b, &fill, 1, false);
    return tpl_take(&b);
}

/* ---- replacing ---- */

/* An empty text is found between all characters. */
static tpl_value between_all(tpl_run *r, const tpl_str *s, const tpl_str *with, int64_t most) {
    tpl_buf b = {.r = r, .safe = s->safe};
    size_t at = 0;
    for (;;) {
        if (most) {
            tpl_put_str(&b, with);
            most -= most > 0;
        }
        if (at >= s->len || r->st)
            return tpl_take(&b);
        const size_t n = tpl_offset(s->s + at, s->len - at, 1);
        tpl_put_part(&b, s, at, n);
        at += n;
    }
}

tpl_value tpl_replace(tpl_run *r, const tpl_str *s, const tpl_str *old, const tpl_str *with, int64_t most) {
    tpl_buf b = {.r = r, .safe = s->safe};
    size_t at = 0;
    if (!old->len)
        return between_all(r, s, with, most);
    tpl_steps(r, s->len / 64);
    for (const char *p; most && !r->st && (p = memmem(s->s + at, s->len - at, old->s, old->len)); most -= most > 0) {
        const size_t end = (size_t)(p - s->s);
        tpl_put_part(&b, s, at, end - at);
        tpl_put_str(&b, with);
        at = end + old->len;
    }
    if (!at)
        return (tpl_value){.kind = TPL_STR, .s = s};
    tpl_put_part(&b, s, at, s->len - at);
    return tpl_take(&b);
}

/* ---- case ---- */

tpl_value tpl_cased(tpl_run *r, const tpl_str *s, tpl_case to) {
    tpl_buf b = {.r = r, .safe = s->safe};
    tpl_put_case(&b, s, 0, s->len, to);
    return tpl_take(&b);
}

tpl_value tpl_capitalised(tpl_run *r, const tpl_str *s) {
    tpl_buf b = {.r = r, .safe = s->safe};
    const size_t first = tpl_offset(s->s, s->len, 1);
    tpl_put_case(&b, s, 0, first, TPL_TITLE);
    tpl_put_case(&b, s, first, s->len - first, TPL_LOWER);
    return tpl_take(&b);
}

bool tpl_is_case(const tpl_str *s, tpl_case which) {
    bool some = false;
    size_t n;
    for (size_t i = 0; i < s->len; i += n) {
        int32_t c;
        n = tpl_char(s->s + i, s->len - i, &c);
        const bool lower = utf8proc_islower(c), upper = utf8proc_isupper(c);
        if (which == TPL_LOWER ? upper : lower)
            return false;
        some |= lower || upper;
    }
    return some;
}

/* ---- lines ---- */

/* Bytes of the line end at the start; 0: there is none. */
static size_t line_end(const char *s, size_t len) {
    int32_t c;
    const size_t n = tpl_char(s, len, &c);
    if (c == '\r' && len > 1 && s[1] == '\n')
        return 2;
    return (c >= '\n' && c <= '\r') || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029 ? n : 0;
}

tpl_value tpl_split_lines(tpl_run *r, const tpl_str *s) {
    size_t lines = 1;
    for (size_t i = 0; i < s->len; i++)
        lines += line_end(s->s + i, s->len - i) > 0;
    const tpl_value out = tpl_list_new(r, TPL_A_LIST, lines);
    size_t n = 0, from = 0;
    for (size_t i = 0, end; i < s->len && n < out.l->n && !r->st;) {
        if (!(end = line_end(s->s + i, s->len - i))) {
            i++;
            continue;
        }
        out.l->v[n++] = tpl_part(r, s, from, i - from);
        from = i += end;
    }
    if (from < s->len && n < out.l->n)
        out.l->v[n++] = tpl_part(r, s, from, s->len - from);
    if (out.l->n)
        out.l->n = n;
    return out;
}

/* ---- numbers ---- */

/* The text without the white space around it and underscores between digits, as C's functions want it. */
static bool plain_number(const tpl_str *s, char *out, size_t room) {
    const size_t front = tpl_spaces(s->s, s->len), back = tpl_spaces_end(s->s + front, s->len - front);
    size_t n = 0;
    for (size_t i = front; i < s->len - back; i++) {
        const bool between = s->s[i] == '_' && i > front && isalnum((unsigned char)s->s[i - 1]) && i + 1 < s->len - back &&
                             isalnum((unsigned char)s->s[i + 1]);
        if (n + 1 >= room || !s->s[i] || isspace((unsigned char)s->s[i]))
            return false;
        if (!between)
            out[n++] = s->s[i];
    }
    out[n] = '\0';
    return n;
}

bool tpl_read_int(tpl_run *r, const tpl_str *s, int64_t base, int64_t *out) {
    char text[128], *end, *digits = text;
    if (!plain_number(s, text, sizeof text) || base < 0 || base > 36 || base == 1)
        return false;
    digits += *digits == '-' || *digits == '+';
    const char kind = digits[0] == '0' ? (char)tolower((unsigned char)digits[1]) : '\0';
    const int named = kind == 'x' ? 16 : kind == 'o' ? 8 : kind == 'b' ? 2 : 0;
    if (named && (base == named || !base)) {
        memmove(digits, digits + 2, strlen(digits + 2) + 1);
        base = named;
    } else if (!base && digits[0] == '0' && strspn(digits, "0") < strlen(digits))
        return false;
    if (!isalnum((unsigned char)*digits) || (digits[0] == '0' && tolower((unsigned char)digits[1]) == 'x'))
        return false;
    *out = strtoll(text, &end, base ? (int)base : 10);
    if (*end)
        return false;
    if (*out == INT64_MAX || *out == INT64_MIN)
        tpl_fail(r, KV_ERANGE, "a whole number does not fit into 64 bits");
    return true;
}

bool tpl_read_float(const tpl_str *s, double *out) {
    char text[512], *end;
    if (!plain_number(s, text, sizeof text) || strpbrk(text, "xX("))
        return false;
    *out = strtod(text, &end);
    return !*end;
}
