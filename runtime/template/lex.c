/* Text of a template to tokens, with white space cut as trim_blocks and lstrip_blocks say: the first newline behind a statement
 * or a comment goes, and so does white space between the start of a line and one. "-" beside a mark takes all white space
 * there,
 * "+" leaves it.
 */
#include "template/tree.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef struct lexer {
    tpl_run *r;
    const char *s;
    size_t len, at, counted; /* lines are counted up to there */
    uint32_t line;
    bool line_starts; /* the last token ended with a newline, or there was none */
    char open[256];   /* brackets that must be closed, as what closes them */
    unsigned n_open;
    tpl_token *token;
    size_t n, cap;
} lexer;

static void fail(lexer *x, const char *what) {
    x->r->line = x->line;
    tpl_fail(x->r, KV_EFORMAT, "%s", what);
}

static bool has(const lexer *x, size_t at, const char *what) {
    const size_t n = strlen(what);
    return n <= x->len && at <= x->len - n && !memcmp(x->s + at, what, n);
}

static char peek(const lexer *x, size_t at) {
    return at < x->len ? x->s[at] : '\0';
}

/* Line numbers follow the place that is read. */
static void count_lines(lexer *x) {
    for (; x->counted < x->at; x->counted++)
        x->line += x->s[x->counted] == '\n';
}

static tpl_token *push(lexer *x, tpl_token_kind kind) {
    if (x->n == x->cap) {
        const size_t cap = x->cap ? 2 * x->cap : 256;
        tpl_token *grown = tpl_arena_grow(&x->r->arena, x->token, x->cap * sizeof *grown, cap * sizeof *grown);
        if (!grown) {
            tpl_fail(x->r, KV_ENOMEM, "out of memory");
            return NULL;
        }
        x->token = grown;
        x->cap = cap;
    }
    count_lines(x);
    x->token[x->n] = (tpl_token){.kind = (uint8_t)kind, .line = x->line};
    return &x->token[x->n++];
}

static void push_text(lexer *x, tpl_token_kind kind, const char *s, size_t len) {
    tpl_token *t = len || kind != T_DATA ? push(x, kind) : NULL;
    if (t)
        t->text = (tpl_str){.s = s, .len = len};
}

/* ---- between the marks ---- */

/* Text up to a mark at `end`, of which `sign` is what stands behind it. */
static void push_data(lexer *x, size_t from, size_t end, char sign, bool prints) {
    size_t len = end - from;
    const char *s = x->s + from;
    if (sign == '-') {
        len -= tpl_spaces_end(s, len);
    } else if (sign != '+' && !prints) {
        const char *newline = memrchr(s, '\n', len);
        const size_t start = newline ? (size_t)(newline - s) + 1 : 0;
        if ((newline || x->line_starts) && start < len && tpl_spaces(s + start, len - start) == len - start)
            len = start;
    }
    push_text(x, T_DATA, s, len);
}

/* The sign behind a mark, at x->at; moves behind it. */
static char take_sign(lexer *x) {
    const char c = peek(x, x->at);
    if (c != '-' && c != '+')
        return '\0';
    x->at++;
    return c;
}

/* Behind the end of a mark that had the sign: what goes of the white space there. */
static void after_mark(lexer *x, char sign, bool trims) {
    if (sign == '-')
        x->at += tpl_spaces(x->s + x->at, x->len - x->at);
    else if (sign != '+' && trims && peek(x, x->at) == '\n')
        x->at++;
    x->line_starts = x->s[x->at - 1] == '\n';
}

static void comment(lexer *x) {
    const char *end = memmem(x->s + x->at, x->len - x->at, "#}", 2);
    if (!end) {
        fail(x, "a comment does not end: '#}' is missing");
        return;
    }
    const size_t stop = (size_t)(end - x->s);
    const char before = stop > x->at ? x->s[stop - 1] : '\0';
    x->at = stop + 2;
    after_mark(x, before == '-' || before == '+' ? before : '\0', true);
}

/* The word of a statement of one word, as {%- raw -%}, at `at`, which is behind its mark and sign. *sign: of its end. Returns
 * what is behind it; 0: it is another statement. */
static size_t lone_word(const lexer *x, size_t at, const char *word, char *sign) {
    at += tpl_spaces(x->s + at, x->len - at);
    if (!has(x, at, word))
        return 0;
    at += strlen(word);
    at += tpl_spaces(x->s + at, x->len - at);
    *sign = peek(x, at) == '-' || peek(x, at) == '+' ? peek(x, at) : '\0';
    at += *sign != '\0';
    return has(x, at, "%}") ? at + 2 : 0;
}

/* Behind {% raw %}: everything up to {% endraw %} is text. */
static void raw(lexer *x) {
    const size_t from = x->at;
    for (size_t i = from; i < x->len; i++) {
        const char *mark = memmem(x->s + i, x->len - i, "{%", 2);
        char sign = '\0', end_sign;
        if (!mark)
            break;
        i = (size_t)(mark - x->s);
        size_t at = i + 2;
        if (peek(x, at) == '-' || peek(x, at) == '+')
            sign = x->s[at++];
        const size_t behind = lone_word(x, at, "endraw", &end_sign);
        if (!behind)
            continue;
        push_data(x, from, i, sign, false);
        x->at = behind;
        after_mark(x, end_sign, true);
        return;
    }
    fail(x, "'raw' does not end: '{% endraw %}' is missing");
}

/* ---- inside of marks ---- */

static bool is_word(char c) {
    return isalnum((unsigned char)c) || c == '_' || (unsigned char)c >= 0x80;
}

/* Digits with single underscores between them, from `at` on; returns what is behind. */
static size_t digits(const lexer *x, size_t at) {
    while (isdigit((unsigned char)peek(x, at)) || (peek(x, at) == '_' && isdigit((unsigned char)peek(x, at + 1))))
        at++;
    return at;
}

static void number(lexer *x) {
    char text[80];
    size_t n = 0, end = digits(x, x->at);
    bool is_real = false;
    int base = 10;
    const char kind = (char)tolower((unsigned char)peek(x, x->at + 1));
    if (peek(x, x->at) == '0' && (kind == 'x' || kind == 'o' || kind == 'b')) {
        base = kind == 'x' ? 16 : kind == 'o' ? 8 : 2;
        for (end = x->at + 2; isalnum((unsigned char)peek(x, end)) || peek(x, end) == '_'; end++)
            ;
    } else if (!x->at || x->s[x->at - 1] != '.') {
        size_t more = end;
        if (peek(x, more) == '.' && isdigit((unsigned char)peek(x, more + 1)))
            more = digits(x, more + 1);
        const size_t sign = more + 1 + (peek(x, more + 1) == '+' || peek(x, more + 1) == '-');
        if ((peek(x, more) == 'e' || peek(x, more) == 'E') && isdigit((unsigned char)peek(x, sign)))
            more = digits(x, sign);
        is_real = more > end;
        end = more;
    }
    for (size_t i = base == 10 ? x->at : x->at + 2; i < end && n < sizeof text - 1; i++)
        if (x->s[i] != '_')
            text[n++] = x->s[i];
    text[n] = '\0';
    char *stop = text;
    errno = 0;
    tpl_token *t = push(x, is_real ? T_FLOAT : T_INT);
    if (!t)
        return;
    t->value = is_real ? tpl_float(strtod(text, &stop)) : tpl_int(strtoll(text, &stop, base));
    if (*stop || stop == text || n == sizeof text - 1 || (!is_real && errno))
        fail(x, "a number is malformed, too long, or does not fit into 64 bits");
    x->at = end;
}

/* Write a character in UTF-8. */
static size_t encode(uint32_t c, char *out) {
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    const size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i; i--, c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3F));
    out[0] = (char)((n == 2 ? 0xC0 : n == 3 ? 0xE0 : 0xF0) | c);
    return n;
}

/* What an escape says, at *at, which is behind its backslash. Returns the bytes in out. */
static size_t escape(lexer *x, size_t *at, char *out) {
    static const char names[] = "\\'\"abfnrtv", values[] = "\\'\"\a\b\f\n\r\t\v";
    const char c = x->s[(*at)++];
    const char *name = strchr(names, c);
    const size_t want = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    uint32_t code = 0;
    size_t n = 0;
    if (c == '\n')
        return 0;
    if (c && name) {
        *out = values[name - names];
        return 1;
    }
    if (c >= '0' && c <= '7') {
        code = (uint32_t)(c - '0');
        for (; n < 2 && peek(x, *at) >= '0' && peek(x, *at) <= '7'; n++)
            code = 8 * code + (uint32_t)(x->s[(*at)++] - '0');
        return encode(code, out);
    }
    for (; n < want && isxdigit((unsigned char)peek(x, *at)); n++) {
        const char digit = (char)tolower((unsigned char)x->s[(*at)++]);
        code = 16 * code + (uint32_t)(digit <= '9' ? digit - '0' : digit - 'a' + 10);
    }
    if (n < want || code > 0x10FFFF || c == 'N')
        fail(x, "an escape in a text is malformed, or names a character");
    if (want)
        return encode(code > 0x10FFFF ? 0xFFFD : code, out);
    out[0] = '\\'; /* no escape: both stay */
    out[1] = c;
    return 2;
}

static void text(lexer *x) {
    const char quote = x->s[x->at];
    size_t end = x->at + 1, n = 0;
    while (end < x->len && x->s[end] != quote)
        end += x->s[end] == '\\' ? 2 : 1;
    if (end >= x->len) {
        fail(x, "a text does not end: its closing quote is missing");
        return;
    }
    char *out = tpl_get(x->r, end - x->at + 4, 1); /* no escape is shorter than what it says */
    for (size_t i = x->at + 1; out && i < end;)
        if (x->s[i] == '\\') {
            i++;
            n += escape(x, &i, out + n);
        } else
            out[n++] = x->s[i++];
    if (out)
        push_text(x, T_STR, out, n);
    x->at = end + 1;
}

static void word(lexer *x) {
    size_t end = x->at;
    while (is_word(peek(x, end)))
        end++;
    push_text(x, T_NAME, x->s + x->at, end - x->at);
    x->at = end;
}

/* Keep count of brackets, inside of which no mark ends. */
static void balance(lexer *x, char c) {
    const char *begins = strchr("([{", c);
    if (c && begins) {
        if (x->n_open == sizeof x->open)
            tpl_fail(x->r, KV_ERANGE, "the limit of depth is reached: too many brackets inside each other");
        else
            x->open[x->n_open++] = ")]}"[begins - "([{"];
    } else if (c && strchr(")]}", c) && (!x->n_open || x->open[--x->n_open] != c))
        fail(x, "a bracket is closed that was not opened");
}

static void operator_(lexer *x) {
    static const char *const twice[] = {"//", "**", "==", "!=", ">=", "<="};
    const char c = x->s[x->at];
    int op = 0;
    for (size_t i = 0; i < sizeof twice / sizeof *twice; i++)
        if (has(x, x->at, twice[i]))
            op = TPL_OP(twice[i][0], twice[i][1]);
    if (!op && c && strchr("+-/*%~[](){}><=.:|,;", c))
        op = c;
    tpl_token *t = push(x, T_OP);
    if (!t)
        return;
    if (!op) {
        tpl_fail(x->r, KV_EFORMAT, "line %u: the character '%.*s' has no meaning here", x->line,
                 (int)tpl_offset(x->s + x->at, x->len - x->at, 1), x->s + x->at);
        return;
    }
    t->op = op;
    balance(x, (char)(op < 256 ? op : 0));
    x->at += op < 256 ? 1 : 2;
}

/* Does the mark end here? Then what it was is pushed, and x->at is behind. */
static bool mark_ends(lexer *x, bool prints) {
    const char sign = peek(x, x->at);
    const bool has_sign = sign == '-' || (sign == '+' && !prints);
    if (x->n_open || !has(x, x->at + has_sign, prints ? "}}" : "%}"))
        return false;
    push(x, prints ? T_PRINT_END : T_BLOCK_END);
    x->at += has_sign + 2;
    after_mark(x, has_sign ? sign : '\0', !prints);
    return true;
}

/* What is between {{ and }}, or {% and %}. */
static void inside(lexer *x, bool prints) {
    push(x, prints ? T_PRINT : T_BLOCK);
    for (;;) {
        if (x->r->st)
            return;
        count_lines(x);
        if (mark_ends(x, prints))
            return;
        const char c = peek(x, x->at);
        const size_t spaces = tpl_spaces(x->s + x->at, x->len - x->at);
        if (x->at >= x->len) {
            fail(x, prints ? "'{{' does not end: '}}' is missing" : "'{%' does not end: '%}' is missing");
            return;
        }
        if (spaces)
            x->at += spaces;
        else if (isdigit((unsigned char)c))
            number(x);
        else if (is_word(c))
            word(x);
        else if (c == '\'' || c == '"')
            text(x);
        else
            operator_(x);
    }
}

/* ---- the whole ---- */

/* The next of "{{", "{%", "{#", from `at` on; the end where there is none. */
static size_t next_mark(const lexer *x, size_t at) {
    for (const char *p; at < x->len && (p = memchr(x->s + at, '{', x->len - at)); at++) {
        at = (size_t)(p - x->s);
        const char c = peek(x, at + 1);
        if (c == '{' || c == '%' || c == '#')
            return at;
    }
    return x->len;
}

/* Every kind of line end as "\n", and one less at the end. */
static char *normalised(tpl_run *r, const char *text, size_t *len) {
    char *out = tpl_get(r, *len + 1, 1);
    size_t n = 0;
    for (size_t i = 0; out && i < *len; i++) {
        out[n++] = text[i] == '\r' ? '\n' : text[i];
        i += text[i] == '\r' && i + 1 < *len && text[i + 1] == '\n';
    }
    n -= n && out[n - 1] == '\n';
    *len = n;
    return out;
}

tpl_token *tpl_lex(tpl_run *r, const char *text, size_t len) {
    lexer x = {.r = r, .s = normalised(r, text, &len), .len = len, .line = 1, .line_starts = true};
    while (x.at < x.len && !r->st) {
        const size_t from = x.at, mark = next_mark(&x, from);
        const char kind = peek(&x, mark + 1);
        char end_sign;
        if (mark == x.len) {
            push_text(&x, T_DATA, x.s + from, x.len - from);
            break;
        }
        x.at = mark + 2;
        const char sign = take_sign(&x);
        const size_t behind = kind == '%' ? lone_word(&x, x.at, "raw", &end_sign) : 0;
        push_data(&x, from, mark, sign, kind == '{');
        count_lines(&x);
        if (kind == '#') {
            comment(&x);
        } else if (behind && end_sign != '+') {
            x.at = behind;
            after_mark(&x, end_sign, false);
            raw(&x);
        } else
            inside(&x, kind == '{');
    }
    push(&x, T_END);
    return r->st ? NULL : x.token;
}
