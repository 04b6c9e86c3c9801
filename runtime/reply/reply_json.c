/* JSON, byte by byte: is it valid so far, and where in it are we? */
#include "reply/reply_internal.h"

#include <stdlib.h>
#include <string.h>

enum {
    VALUE,         /* a value comes, */
    FIRST,         /* or the end of an empty array */
    KEY,           /* a key comes, */
    FIRST_KEY,     /* or the end of an empty object */
    COLON,         /* behind a key */
    BEHIND,        /* behind a value: comma or end */
    STRING,        /* inside a string, */
    ESCAPE,        /* behind its backslash, */
    HEX,           /* among the digits of \u */
    WORD,          /* inside true, false, null */
    MINUS,         /* numbers: behind the sign, */
    ZERO,          /* behind a leading zero, */
    DIGITS,        /* among the digits, */
    POINT,         /* behind the point, */
    FRACTION,      /* among the digits there, */
    EXPONENT,      /* behind e, */
    EXPONENT_SIGN, /* behind its sign, */
    EXPONENT_DIGITS,
    DONE,
};

static bool is_space(unsigned char c) {
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

static bool is_digit(unsigned char c) {
    return c >= '0' && c <= '9';
}

static bool in_array(const json_scan *s) {
    const unsigned i = s->depth - 1;
    return s->is_array[i / 8] >> i % 8 & 1;
}

static bool enter(json_scan *s, bool array) {
    if (s->depth == SCAN_DEPTH)
        return false;
    const unsigned i = s->depth++;
    s->is_array[i / 8] = (unsigned char)((s->is_array[i / 8] & ~(1u << i % 8)) | (unsigned)array << i % 8);
    s->state = array ? FIRST : FIRST_KEY;
    return true;
}

static void end_value(json_scan *s) {
    s->state = s->depth ? BEHIND : DONE;
}

static bool leave(json_scan *s, bool array) {
    if (!s->depth || in_array(s) != array)
        return false;
    s->depth--;
    end_value(s);
    return true;
}

static bool word(json_scan *s, const char *rest) {
    s->word = rest;
    s->state = WORD;
    return true;
}

static bool number(json_scan *s, unsigned char state) {
    s->state = state;
    return true;
}

static bool string(json_scan *s, bool key) {
    s->in_key = key;
    s->state = STRING;
    return true;
}

static bool begin_value(json_scan *s, unsigned char c) {
    switch (c) {
    case '{':
        return enter(s, false);
    case '[':
        return enter(s, true);
    case '"':
        return string(s, false);
    case 't':
        return word(s, "rue");
    case 'f':
        return word(s, "alse");
    case 'n':
        return word(s, "ull");
    case '-':
        return number(s, MINUS);
    case '0':
        return number(s, ZERO);
    case ']':
        return s->state == FIRST && leave(s, true);
    default:
        return is_digit(c) && number(s, DIGITS);
    }
}

static bool behind_value(json_scan *s, unsigned char c) {
    if (c == ',') {
        s->state = in_array(s) ? VALUE : KEY;
        return true;
    }
    return (c == ']' || c == '}') && leave(s, c == ']');
}

static bool in_string(json_scan *s, unsigned char c) {
    if (s->state == HEX) {
        const bool hex = is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
        if (hex && !--s->left)
            s->state = STRING;
        return hex;
    }
    if (s->state == ESCAPE) {
        s->state = c == 'u' ? HEX : STRING;
        s->left = 4;
        return c && strchr("\"\\/bfnrtu", c);
    }
    if (c == '\\')
        s->state = ESCAPE;
    else if (c == '"') {
        if (s->in_key)
            s->state = COLON;
        else
            end_value(s);
    }
    return true;
}

/* What a number may go on with, by state. */
static bool in_number(json_scan *s, unsigned char c) {
    const bool digit = is_digit(c), e = c == 'e' || c == 'E';
    switch (s->state) {
    case MINUS:
        return digit && number(s, c == '0' ? ZERO : DIGITS);
    case POINT:
        return digit && number(s, FRACTION);
    case EXPONENT:
        return (digit && number(s, EXPONENT_DIGITS)) || ((c == '+' || c == '-') && number(s, EXPONENT_SIGN));
    case EXPONENT_SIGN:
        return digit && number(s, EXPONENT_DIGITS);
    default:
        break;
    }
    if (digit && s->state != ZERO)
        return true;
    if (c == '.' && (s->state == ZERO || s->state == DIGITS))
        return number(s, POINT);
    if (e && s->state != EXPONENT_DIGITS)
        return number(s, EXPONENT);
    end_value(s);
    return s->state != DONE && json_scan_take(s, c);
}

bool json_scan_take(json_scan *s, unsigned char c) {
    switch (s->state) {
    case VALUE:
    case FIRST:
        return is_space(c) || begin_value(s, c);
    case KEY:
    case FIRST_KEY:
        return is_space(c) || (c == '"' && string(s, true)) || (c == '}' && s->state == FIRST_KEY && leave(s, false));
    case COLON:
        if (c == ':')
            s->state = VALUE;
        return c == ':' || is_space(c);
    case BEHIND:
        return is_space(c) || behind_value(s, c);
    case STRING:
    case ESCAPE:
    case HEX:
        return in_string(s, c);
    case WORD:
        if (c != (unsigned char)*s->word)
            return false;
        if (!*++s->word)
            end_value(s);
        return true;
    case DONE:
        return false;
    default:
        return in_number(s, c);
    }
}

bool json_scan_end(json_scan *s) {
    if (!s->depth && (s->state == ZERO || s->state == DIGITS || s->state == FRACTION || s->state == EXPONENT_DIGITS))
        s->state = DONE;
    return s->state == DONE;
}

bool json_scan_done(const json_scan *s) {
    return s->state == DONE;
}

bool json_scan_in_string(const json_scan *s) {
    return s->state == STRING || s->state == ESCAPE || s->state == HEX;
}

bool json_scan_wants_value(const json_scan *s) {
    return s->state == VALUE || s->state == FIRST;
}

bool json_scan_behind_value(const json_scan *s) {
    return s->state == BEHIND;
}

bool json_scan_behind_key(const json_scan *s) {
    return s->state == COLON;
}

/* ---- memory ---- */

bool reply_buf_reserve(reply_buf *b, size_t n) {
    if (b->cap - b->n > n)
        return true;
    const size_t cap = 2 * b->cap + n + 64;
    char *grown = realloc(b->s, cap);
    if (!grown)
        return false;
    b->s = grown;
    b->cap = cap;
    return true;
}

bool reply_buf_add(reply_buf *b, const char *s, size_t n) {
    if (!reply_buf_reserve(b, n))
        return false;
    if (n)
        memcpy(b->s + b->n, s, n);
    b->n += n;
    b->s[b->n] = '\0';
    return true;
}
