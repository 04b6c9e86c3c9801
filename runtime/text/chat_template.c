/* Chats by the model's template.
 *
 * A template decides everything itself. A BOS token at its start is left out where the tokenizer adds one; and what it does
 * with system messages, tools, calls and results is tried when it is opened, so that what it loses or refuses can be said in
 * other words.
 */
#include "text/chat_internal.h"

#include "text/thought.h"

#include <stdlib.h>
#include <string.h>

static const char *const special_names[N_SPECIALS] = {
    [BOS_TOKEN] = "bos_token", [EOS_TOKEN] = "eos_token", [UNK_TOKEN] = "unk_token", [PAD_TOKEN] = "pad_token"};

static json_t *json_of(bool value) {
    return value ? json_true() : json_false();
}

static int set(json_t *values, const char *key, const json_t *value) {
    return value ? json_object_set(values, key, (json_t *)value) : json_object_set_new(values, key, json_null());
}

/* The values of one rendering. NULL: no memory. */
static json_t *values_of(const chat_format *f, const json_t *messages, const chat_request *r) {
    json_t *v = json_object();
    int bad = set(v, "messages", messages) | set(v, "tools", r->tools) | set(v, "documents", NULL);
    bad |= json_object_set_new(v, "add_generation_prompt", json_of(r->open));
    for (int i = 0; i < N_SPECIALS; i++)
        if (f->special[i] || i <= EOS_TOKEN) { /* templates add these two to texts without asking whether they are there */
            const char *text = f->special[i] ? f->special[i] : "";
            bad |= json_object_set_new(v, special_names[i], json_stringn_nocheck(text, strlen(text)));
        }
    if (!bad)
        return v;
    json_decref(v);
    return NULL;
}

static kv_status add_extra(json_t *values, const json_t *extra, kv_err *err) {
    const char *key;
    json_t *v;
    if (extra && !json_is_object(extra))
        return kv_fail(err, KV_EINVAL, "values for the chat template are an object of names and values");
    json_object_foreach((json_t *)extra, key, v) {
        if (json_object_get(values, key) && strcmp(key, "documents"))
            return kv_fail(err, KV_EINVAL, "the chat template's value '%s' cannot be set", key);
        if (json_object_set(values, key, v))
            return kv_fail(err, KV_ENOMEM, "out of memory for a conversation");
    }
    return KV_OK;
}

/* The tokenizer adds BOS: what the template writes of it goes. */
static void drop_bos(const chat_format *f, tpl_text *text) {
    const char *bos = f->special[BOS_TOKEN];
    const size_t len = bos ? strlen(bos) : 0;
    if (!len || f->keeps_bos || !text->n_spans || text->span[0].input || text->span[0].len < len || memcmp(text->s, bos, len))
        return;
    memmove(text->s, text->s + len, text->len - len + 1);
    text->len -= len;
    text->span[0].len -= len;
    if (!text->span[0].len)
        memmove(text->span, text->span + 1, --text->n_spans * sizeof *text->span);
}

kv_status chat_template_render(const chat_format *f, const json_t *messages, const chat_request *r, uint64_t max_steps,
                               tpl_text *out, kv_err *err) {
    static const char *const own[] = {"role",      "bos_token", "eos_token",
                                      "unk_token", "pad_token", NULL}; /* what callers choose, not what users say */
    json_t *values = values_of(f, messages, r);
    *out = (tpl_text){0};
    if (!values)
        return kv_fail(err, KV_ENOMEM, "out of memory for a conversation");
    kv_status st = add_extra(values, r->extra, err);
    if (!st)
        st = tpl_render(f->t, values, &(tpl_cfg){.own = own, .now = f->now, .max_steps = max_steps}, out, err);
    json_decref(values);
    if (!st)
        drop_bos(f, out);
    return st;
}

/* ---- trying it ---- */

/* Nothing but the template's own words may begin a thought. */
bool chat_ends_in_thought(const tpl_text *text) {
    size_t len = text->len, own = text->n_spans && !text->span[text->n_spans - 1].input ? text->span[text->n_spans - 1].len : 0;
    while (len && own && strchr(" \t\r\n", text->s[len - 1])) {
        len--;
        own--;
    }
    for (const thought_marks *m = thought_marks_all; m->open; m++) {
        const size_t n = strlen(m->open);
        if (n <= own && !memcmp(text->s + len - n, m->open, n))
            return true;
    }
    return false;
}

enum { TRY_STEPS = 1 << 20 };

/* What it is tried with: texts that no template has by itself. */
#define T_SYSTEM           "{'role':'system','content':'the system\\'s words'}"
#define T_USER             "{'role':'user','content':'the user\\'s words'}"
#define T_CALL(id, args)   "{'id':'" id "','type':'function','function':{'name':'find_it','arguments':" args "}}"
#define T_CALLS(calls)     "{'role':'assistant','content':'','tool_calls':[" calls "]}"
#define T_RESULT(id, text) "{'role':'tool','tool_call_id':'" id "','name':'find_it','content':'" text "'}"
#define T_TOOLS                                                                                                                \
    "[{'type':'function','function':{'name':'find_it','description':'Finds it.','parameters':{'type':'object',"                \
    "'properties':{'the_key':{'type':'string','description':'What it is.'}},'required':['the_key']}}}]"
#define T_OBJECT(value) "{'the_key':'" value "'}"
#define T_TEXT          "'{\\\"the_key\\\": \\\"the_value\\\"}'"

/* JSON with ' in place of ", and \' for that itself. NULL: no memory. */
static json_t *quoted(const char *text) {
    char *copy = strdup(text), *to = copy;
    for (const char *s = copy; s && *s; s++)
        if (*s == '\'')
            *to++ = '"';
        else if (s[0] == '\\' && s[1] == '\'')
            *to++ = *++s;
        else
            *to++ = *s;
    /* where there is little memory, jansson loses bytes of texts without a word: not the same ones twice */
    json_t *j = copy ? json_loadb(copy, (size_t)(to - copy), 0, NULL) : NULL;
    json_t *again = copy ? json_loadb(copy, (size_t)(to - copy), 0, NULL) : NULL;
    const bool same = j && json_equal(j, again);
    free(copy);
    json_decref(again);
    if (same)
        return j;
    json_decref(j);
    return NULL;
}

/* What is tried, and whether there was memory for it. */
typedef struct trial {
    const chat_format *f;
    bool failed;
} trial;

/* The text that comes of it; false: none. */
static bool tried(trial *x, const char *messages, bool tools, tpl_text *out) {
    json_t *list = quoted(messages), *t = tools ? quoted(T_TOOLS) : NULL;
    const chat_request r = {.tools = t, .open = true};
    *out = (tpl_text){0};
    const kv_status st = list && (t || !tools) ? chat_template_render(x->f, list, &r, TRY_STEPS, out, NULL) : KV_ENOMEM;
    x->failed |= st == KV_ENOMEM;
    json_decref(list);
    json_decref(t);
    return !st;
}

/* Is all of it there, once this is rendered? more: NULL, or another text. */
static bool shows(trial *x, const char *messages, bool tools, const char *text, const char *more) {
    tpl_text out;
    const bool yes = tried(x, messages, tools, &out) && memmem(out.s, out.len, text, strlen(text)) &&
                     (!more || memmem(out.s, out.len, more, strlen(more)));
    tpl_text_free(&out);
    return yes;
}

bool chat_mentions(const chat_format *f, const char *phrase) {
    return f->source && memmem(f->source, f->source_len, phrase, strlen(phrase));
}

#define T_FIRST        T_CALL("call00001", T_OBJECT("the_value"))
#define T_FIRST_TEXT   T_CALL("call00001", T_TEXT)
#define T_SECOND       T_CALL("call00002", T_OBJECT("another"))
#define T_LONG         T_CALL("call_0123456789abcdef", T_OBJECT("the_value"))
#define T_FIRST_RESULT T_RESULT("call00001", "the result")

static void try_calls(trial *x, chat_traits *is) {
    const bool tools = is->tools && !is->system_tools;
    const bool object = shows(x, "[" T_USER "," T_CALLS(T_FIRST) "]", tools, "find_it", "the_value");
    is->text_args = !object && shows(x, "[" T_USER "," T_CALLS(T_FIRST_TEXT) "]", tools, "find_it", "the_value");
    is->calls = object || is->text_args;
    is->results = shows(x,
                        object ? "[" T_USER "," T_CALLS(T_FIRST) "," T_FIRST_RESULT "]"
                               : "[" T_USER "," T_CALLS(T_FIRST_TEXT) "," T_FIRST_RESULT "]",
                        tools, "the result", NULL);
    is->one_call =
        object &&
        !shows(x, "[" T_USER "," T_CALLS(T_FIRST "," T_SECOND) "," T_FIRST_RESULT "," T_RESULT("call00002", "the second") "]",
               tools, "the_value", "another");
    is->short_ids = object && !shows(x, "[" T_USER "," T_CALLS(T_LONG) "," T_RESULT("call_0123456789abcdef", "the result") "]",
                                     tools, "the_value", NULL);
}

/* One that fails anyway will say so when it is used. */
kv_status chat_template_try(chat_format *f, kv_err *err) {
    static const char user[] = "the user's words", system[] = "the system's words";
    trial x = {.f = f};
    tpl_text out;
    const bool works = tried(&x, "[" T_USER "]", false, &out) && memmem(out.s, out.len, user, strlen(user));
    f->is.thinks = works && chat_ends_in_thought(&out);
    tpl_text_free(&out);
    f->is.merges_system = works && !shows(&x, "[" T_SYSTEM "," T_USER "]", false, system, NULL);
    if (chat_mentions(f, "tool")) {
        f->is.tools = shows(&x, "[" T_USER "]", true, "find_it", "the_key");
        f->is.system_tools =
            !f->is.tools && shows(&x, "[{'role':'system','content':'','tools':'find_it'}," T_USER "]", false, "find_it", NULL);
        f->is.tools |= f->is.system_tools;
        try_calls(&x, &f->is);
    }
    return x.failed ? kv_fail(err, KV_ENOMEM, "out of memory for a chat template") : KV_OK;
}
