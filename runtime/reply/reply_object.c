/* Calls that are JSON objects, and arguments that are. */
#include "reply/reply_parser.h"

#include <stdio.h>
#include <string.h>

/* ---- the object that is a call ---- */

static const struct {
    const char *key;
    field field;
} fields[] = {
    {"name", F_NAME},
    {"tool_name", F_NAME},
    {"arguments", F_ARGUMENTS},
    {"parameters", F_ARGUMENTS},
    {"args", F_ARGUMENTS},
    {"input", F_ARGUMENTS},
    {"function", F_WRAPPER},
    {"type", F_OTHER},
    {"id", F_OTHER},
    {"tool_call_id", F_OTHER},
    {"call_id", F_OTHER},
    {"index", F_OTHER},
    {"function_call", F_WRAPPER},
};

/* false: not the key of a call. */
static bool key_is_over(reply *r) {
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (!strcmp(fields[i].key, r->key.s)) {
            r->field = fields[i].field;
            return r->field != F_NAME || !r->got_name;
        }
    if (r->f->shape == SHAPE_SHORT && !r->got_name) {
        reply_add(r, &r->name, r->key.s, r->key.n);
        r->field = F_ARGUMENTS;
        return !r->st && reply_set_name(r);
    }
    r->field = F_OTHER;
    return r->marked;
}

/* Four hexadecimal digits, which are there. */
static unsigned hex(const char *s) {
    unsigned v = 0;
    for (int i = 0; i < 4; i++)
        v = 16 * v + (unsigned)(s[i] <= '9' ? s[i] - '0' : (s[i] | 0x20) - 'a' + 10);
    return v;
}

static size_t put_utf8(char *to, unsigned c) {
    if (c < 0x80) {
        to[0] = (char)c;
        return 1;
    }
    const size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i; i--, c >>= 6)
        to[i] = (char)(0x80 | (c & 0x3F));
    to[0] = (char)(0xF00 >> n | c);
    return n;
}

/* The text of the value, which is a string of JSON with its quotes, in its place: it only gets shorter. Halves of characters
 * become U+FFFD. */
static void decode(reply_buf *b) {
    static const char names[] = "bfnrt", controls[] = "\b\f\n\r\t";
    char *to = b->s;
    for (const char *s = b->s + 1, *end = b->s + b->n - 1; s < end;) {
        const char *name;
        if (*s != '\\') {
            *to++ = *s++;
        } else if (s[1] == 'u') {
            unsigned c = hex(s + 2), low = 0;
            s += 6;
            if (c >= 0xD800 && c < 0xDC00 && end - s >= 6 && s[0] == '\\' && s[1] == 'u')
                low = hex(s + 2);
            if (low >= 0xDC00 && low < 0xE000) {
                c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
                s += 6;
            }
            to += put_utf8(to, c >= 0xD800 && c < 0xE000 ? 0xFFFD : c);
        } else {
            name = strchr(names, s[1]);
            *to++ = name ? controls[name - names] : s[1];
            s += 2;
        }
    }
    b->n = (size_t)(to - b->s);
    *to = '\0';
}

static bool name_is_over(reply *r) {
    decode(&r->value);
    reply_clear(r, &r->name);
    reply_add(r, &r->name, r->value.s, r->value.n);
    return !r->st && reply_set_name(r);
}

/* Arguments that are JSON in a text. */
static bool text_is_over(reply *r) {
    decode(&r->value);
    const char *s = r->value.s;
    size_t n = r->value.n, from = 0;
    json_scan scan = {0};
    while (n && reply_is_space(s[n - 1]))
        n--;
    while (from < n && reply_is_space(s[from]))
        from++;
    bool good = from == n || s[from] == '{';
    for (size_t i = from; i < n && good; i++)
        good = json_scan_take(&scan, (unsigned char)s[i]);
    good = good && (from == n || json_scan_done(&scan));
    scan = (json_scan){0};
    for (size_t i = from; i < n && good; i++) {
        const bool in_string = json_scan_in_string(&scan);
        json_scan_take(&scan, (unsigned char)s[i]);
        reply_put_arg(r, s[i], in_string);
    }
    return good;
}

/* The first byte of a value. false: not one that it can have. */
static bool value_begins(reply *r, char c) {
    if (r->field == F_WRAPPER)
        r->field = c == '"' && !r->got_name ? F_NAME : c == '{' && r->base == 1 ? F_WRAPPER : F_OTHER;
    if (r->field == F_WRAPPER) {
        r->base = 2;
        r->field = NO_FIELD;
        return true;
    }
    if (r->field == F_ARGUMENTS && (c == 'n' || r->got_arguments)) /* null */
        r->field = F_OTHER;
    if (r->field == F_OTHER)
        return true;
    r->in_value = true;
    r->direct = c == '{';
    r->value.n = 0;
    return c == '"' || (c == '{' && r->field == F_ARGUMENTS);
}

/* A byte of the object behind the scan. false: no call. */
static bool in_field(reply *r, char c, bool in_string) {
    if (!r->in_value)
        return true;
    if (r->direct)
        reply_put_arg(r, c, in_string);
    else {
        /* texts are decoded when they are whole */
        char spelled[8];
        const int n = c >= 0 && c < ' ' ? snprintf(spelled, sizeof spelled, "\\u%04x", (unsigned)c) : 0;
        reply_add(r, &r->value, n ? spelled : &c, n ? (size_t)n : 1);
        if (r->st)
            return true;
        if (r->field == F_NAME && r->value.n > 6 * NAME)
            return false;
    }
    if (r->scan.depth != r->base || !json_scan_behind_value(&r->scan))
        return true;
    const field f = r->field;
    r->in_value = false;
    r->field = NO_FIELD;
    return f == F_NAME ? name_is_over(r) : r->direct || text_is_over(r);
}

/* Models that were shown {{"name": ...}}, as some templates write it by mistake, say it so. */
static bool is_second_brace(reply *r, char c) {
    const bool yes = c == '{' && r->at_brace && !r->doubled;
    r->doubled = r->doubled || yes;
    r->at_brace = !r->at_brace && !r->doubled && r->scan.depth == 0;
    return yes;
}

void reply_in_object(reply *r, char c) {
    if (is_second_brace(r, c)) {
        reply_hold(r, c);
        return;
    }
    const bool in_string = json_scan_in_string(&r->scan), in_key = in_string && r->scan.in_key;
    const bool wants = json_scan_wants_value(&r->scan);
    const unsigned depth = r->scan.depth;
    bool good = json_scan_take(&r->scan, (unsigned char)c);
    if (!good || r->held.n > REPLY_HELD || r->args.n > REPLY_HELD) {
        reply_give_up_at(r, c);
        return;
    }
    if (!r->started)
        reply_hold(r, c);
    if (depth == r->base && in_key) {
        if (json_scan_behind_key(&r->scan))
            good = key_is_over(r);
        else
            reply_add(r, &r->key, &c, 1);
        good = good && r->key.n <= NAME;
    } else if (depth == r->base && !in_string && json_scan_in_string(&r->scan) && r->scan.in_key)
        reply_clear(r, &r->key);
    else if (depth == r->base && wants && !reply_is_space(c) && r->field != NO_FIELD && !r->in_value)
        good = value_begins(r, c);
    good = good && in_field(r, c, in_string);
    if (good && r->scan.depth < r->base) {
        if (r->base > 1)
            r->base--;
        else if (!r->got_name)
            good = false;
        else
            reply_end_call(r);
    }
    if (!good)
        reply_give_up(r);
}

/* ---- arguments by themselves ---- */

void reply_in_arguments(reply *r, char c) {
    const bool in_string = json_scan_in_string(&r->scan);
    if (!json_scan_take(&r->scan, (unsigned char)c) || r->held.n > REPLY_HELD) {
        reply_give_up_at(r, c);
        return;
    }
    if (!r->started)
        reply_hold(r, c);
    reply_put_arg(r, c, in_string);
    if (json_scan_done(&r->scan))
        reply_end_call(r);
}
