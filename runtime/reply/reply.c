/* The parser of answers: content, thoughts, and what stands between calls. */
#include "reply/reply_parser.h"

#include <stdlib.h>
#include <string.h>

/* ---- between calls ---- */

static void begin_item(reply *r, bool marked) {
    reply_forget_call(r);
    r->marked = marked;
    r->closed = r->in_list = false;
    r->mark = 0;
    r->at = ITEM;
}

static void begin_object(reply *r, char c) {
    reply_forget_call(r);
    r->at_brace = r->doubled = false;
    r->at = OBJECT;
    reply_in_object(r, c);
}

static bool is_json(const reply_format *f) {
    return f->shape == SHAPE_JSON || f->shape == SHAPE_SHORT;
}

/* A call is to come. */
static void in_item(reply *r, char c) {
    if (!r->mark && c == '{') {
        begin_object(r, c);
        return;
    }
    if (!r->mark && c == '[' && !r->in_list && (r->marked || reply_match_any(r->f->open, &c, 1) == NO)) {
        r->in_list = true;
        reply_hold(r, c);
        return;
    }
    if (!r->mark && c == ']' && r->in_list) {
        r->in_list = false;
        r->at = AFTER;
        reply_hold(r, c);
        return;
    }
    if (!r->mark && reply_is_space(c) && r->held.n < REPLY_HELD) {
        reply_hold(r, c);
        return;
    }
    reply_hold(r, c);
    const size_t n = ++r->mark;
    const char *s = r->held.s + r->held.n - n;
    const match open = r->in_list ? NO : reply_match_any(r->f->open, s, n),
                section = r->in_list ? NO : reply_match_any(r->f->section, s, n);
    if (open == FULL)
        r->marked = true;
    if (open == FULL || section == FULL) {
        r->mark = 0;
        return;
    }
    if (reply_best_of(open, section) == PART)
        return;
    const bool python = r->f->shape == SHAPE_PYTHON;
    if (r->marked && n == 1 && (python || (!r->in_list && !is_json(r->f)))) {
        reply_forget_call(r);
        r->held.n--;
        r->mark = 0;
        r->at = NAMING;
        reply_in_name(r, c);
        return;
    }
    r->held.n--;
    r->mark--;
    reply_give_up_at(r, c);
}

/* Behind a call: others, marks, or content again. */
static void in_after(reply *r, char c) {
    if (!r->mark && c == '}' && r->doubled) {
        r->doubled = false;
        r->held.n = 0;
        return;
    }
    if (!r->mark && (c == ',' || c == ';') && (r->in_list || (is_json(r->f) && !r->closed))) {
        reply_hold(r, c);
        r->at = ITEM;
        return;
    }
    if (!r->mark && c == ']' && r->in_list) {
        r->in_list = false;
        r->held.n = 0;
        return;
    }
    if (!r->mark && r->f->shape == SHAPE_PYTHON && !r->closed && !r->in_list && reply_is_name(&c, 1)) {
        r->at = ITEM;
        in_item(r, c);
        return;
    }
    if (!r->mark && c == '{' && is_json(r->f) && !r->in_list) {
        r->marked = r->marked && !r->closed;
        begin_object(r, c);
        return;
    }
    reply_hold(r, c);
    if (!r->mark && reply_is_space(c) && r->held.n < SPACES)
        return;
    const size_t n = ++r->mark;
    const char *s = r->held.s + r->held.n - n;
    const match close = reply_match_any(r->f->close, s, n), open = reply_match_any(r->f->open, s, n),
                section = reply_match_any(r->f->section, s, n);
    if (close == FULL) {
        r->closed = true;
        r->held.n = r->mark = 0;
    } else if (open == FULL)
        begin_item(r, true);
    else if (section == FULL)
        begin_item(r, false);
    else if (reply_best_of(reply_best_of(close, open), section) == NO) {
        /* white space around markup goes with it */
        size_t skip = 0;
        r->held.n--;
        while (skip < r->held.n && reply_is_space(r->held.s[skip]))
            skip++;
        memmove(r->held.s, r->held.s + skip, r->held.n - skip);
        r->held.n -= skip;
        r->at = TEXT;
        r->in_list = false;
        r->said = true;
        r->drops = false;
        reply_release(r, CONTENT);
        r->step(r, c);
    }
}

/* ---- content and thoughts ---- */

static match match_thought(reply *r, const char *s, size_t n, bool close) {
    match best = NO;
    for (const thought_marks *m = thought_marks_all; m->open && best < FULL; m++) {
        if (close && r->thought && m != r->thought)
            continue;
        const match k = reply_match_one(close ? m->close : m->open, s, n);
        best = reply_best_of(k, best);
        if (k == FULL && !close)
            r->thought = m;
    }
    return best;
}

/* What some models put around their answers behind a thought: Granite 3.3, Hunyuan. */
static const char *const answer_open[] = {"<response>", "<answer>", NULL}, *const answer_close[] = {"</response>", "</answer>",
                                                                                                    NULL};

static bool may_be_bare(const reply *r) {
    return r->tools && r->f->bare && !r->said;
}

/* What begins as a mark and is none may still be a list of calls. */
static void no_mark(reply *r) {
    char rest[MARK];
    const size_t n = r->mark;
    /* NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): what began as a mark is held */
    memcpy(rest, r->held.s + r->held.n - n, n);
    if (*rest != '[' || !may_be_bare(r)) {
        reply_retry(r, CONTENT);
        return;
    }
    r->held.n -= n;
    begin_item(r, false);
    for (size_t i = 0; i < n && !r->st; i++)
        r->step(r, rest[i]);
}

static void in_text(reply *r, char c) {
    if (!r->mark && reply_is_space(c)) {
        if (r->drops)
            return;
        reply_hold(r, c);
        if (r->held.n > SPACES)
            reply_release(r, CONTENT);
        return;
    }
    if (!r->mark && c == '{' && may_be_bare(r)) {
        begin_item(r, false);
        in_item(r, c);
        return;
    }
    reply_hold(r, c);
    const size_t n = ++r->mark;
    const char *s = r->held.s ? r->held.s + r->held.n - n : "";
    const match thought = !r->said && r->cfg.events.thought ? match_thought(r, s, n, false) : NO;
    const match open = r->tools ? reply_match_any(r->f->open, s, n) : NO,
                section = r->tools ? reply_match_any(r->f->section, s, n) : NO;
    const match around = r->drops ? reply_match_any(answer_open, s, n) : r->around ? reply_match_any(answer_close, s, n) : NO;
    if (around == FULL) {
        r->around = r->drops;
        r->drops = true;
        r->held.n = r->mark = 0;
    } else if (thought == FULL) {
        r->held.n = r->mark = 0;
        r->at = THOUGHT;
        r->drops = true;
    } else if (open == FULL || section == FULL)
        begin_item(r, open == FULL);
    else if (reply_best_of(reply_best_of(open, section), reply_best_of(thought, around)) == NO)
        no_mark(r);
}

static void in_thought(reply *r, char c) {
    if (!r->mark && reply_is_space(c)) {
        if (r->drops)
            return;
        reply_hold(r, c);
        if (r->held.n > SPACES)
            reply_release(r, THINKING);
        return;
    }
    reply_hold(r, c);
    r->drops = false;
    const size_t n = ++r->mark;
    const char *at = r->held.s ? r->held.s + r->held.n - n : "";
    const match again = r->begins ? match_thought(r, at, n, false) : NO, m = match_thought(r, at, n, true);
    if (again == FULL) { /* though the prompt had begun it */
        r->held.n = r->mark = 0;
        r->begins = false;
        r->drops = true;
        return;
    }
    if (again == PART)
        return;
    r->begins = r->begins && m != NO;
    if (m == FULL) {
        r->held.n = r->mark = 0;
        r->at = TEXT;
        r->drops = true;
    } else if (m == NO)
        reply_retry(r, THINKING);
}

static void step(reply *r, char c) {
    static void (*const of[])(reply *, char) = {
        [TEXT] = in_text,
        [THOUGHT] = in_thought,
        [ITEM] = in_item,
        [NAMING] = reply_in_name,
        [BEFORE] = reply_before_arguments,
        [OBJECT] = reply_in_object,
        [ARGUMENTS] = reply_in_arguments,
        [TAGS] = reply_between_tags,
        [KEY] = reply_in_key,
        [VALUE_MARK] = reply_before_value,
        [VALUE] = reply_in_value,
        [CALLING] = reply_in_call,
        [AFTER] = in_after,
    };
    if (!r->st && !reply_buf_reserve(&r->held, MARK))
        r->st = KV_ENOMEM;
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
    r->step = step;
    r->tools = json_array_size(cfg->tools);
    reply_forget_call(r);
    if (r->st) {
        reply_free(r);
        *out = NULL;
        return kv_fail(err, KV_ENOMEM, "out of memory for an answer");
    }
    if (cfg->thinking && cfg->events.thought) {
        r->at = THOUGHT;
        r->drops = r->begins = true;
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
    reply_flush(r);
    return r->st ? kv_fail(err, r->st, "out of memory for an answer") : KV_OK;
}

kv_status reply_push(reply *r, const char *text, size_t len, kv_err *err) {
    for (size_t i = 0; i < len && !r->st; i++)
        r->step(r, text[i]);
    return done(r, err);
}

/* Is what is held nothing but what stands between calls? */
static bool is_rest(const reply *r) {
    return !r->held.n || (r->n_calls && strspn(r->held.s, " \n\t\r,;[]") >= r->held.n);
}

kv_status reply_end(reply *r, kv_err *err) {
    if (r->at == THOUGHT)
        reply_release(r, THINKING);
    else if (r->at == AFTER || (r->at == ITEM && is_rest(r)))
        r->held.n = 0;
    else if (r->at == TEXT)
        reply_release(r, CONTENT);
    else
        reply_give_up(r);
    return done(r, err);
}

uint32_t reply_calls(const reply *r) {
    return r->n_calls;
}
