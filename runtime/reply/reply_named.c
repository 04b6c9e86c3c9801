/* Calls that are a name and its arguments, as JSON or between tags. */
#include "reply/reply_parser.h"

#include <stdlib.h>
#include <string.h>

/* A mark was read. */
static void take_mark(reply *r) {
    r->mark = 0;
    if (r->started)
        r->held.n = 0;
}

void reply_before_arguments(reply *r, char c) {
    if (!r->mark && c == '{') {
        r->scan = (json_scan){0};
        r->at = ARGUMENTS;
        reply_in_arguments(r, c);
        return;
    }
    reply_hold(r, c);
    if (!r->mark && reply_is_space(c) && r->held.n < REPLY_HELD)
        return;
    const size_t n = ++r->mark;
    const char *s = r->held.s + r->held.n - n;
    const match skip = reply_match_one(r->f->skip, s, n), close = reply_match_any(r->f->close, s, n);
    if (skip == FULL)
        take_mark(r);
    else if (close == FULL && skip == NO) {
        r->closed = true;
        reply_end_call(r);
    } else if (reply_best_of(skip, close) == NO) {
        r->held.n--;
        reply_give_up_at(r, c);
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
    while (r->name.n && reply_is_space(s[r->name.n - 1]))
        r->name.n--;
    s[r->name.n] = '\0';
}

void reply_in_name(reply *r, char c) {
    const char *end = NULL;
    reply_hold(r, c);
    reply_add(r, &r->name, &c, 1);
    if (r->st)
        return;
    for (const char *const *m = r->f->name_end; *m && !end; m++) {
        const size_t n = strlen(*m);
        if (n <= r->name.n && !memcmp(r->name.s + r->name.n - n, *m, n))
            end = *m;
    }
    if (!end) {
        if (r->name.n > NAME || !c)
            reply_give_up(r);
        return;
    }
    const size_t n = strlen(end);
    r->name.n -= n;
    r->name.s[r->name.n] = '\0';
    cut_name(r);
    if (!reply_is_name(r->name.s, r->name.n)) {
        reply_give_up(r);
        return;
    }
    const bool again = belongs_behind(r->f, end);
    if (again)
        r->held.n -= n;
    r->at = r->f->shape == SHAPE_TAGS ? TAGS : r->f->shape == SHAPE_PYTHON ? CALLING : BEFORE;
    r->brackets = 0;
    r->quote = '\0';
    r->got_name = true;
    if (r->at == TAGS)
        reply_put_args(r, "{", 1);
    for (size_t i = 0; again && i < n && !r->st; i++)
        r->step(r, end[i]);
}

/* ---- arguments in Python ---- */

static void call_is_over(reply *r) {
    char *json = NULL;
    if (!reply_python_arguments(r->value.s, r->value.n, &json))
        r->st = KV_ENOMEM;
    if (r->st)
        return;
    if (json) {
        reply_put_args(r, json, strlen(json));
        reply_end_call(r);
    } else
        reply_give_up(r);
    free(json);
}

/* They come when they are whole: only then it is certain what they are. */
void reply_in_call(reply *r, char c) {
    const bool text = r->quote;
    reply_hold(r, c);
    if (r->held.n > REPLY_HELD) {
        reply_give_up(r);
        return;
    }
    if (text) {
        if (!r->escaped && c == r->quote)
            r->quote = '\0';
        r->escaped = !r->escaped && c == '\\';
    } else if (c == '"' || c == '\'') {
        r->quote = c;
        r->escaped = false;
    } else if (strchr("([{", c) && c)
        r->brackets++;
    else if (c == ')' && !r->brackets) {
        call_is_over(r);
        return;
    } else if (strchr(")]}", c) && c && r->brackets)
        r->brackets--;
    reply_add(r, &r->value, &c, 1);
}

/* ---- arguments between tags ---- */

static void put_escaped(reply *r, char c) {
    if (c == '"' || c == '\\')
        reply_put_args(r, "\\", 1);
    reply_put_arg(r, c, true);
}

void reply_between_tags(reply *r, char c) {
    if (!r->mark && reply_is_space(c)) {
        if (!r->started)
            reply_hold(r, c);
        return;
    }
    reply_hold(r, c);
    const size_t n = ++r->mark;
    const char *s = r->held.s + r->held.n - n;
    const match key = reply_match_one(r->f->key, s, n), end = reply_match_one(r->f->end, s, n);
    if (key == FULL) {
        take_mark(r);
        reply_clear(r, &r->key);
        r->at = KEY;
    } else if (end == FULL) {
        reply_put_args(r, "}", 1);
        r->closed = true;
        reply_end_call(r);
    } else if (reply_best_of(key, end) == NO || r->held.n > REPLY_HELD) {
        r->held.n--;
        r->mark--;
        reply_give_up_at(r, c);
    }
}

static void value_comes(reply *r) {
    r->is_text = reply_is_text(r->cfg.tools, r->name.s, r->key.s);
    r->value.n = r->n_tail = 0;
    r->value_begun = r->newline = false;
    r->at = VALUE;
    if (r->is_text == 1)
        reply_put_args(r, "\"", 1);
}

void reply_in_key(reply *r, char c) {
    const size_t n = strlen(r->f->key_end);
    if (!r->started)
        reply_hold(r, c);
    reply_add(r, &r->key, &c, 1);
    if (r->st || !c || r->key.n > NAME) {
        reply_give_up(r);
        return;
    }
    if (r->key.n < n || memcmp(r->key.s + r->key.n - n, r->f->key_end, n))
        return;
    r->key.s[r->key.n - n] = '\0';
    r->key.n = strcspn(r->key.s, "\"");
    r->key.s[r->key.n] = '\0';
    if (r->in_value) /* not the first argument */
        reply_put_args(r, ", ", 2);
    r->in_value = true;
    reply_put_args(r, "\"", 1);
    for (size_t i = 0; i < r->key.n; i++)
        put_escaped(r, r->key.s[i]);
    reply_put_args(r, "\": ", 3);
    if (r->f->value)
        r->at = VALUE_MARK;
    else
        value_comes(r);
}

void reply_before_value(reply *r, char c) {
    if (!r->mark && reply_is_space(c)) {
        if (!r->started)
            reply_hold(r, c);
        return;
    }
    reply_hold(r, c);
    const match m = reply_match_one(r->f->value, r->held.s + r->held.n - r->mark - 1, r->mark + 1);
    r->mark++;
    if (m == FULL) {
        take_mark(r);
        value_comes(r);
    } else if (m == NO) {
        r->held.n--;
        r->mark--;
        reply_give_up_at(r, c);
    }
}

static void put_value(reply *r, char c) {
    if (r->is_text == 1)
        put_escaped(r, c);
    else
        reply_add(r, &r->value, &c, 1);
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
        reply_put_args(r, "\"", 1);
    else {
        char *json = reply_value_json(r->value.s ? r->value.s : "", r->value.n, r->is_text);
        if (json)
            reply_put_args(r, json, strlen(json));
        else
            r->st = KV_ENOMEM;
        free(json);
    }
    r->at = TAGS;
}

void reply_in_value(reply *r, char c) {
    if (!r->started)
        reply_hold(r, c);
    if (r->held.n > REPLY_HELD || r->value.n > REPLY_HELD) {
        reply_give_up(r);
        return;
    }
    r->tail[r->n_tail++] = c;
    for (;;) {
        const match m = reply_match_one(r->f->value_end, r->tail, r->n_tail);
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
