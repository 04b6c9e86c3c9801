/* The parser of answers: states, what is held, and what comes out. */
#include "reply/reply_internal.h"

#include "text/thought.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SPACES = 1 << 12, /* white space that is held back, for a mark may follow */
    NAME = 256,       /* bytes of names and keys */
    MARK = 64,        /* bytes of marks */
};

typedef enum state {
    TEXT,       /* content */
    THOUGHT,    /* inside a thought */
    ITEM,       /* behind a mark: a call comes */
    NAMING,     /* its name, by itself */
    BEFORE,     /* behind the name: arguments come */
    OBJECT,     /* inside the object that is the call */
    ARGUMENTS,  /* inside arguments that stand by themselves */
    TAGS,       /* between tags: an argument comes, or the end */
    KEY,        /* inside the tag of a key */
    VALUE_MARK, /* behind it: the mark of a value comes */
    VALUE,      /* inside a value between tags */
    AFTER,      /* behind a call */
} state;

typedef enum field { NO_FIELD, F_NAME, F_ARGUMENTS, F_WRAPPER, F_OTHER } field;
typedef enum kind { CONTENT, THINKING, ARGUMENT } kind;

struct reply {
    reply_cfg cfg;
    const reply_format *f;
    const thought_marks *thought; /* that is open; NULL: any of them */
    bool tools;                   /* calls are looked for */
    state at;
    bool said;      /* content that is not white space came */
    bool drops;     /* white space is markup's until something else comes */
    reply_buf held; /* as it came: white space, and what may be markup */
    size_t mark;    /* bytes at its end that may begin a mark */
    /* what comes out at the end of the push, or earlier */
    kind kind;
    reply_buf out;
    /* the call */
    bool marked;  /* a mark said that it is one, */
    bool closed;  /* and one that it is over; or else */
    bool in_list; /* it is in a list */
    bool started; /* it was told of */
    bool got_name, got_arguments, in_value;
    bool direct;      /* arguments are an object, not a text */
    uint32_t n_calls; /* that began */
    json_scan scan;
    unsigned base; /* depth of the object that has its name */
    field field;
    reply_buf name, key, args, value; /* args: while it is not told of */
    /* values between tags */
    int is_text;
    bool value_begun, newline; /* a newline at its end may be markup's */
    char tail[MARK];           /* may begin the mark that ends it */
    size_t n_tail;
    kv_status st;
};

static void step(reply *r, char c);

/* ---- coming out ---- */

static bool is_space(char c) {
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

static void add(reply *r, reply_buf *b, const char *s, size_t n) {
    if (!r->st && !reply_buf_add(b, s, n))
        r->st = KV_ENOMEM;
}

/* Leaves an empty text behind. */
static void clear(reply *r, reply_buf *b) {
    b->n = 0;
    add(r, b, "", 0);
}

static void flush(reply *r) {
    const reply_events *e = &r->cfg.events;
    if (!r->out.n || r->st)
        return;
    if (r->kind == ARGUMENT)
        e->arguments(r->cfg.user, r->n_calls - 1, r->out.s, r->out.n);
    else
        (r->kind == THINKING ? e->thought : e->content)(r->cfg.user, r->out.s, r->out.n);
    r->out.n = 0;
}

static void emit(reply *r, kind k, const char *s, size_t n) {
    if (r->kind != k)
        flush(r);
    r->kind = k;
    add(r, &r->out, s, n);
}

static void tell_content(reply *r, const char *s, size_t n) {
    for (size_t i = 0; i < n && !r->said; i++)
        r->said = !is_space(s[i]);
    r->drops = r->drops && !r->said;
    emit(r, CONTENT, s, n);
}

/* What was held is what it looks like. */
static void release(reply *r, kind k) {
    if (k == CONTENT)
        tell_content(r, r->held.s, r->held.n);
    else
        emit(r, k, r->held.s, r->held.n);
    r->held.n = r->mark = 0;
}

static void hold(reply *r, char c) {
    add(r, &r->held, &c, 1);
}

/* ---- marks ---- */

typedef enum match { NO, PART, FULL } match;

static match match_one(const char *mark, const char *s, size_t n) {
    const size_t len = mark ? strlen(mark) : 0;
    if (n > len || memcmp(mark, s, n))
        return NO;
    return n < len ? PART : FULL;
}

/* FULL, if any is; which one: *at, or NULL. */
static match match_any(const char *const *marks, const char *s, size_t n) {
    match best = NO;
    for (; *marks && best < FULL; marks++) {
        const match m = match_one(*marks, s, n);
        best = m > best ? m : best;
    }
    return best;
}

static match best_of(match a, match b) {
    return a > b ? a : b;
}

/* What could be a mark was none: its first byte is text, and the rest is looked at again. */
static void retry(reply *r, kind k) {
    char rest[MARK];
    const size_t n = r->mark;
    memcpy(rest, r->held.s + r->held.n - n, n);
    r->held.n -= n - 1;
    release(r, k);
    for (size_t i = 1; i < n && !r->st; i++)
        step(r, rest[i]);
}

/* ---- calls ---- */

static void forget_call(reply *r) {
    r->started = r->got_name = r->got_arguments = r->in_value = false;
    reply_buf *const texts[] = {&r->name, &r->key, &r->args, &r->value};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        clear(r, texts[i]);
    r->n_tail = 0;
    r->field = NO_FIELD;
    r->base = 1;
    r->scan = (json_scan){0};
}

/* The byte c does not fit: what was told stands, anything else is content. */
static void give_up(reply *r) {
    if (r->started) {
        flush(r);
        r->cfg.events.call_end(r->cfg.user, r->n_calls - 1, false);
        r->said = true;
    }
    r->in_list = false;
    forget_call(r);
    r->at = TEXT;
    r->drops = false;
    release(r, CONTENT);
}

static void give_up_at(reply *r, char c) {
    give_up(r);
    step(r, c);
}

static void tell_call(reply *r) {
    flush(r);
    r->cfg.events.call(r->cfg.user, r->n_calls++, r->name.s);
    r->started = true;
    r->held.n = r->mark = 0;
    emit(r, ARGUMENT, r->args.s, r->args.n);
    r->args.n = 0;
}

static bool is_name(const char *s, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const char c = s[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || strchr("_-.:/", c) || c < 0))
            return false;
    }
    return n && n <= NAME;
}

/* false: nothing is called so. */
static bool set_name(reply *r) {
    if (!is_name(r->name.s, r->name.n) || (!r->marked && !reply_find_tool(r->cfg.tools, r->name.s)))
        return false;
    r->got_name = true;
    if (!r->cfg.whole && r->got_arguments)
        tell_call(r);
    return true;
}

static void put_args(reply *r, const char *s, size_t n) {
    r->got_arguments = true;
    if (!r->started && r->got_name && !r->cfg.whole)
        tell_call(r);
    if (r->started)
        emit(r, ARGUMENT, s, n);
    else
        add(r, &r->args, s, n);
}

/* A byte of JSON: control characters in texts are spelled as JSON wants them. */
static void put_arg(reply *r, char c, bool in_string) {
    char spelled[8];
    int n = 1;
    spelled[0] = c;
    if (in_string && c >= 0 && c < ' ')
        n = c == '\n'   ? sprintf(spelled, "\\n")
            : c == '\t' ? sprintf(spelled, "\\t")
                        : sprintf(spelled, "\\u%04x", (unsigned)c);
    put_args(r, spelled, (size_t)n);
}

static void end_call(reply *r) {
    if (!r->got_arguments)
        put_args(r, "{}", 2);
    if (!r->started)
        tell_call(r);
    flush(r);
    r->cfg.events.call_end(r->cfg.user, r->n_calls - 1, true);
    forget_call(r);
    r->held.n = r->mark = 0;
    r->at = AFTER;
}

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
        add(r, &r->name, r->key.s, r->key.n);
        r->field = F_ARGUMENTS;
        return !r->st && set_name(r);
    }
    r->field = F_OTHER;
    return r->marked;
}

/* A text in quotes, as it stands there, decoded. NULL: none that will do. */
static json_t *decoded(const reply_buf *b) {
    return json_loadb(b->s, b->n, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
}

static bool name_is_over(reply *r) {
    json_t *name = decoded(&r->value);
    clear(r, &r->name);
    if (name)
        add(r, &r->name, json_string_value(name), json_string_length(name));
    const bool good = name && !r->st && set_name(r);
    json_decref(name);
    return good;
}

/* Arguments that are JSON in a text. */
static bool text_is_over(reply *r) {
    json_t *text = decoded(&r->value);
    const char *s = json_string_value(text);
    size_t n = json_string_length(text), from = 0;
    json_scan scan = {0};
    while (n && is_space(s[n - 1]))
        n--;
    while (from < n && is_space(s[from]))
        from++;
    bool good = text && (from == n || s[from] == '{');
    for (size_t i = from; i < n && good; i++)
        good = json_scan_take(&scan, (unsigned char)s[i]);
    good = good && (from == n || json_scan_done(&scan));
    scan = (json_scan){0};
    for (size_t i = from; i < n && good; i++) {
        const bool in_string = json_scan_in_string(&scan);
        json_scan_take(&scan, (unsigned char)s[i]);
        put_arg(r, s[i], in_string);
    }
    json_decref(text);
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
        put_arg(r, c, in_string);
    else {
        /* texts are decoded when they are whole */
        char spelled[8];
        const int n = c >= 0 && c < ' ' ? snprintf(spelled, sizeof spelled, "\\u%04x", (unsigned)c) : 0;
        add(r, &r->value, n ? spelled : &c, n ? (size_t)n : 1);
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

static void in_object(reply *r, char c) {
    const bool in_string = json_scan_in_string(&r->scan), in_key = in_string && r->scan.in_key;
    const bool wants = json_scan_wants_value(&r->scan);
    const unsigned depth = r->scan.depth;
    bool good = json_scan_take(&r->scan, (unsigned char)c);
    if (!good || r->held.n > REPLY_HELD || r->args.n > REPLY_HELD) {
        give_up_at(r, c);
        return;
    }
    if (!r->started)
        hold(r, c);
    if (depth == r->base && in_key) {
        if (json_scan_behind_key(&r->scan))
            good = key_is_over(r);
        else
            add(r, &r->key, &c, 1);
        good = good && r->key.n <= NAME;
    } else if (depth == r->base && !in_string && json_scan_in_string(&r->scan) && r->scan.in_key)
        clear(r, &r->key);
    else if (depth == r->base && wants && !is_space(c) && r->field != NO_FIELD && !r->in_value) {
        good = value_begins(r, c);
    }
    good = good && in_field(r, c, in_string);
    if (good && r->scan.depth < r->base) {
        if (r->base > 1)
            r->base--;
        else if (!r->got_name)
            good = false;
        else
            end_call(r);
    }
    if (!good)
        give_up(r);
}

/* ---- arguments by themselves ---- */

static void in_arguments(reply *r, char c) {
    const bool in_string = json_scan_in_string(&r->scan);
    if (!json_scan_take(&r->scan, (unsigned char)c) || r->held.n > REPLY_HELD) {
        give_up_at(r, c);
        return;
    }
    if (!r->started)
        hold(r, c);
    put_arg(r, c, in_string);
    if (json_scan_done(&r->scan))
        end_call(r);
}

/* A mark was read. */
static void take_mark(reply *r) {
    r->mark = 0;
    if (r->started)
        r->held.n = 0;
}

static void before_arguments(reply *r, char c) {
    if (!r->mark && c == '{') {
        r->scan = (json_scan){0};
        r->at = ARGUMENTS;
        in_arguments(r, c);
        return;
    }
    hold(r, c);
    if (!r->mark && is_space(c) && r->held.n < REPLY_HELD)
        return;
    const size_t n = ++r->mark;
    const char *s = r->held.s + r->held.n - n;
    const match skip = match_one(r->f->skip, s, n), close = match_any(r->f->close, s, n);
    if (skip == FULL)
        take_mark(r);
    else if (close == FULL && skip == NO) {
        r->closed = true;
        end_call(r);
    } else if (best_of(skip, close) == NO) {
        r->held.n--;
        give_up_at(r, c);
    }
}

/* What belongs to the arguments is looked at again. */
static bool belongs_behind(const reply_format *f, const char *mark) {
    for (const char *const *m = f->close; *m; m++)
        if (!strcmp(*m, mark))
            return true;
    return !strcmp(mark, "{") || (f->key && !strcmp(mark, f->key)) || (f->end && !strcmp(mark, f->end));
}

static void cut_name(reply *r) {
    const reply_format *f = r->f;
    char *s = r->name.s;
    for (const char *const *p = f->prefix; *p; p++)
        if (!strncmp(s, *p, strlen(*p)))
            memmove(s, s + strlen(*p), strlen(s + strlen(*p)) + 1);
    const size_t skip = strspn(s, " \n\t\r");
    memmove(s, s + skip, strlen(s + skip) + 1);
    r->name.n = strcspn(s, f->cut ? f->cut : " \n\t\r\"");
    while (r->name.n && is_space(s[r->name.n - 1]))
        r->name.n--;
    s[r->name.n] = '\0';
}

static void in_name(reply *r, char c) {
    const char *end = NULL;
    hold(r, c);
    add(r, &r->name, &c, 1);
    if (r->st)
        return;
    for (const char *const *m = r->f->name_end; *m && !end; m++) {
        const size_t n = strlen(*m);
        if (n <= r->name.n && !memcmp(r->name.s + r->name.n - n, *m, n))
            end = *m;
    }
    if (!end) {
        if (r->name.n > NAME || !c)
            give_up(r);
        return;
    }
    const size_t n = strlen(end);
    r->name.n -= n;
    r->name.s[r->name.n] = '\0';
    cut_name(r);
    if (!is_name(r->name.s, r->name.n)) {
        give_up(r);
        return;
    }
    const bool again = belongs_behind(r->f, end);
    if (again)
        r->held.n -= n;
    r->at = r->f->shape == SHAPE_TAGS ? TAGS : BEFORE;
    r->got_name = true;
    if (r->at == TAGS)
        put_args(r, "{", 1);
    for (size_t i = 0; again && i < n && !r->st; i++)
        step(r, end[i]);
}

/* ---- arguments between tags ---- */

static void put_escaped(reply *r, char c) {
    if (c == '"' || c == '\\')
        put_args(r, "\\", 1);
    put_arg(r, c, true);
}

static void between_tags(reply *r, char c) {
    if (!r->mark && is_space(c)) {
        if (!r->started)
            hold(r, c);
        return;
    }
    hold(r, c);
    const size_t n = ++r->mark;
    const char *s = r->held.s + r->held.n - n;
    const match key = match_one(r->f->key, s, n), end = match_one(r->f->end, s, n);
    if (key == FULL) {
        take_mark(r);
        clear(r, &r->key);
        r->at = KEY;
    } else if (end == FULL) {
        put_args(r, "}", 1);
        r->closed = true;
        end_call(r);
    } else if (best_of(key, end) == NO || r->held.n > REPLY_HELD) {
        r->held.n--;
        r->mark--;
        give_up_at(r, c);
    }
}

static void value_comes(reply *r) {
    r->is_text = reply_is_text(r->cfg.tools, r->name.s, r->key.s);
    r->value.n = r->n_tail = 0;
    r->value_begun = r->newline = false;
    r->at = VALUE;
    if (r->is_text == 1)
        put_args(r, "\"", 1);
}

static void in_key(reply *r, char c) {
    const size_t n = strlen(r->f->key_end);
    if (!r->started)
        hold(r, c);
    add(r, &r->key, &c, 1);
    if (r->st || !c || r->key.n > NAME) {
        give_up(r);
        return;
    }
    if (r->key.n < n || memcmp(r->key.s + r->key.n - n, r->f->key_end, n))
        return;
    r->key.s[r->key.n - n] = '\0';
    r->key.n = strcspn(r->key.s, "\"");
    r->key.s[r->key.n] = '\0';
    if (r->in_value) /* not the first argument */
        put_args(r, ", ", 2);
    r->in_value = true;
    put_args(r, "\"", 1);
    for (size_t i = 0; i < r->key.n; i++)
        put_escaped(r, r->key.s[i]);
    put_args(r, "\": ", 3);
    if (r->f->value)
        r->at = VALUE_MARK;
    else
        value_comes(r);
}

static void before_value(reply *r, char c) {
    if (!r->mark && is_space(c)) {
        if (!r->started)
            hold(r, c);
        return;
    }
    hold(r, c);
    const match m = match_one(r->f->value, r->held.s + r->held.n - r->mark - 1, r->mark + 1);
    r->mark++;
    if (m == FULL) {
        take_mark(r);
        value_comes(r);
    } else if (m == NO) {
        r->held.n--;
        r->mark--;
        give_up_at(r, c);
    }
}

static void put_value(reply *r, char c) {
    if (r->is_text == 1)
        put_escaped(r, c);
    else
        add(r, &r->value, &c, 1);
}

/* A newline at the beginning and one at the end belong to the tags. */
static void value_byte(reply *r, char c) {
    const bool first = !r->value_begun;
    r->value_begun = true;
    if (first && c == '\n')
        return;
    if (r->newline)
        put_value(r, '\n');
    r->newline = c == '\n';
    if (!r->newline)
        put_value(r, c);
}

static void value_is_over(reply *r) {
    if (r->is_text == 1)
        put_args(r, "\"", 1);
    else {
        char *json = reply_value_json(r->value.s ? r->value.s : "", r->value.n, r->is_text);
        if (json)
            put_args(r, json, strlen(json));
        else
            r->st = KV_ENOMEM;
        free(json);
    }
    r->at = TAGS;
}

static void in_value(reply *r, char c) {
    if (!r->started)
        hold(r, c);
    if (r->held.n > REPLY_HELD || r->value.n > REPLY_HELD) {
        give_up(r);
        return;
    }
    r->tail[r->n_tail++] = c;
    for (;;) {
        const match m = match_one(r->f->value_end, r->tail, r->n_tail);
        if (m == FULL)
            value_is_over(r);
        if (m != NO || !r->n_tail)
            return;
        value_byte(r, r->tail[0]);
        memmove(r->tail, r->tail + 1, --r->n_tail);
        if (!r->n_tail)
            return;
    }
}

/* ---- between calls ---- */

static void begin_item(reply *r, bool marked) {
    forget_call(r);
    r->marked = marked;
    r->closed = r->in_list = false;
    r->mark = 0;
    r->at = ITEM;
}

static void begin_object(reply *r, char c) {
    forget_call(r);
    r->at = OBJECT;
    in_object(r, c);
}

/* A call is to come. */
static void in_item(reply *r, char c) {
    if (!r->mark && c == '{') {
        begin_object(r, c);
        return;
    }
    if (!r->mark && c == '[' && !r->in_list && (r->marked || match_any(r->f->open, &c, 1) == NO)) {
        r->in_list = true;
        hold(r, c);
        return;
    }
    if (!r->mark && c == ']' && r->in_list) {
        r->in_list = false;
        r->at = AFTER;
        hold(r, c);
        return;
    }
    if (!r->mark && is_space(c) && r->held.n < REPLY_HELD) {
        hold(r, c);
        return;
    }
    hold(r, c);
    const size_t n = ++r->mark;
    const char *s = r->held.s + r->held.n - n;
    const match open = r->in_list ? NO : match_any(r->f->open, s, n),
                section = r->in_list ? NO : match_any(r->f->section, s, n);
    if (open == FULL)
        r->marked = true;
    if (open == FULL || section == FULL) {
        r->mark = 0;
        return;
    }
    if (best_of(open, section) == PART)
        return;
    if (r->marked && !r->in_list && n == 1 && (r->f->shape == SHAPE_NAMED || r->f->shape == SHAPE_TAGS)) {
        r->held.n--;
        r->mark = 0;
        r->at = NAMING;
        in_name(r, c);
        return;
    }
    r->held.n--;
    r->mark--;
    give_up_at(r, c);
}

static bool is_json(const reply_format *f) {
    return f->shape == SHAPE_JSON || f->shape == SHAPE_SHORT;
}

/* Behind a call: others, marks, or content again. */
static void in_after(reply *r, char c) {
    if (!r->mark && (c == ',' || c == ';') && (r->in_list || (is_json(r->f) && !r->closed))) {
        hold(r, c);
        r->at = ITEM;
        return;
    }
    if (!r->mark && c == ']' && r->in_list) {
        r->in_list = false;
        r->held.n = 0;
        return;
    }
    if (!r->mark && c == '{' && is_json(r->f) && !r->in_list) {
        r->marked = r->marked && !r->closed;
        begin_object(r, c);
        return;
    }
    hold(r, c);
    if (!r->mark && is_space(c) && r->held.n < SPACES)
        return;
    const size_t n = ++r->mark;
    const char *s = r->held.s + r->held.n - n;
    const match close = match_any(r->f->close, s, n), open = match_any(r->f->open, s, n),
                section = match_any(r->f->section, s, n);
    if (close == FULL) {
        r->closed = true;
        r->held.n = r->mark = 0;
    } else if (open == FULL)
        begin_item(r, true);
    else if (section == FULL)
        begin_item(r, false);
    else if (best_of(best_of(close, open), section) == NO) {
        /* white space around markup goes with it */
        size_t skip = 0;
        r->held.n--;
        while (skip < r->held.n && is_space(r->held.s[skip]))
            skip++;
        memmove(r->held.s, r->held.s + skip, r->held.n - skip);
        r->held.n -= skip;
        r->at = TEXT;
        r->in_list = false;
        r->said = true;
        r->drops = false;
        release(r, CONTENT);
        step(r, c);
    }
}

/* ---- content and thoughts ---- */

static match match_thought(reply *r, const char *s, size_t n, bool close) {
    match best = NO;
    for (const thought_marks *m = thought_marks_all; m->open && best < FULL; m++) {
        if (close && r->thought && m != r->thought)
            continue;
        const match k = match_one(close ? m->close : m->open, s, n);
        best = best_of(k, best);
        if (k == FULL && !close)
            r->thought = m;
    }
    return best;
}

static bool may_be_bare(const reply *r) {
    return r->tools && r->f->bare && !r->said;
}

/* What begins as a mark and is none may still be a list of calls. */
static void no_mark(reply *r) {
    char rest[MARK];
    const size_t n = r->mark;
    memcpy(rest, r->held.s + r->held.n - n, n);
    if (*rest != '[' || !may_be_bare(r)) {
        retry(r, CONTENT);
        return;
    }
    r->held.n -= n;
    begin_item(r, false);
    for (size_t i = 0; i < n && !r->st; i++)
        step(r, rest[i]);
}

static void in_text(reply *r, char c) {
    if (!r->mark && is_space(c)) {
        if (r->drops)
            return;
        hold(r, c);
        if (r->held.n > SPACES)
            release(r, CONTENT);
        return;
    }
    if (!r->mark && c == '{' && may_be_bare(r)) {
        begin_item(r, false);
        in_item(r, c);
        return;
    }
    hold(r, c);
    const size_t n = ++r->mark;
    const char *s = r->held.s ? r->held.s + r->held.n - n : "";
    const match thought = !r->said && r->cfg.events.thought ? match_thought(r, s, n, false) : NO;
    const match open = r->tools ? match_any(r->f->open, s, n) : NO, section = r->tools ? match_any(r->f->section, s, n) : NO;
    if (thought == FULL) {
        r->held.n = r->mark = 0;
        r->at = THOUGHT;
        r->drops = true;
    } else if (open == FULL || section == FULL)
        begin_item(r, open == FULL);
    else if (best_of(best_of(open, section), thought) == NO)
        no_mark(r);
}

static void in_thought(reply *r, char c) {
    if (!r->mark && is_space(c)) {
        if (r->drops)
            return;
        hold(r, c);
        if (r->held.n > SPACES)
            release(r, THINKING);
        return;
    }
    hold(r, c);
    r->drops = false;
    const size_t n = ++r->mark;
    const match m = match_thought(r, r->held.s ? r->held.s + r->held.n - n : "", n, true);
    if (m == FULL) {
        r->held.n = r->mark = 0;
        r->at = TEXT;
        r->drops = true;
    } else if (m == NO)
        retry(r, THINKING);
}

static void step(reply *r, char c) {
    static void (*const of[])(reply *, char) = {
        [TEXT] = in_text,
        [THOUGHT] = in_thought,
        [ITEM] = in_item,
        [NAMING] = in_name,
        [BEFORE] = before_arguments,
        [OBJECT] = in_object,
        [ARGUMENTS] = in_arguments,
        [TAGS] = between_tags,
        [KEY] = in_key,
        [VALUE_MARK] = before_value,
        [VALUE] = in_value,
        [AFTER] = in_after,
    };
    if (!r->st)
        of[r->at](r, c);
}

/* ---- from outside ---- */

kv_status reply_new(const reply_cfg *cfg, reply **out, kv_err *err) {
    reply *r = calloc(1, sizeof *r);
    *out = r;
    if (!r)
        return kv_fail(err, KV_ENOMEM, "out of memory for an answer");
    r->cfg = *cfg;
    r->f = cfg->format;
    r->tools = json_array_size(cfg->tools);
    forget_call(r);
    if (r->st) {
        reply_free(r);
        *out = NULL;
        return kv_fail(err, KV_ENOMEM, "out of memory for an answer");
    }
    if (cfg->thinking && cfg->events.thought) {
        r->at = THOUGHT;
        r->drops = true;
    }
    return KV_OK;
}

void reply_free(reply *r) {
    if (!r)
        return;
    reply_buf *const all[] = {&r->held, &r->out, &r->name, &r->key, &r->args, &r->value};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]->s);
    free(r);
}

static kv_status done(reply *r, kv_err *err) {
    flush(r);
    return r->st ? kv_fail(err, r->st, "out of memory for an answer") : KV_OK;
}

kv_status reply_push(reply *r, const char *text, size_t len, kv_err *err) {
    for (size_t i = 0; i < len && !r->st; i++)
        step(r, text[i]);
    return done(r, err);
}

/* Is what is held nothing but what stands between calls? */
static bool is_rest(const reply *r) {
    return !r->held.n || (r->n_calls && strspn(r->held.s, " \n\t\r,;[]") >= r->held.n);
}

kv_status reply_end(reply *r, kv_err *err) {
    if (r->at == THOUGHT)
        release(r, THINKING);
    else if (r->at == AFTER || (r->at == ITEM && is_rest(r)))
        r->held.n = 0;
    else if (r->at == TEXT)
        release(r, CONTENT);
    else
        give_up(r);
    return done(r, err);
}

uint32_t reply_calls(const reply *r) {
    return r->n_calls;
}
