/* Messages and tools as clients send them, read into the one form that templates expect: what transformers gives them. Clients
 * differ in much: contents are texts, lists of parts or null, arguments are JSON in a text or objects, ids are missing.
 */
#include "text/chat_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct reader {
    const chat_format *f;
    json_t *ids;     /* object: id of a call -> {"id", "name"}, as templates get them */
    json_t *waiting; /* array of the same, of the last calls: results without an id are of the first */
    size_t n_calls;
    size_t at; /* which message */
    kv_err *err;
} reader;

static kv_status no_memory(kv_err *err) {
    return kv_fail(err, KV_ENOMEM, "out of memory for a conversation");
}

json_t *chat_copy(json_t *object) {
    json_t *out = json_copy(object);
    if (out && json_object_size(out) == json_object_size(object))
        return out;
    json_decref(out);
    return NULL;
}

/* ---- contents ---- */

static const char *part_text(const json_t *part, size_t *len) {
    static const char *const keys[] = {"text", "refusal"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const json_t *s = json_is_object(part) ? json_object_get(part, keys[i]) : json_is_string(part) ? part : NULL;
        if (json_is_string(s)) {
            *len = json_string_length(s);
            return json_string_value(s);
        }
    }
    return NULL;
}

/* Parts are texts of their own: one begins on a new line. */
static kv_status join_parts(const reader *x, const json_t *parts, json_t **out) {
    char *s = NULL;
    size_t n = 0, i, len;
    const json_t *part;
    kv_status st = KV_OK;
    FILE *o = open_memstream(&s, &n);
    if (!o)
        return no_memory(x->err);
    bool first = true, line = true;
    json_array_foreach(parts, i, part) {
        const char *text = part_text(part, &len), *type = json_string_value(json_object_get(part, "type"));
        if (!text) {
            st = kv_fail(x->err, KV_EINVAL, "message %zu: part %zu of its content is %s%s%s; only texts can be read", x->at, i,
                         type ? "of type '" : "no text", type ? type : "", type ? "'" : "");
            break;
        }
        if (!len)
            continue;
        if (!first && !line)
            putc('\n', o);
        fwrite(text, 1, len, o);
        line = text[len - 1] == '\n';
        first = false;
    }
    if ((fclose(o) || !s) && !st)
        st = no_memory(x->err);
    if (!st && !(*out = json_stringn_nocheck(s, n)))
        st = no_memory(x->err);
    free(s);
    return st;
}

/* null and nothing at all are an empty text: templates that look for either do without, and others fail on it. */
static kv_status read_content(const reader *x, const json_t *content, json_t **out) {
    if (json_is_array(content))
        return join_parts(x, content, out);
    if (json_is_string(content))
        *out = json_incref((json_t *)content);
    else if (!content || json_is_null(content))
        *out = json_string("");
    else
        return kv_fail(x->err, KV_EINVAL, "message %zu: its content is neither a text nor a list of texts", x->at);
    return *out ? KV_OK : no_memory(x->err);
}

/* ---- calls ---- */

/* Arguments as the template wants them. What is no JSON object is left as it is: a model said it. NULL: no memory. */
static json_t *arguments(const chat_format *f, const json_t *given) {
    json_error_t why = {0};
    if (!given || json_is_null(given) || (json_is_string(given) && !json_string_length(given)))
        return f->is.text_args ? json_string("{}") : json_object();
    if (f->is.text_args && !json_is_string(given)) {
        char *text = json_dumps(given, JSON_ENCODE_ANY);
        json_t *s = text ? json_string_nocheck(text) : NULL;
        free(text);
        return s;
    }
    if (f->is.text_args || !json_is_string(given))
        return json_incref((json_t *)given);
    json_t *object = json_loadb(json_string_value(given), json_string_length(given), JSON_ALLOW_NUL, &why);
    if (json_is_object(object) || (!object && !*why.text)) /* it says what is wrong, but of memory */
        return object;
    json_decref(object);
    return json_incref((json_t *)given);
}

/* The call's id for templates: its own, or one of nine letters and digits where it has none that will do. */
static json_t *new_id(reader *x, const json_t *given) {
    char id[16];
    x->n_calls++;
    if (json_is_string(given) && json_string_length(given) && !x->f->is.short_ids)
        return json_incref((json_t *)given);
    snprintf(id, sizeof id, "call%05zu", x->n_calls % 100000);
    return json_string(id);
}

static kv_status read_call(reader *x, const json_t *call, size_t i, json_t *list) {
    const json_t *function = json_object_get(call, "function"), *given = json_object_get(call, "id");
    const json_t *name = json_object_get(function, "name");
    if (!json_is_string(name))
        return kv_fail(x->err, KV_EINVAL, "message %zu: call %zu names no function", x->at, i);
    json_t *id = new_id(x, given), *known = json_pack("{s:O,s:O}", "id", id, "name", name);
    json_t *args = arguments(x->f, json_object_get(function, "arguments"));
    json_t *out = json_pack("{s:O,s:s,s:{s:O,s:o}}", "id", id, "type", "function", "function", "name", name, "arguments", args);
    int bad = json_array_append_new(list, out) | json_array_append(x->waiting, known);
    if (json_is_string(given))
        bad |= json_object_set(x->ids, json_string_value(given), known);
    json_decref(known);
    json_decref(id);
    return bad ? no_memory(x->err) : KV_OK;
}

static kv_status read_calls(reader *x, const json_t *m, json_t *out) {
    const json_t *calls = json_object_get(m, "tool_calls"), *old = json_object_get(m, "function_call");
    kv_status st = KV_OK;
    json_object_del(out, "tool_calls");
    json_object_del(out, "function_call");
    const size_t n = json_array_size(calls);
    if (calls && !json_is_null(calls) && !json_is_array(calls))
        return kv_fail(x->err, KV_EINVAL, "message %zu: tool_calls is no list", x->at);
    if (!n && !json_is_object(old))
        return KV_OK;
    json_t *list = json_array(), *wrapped = n ? NULL : json_pack("{s:O}", "function", old);
    if (!n && !wrapped)
        st = no_memory(x->err);
    json_array_clear(x->waiting);
    for (size_t i = 0; i < n && !st; i++)
        st = read_call(x, json_array_get(calls, i), i, list);
    if (wrapped && !st)
        st = read_call(x, wrapped, 0, list);
    json_decref(wrapped);
    if (json_object_set_new(out, "tool_calls", list) && !st)
        st = no_memory(x->err);
    return st;
}

/* Which call a result is of: by its id, else the first one that has none yet. */
static kv_status read_result(reader *x, const json_t *m, json_t *out) {
    const char *id = json_string_value(json_object_get(m, "tool_call_id"));
    json_t *call = id ? json_object_get(x->ids, id) : NULL;
    size_t i;
    json_t *w;
    if (!call && !(id && *id))
        call = json_array_get(x->waiting, 0);
    int bad = 0;
    if (call) {
        bad |= json_object_set(out, "tool_call_id", json_object_get(call, "id"));
        if (!json_is_string(json_object_get(out, "name")))
            bad |= json_object_set(out, "name", json_object_get(call, "name"));
        json_array_foreach(x->waiting, i, w) if (w == call) {
            json_array_remove(x->waiting, i);
            break;
        }
    } else if (!id)
        json_object_del(out, "tool_call_id");
    return bad ? no_memory(x->err) : KV_OK;
}

/* ---- messages ---- */

/* Thoughts go by several names; a template gets them by those that it knows. */
static int name_thoughts(const reader *x, json_t *out) {
    static const char *const names[] = {"reasoning_content", "reasoning", "thinking", "thought"};
    enum { N = sizeof names / sizeof *names };
    const json_t *said = NULL;
    int bad = 0;
    for (int i = 0; i < N && !said; i++) {
        const json_t *v = json_object_get(out, names[i]);
        said = json_is_string(v) && json_string_length(v) ? v : NULL;
    }
    if (!said || chat_mentions(x->f, names[0]))
        return said ? json_object_set(out, names[0], (json_t *)said) : 0;
    for (int i = 1; i < N; i++)
        if (chat_mentions(x->f, names[i]) && !json_object_get(out, names[i]))
            bad |= json_object_set(out, names[i], (json_t *)said);
    return bad;
}

static const struct {
    const char *role, *as;
} roles[] = {{"system", "system"},       {"developer", "system"}, {"user", "user"},
             {"assistant", "assistant"}, {"tool", "tool"},        {"function", "tool"}};

static const char *role_of(const char *role) {
    for (size_t i = 0; role && i < sizeof roles / sizeof *roles; i++)
        if (!strcmp(role, roles[i].role))
            return roles[i].as;
    return NULL;
}

static kv_status read_message(reader *x, const json_t *m, json_t *list) {
    const char *given = json_string_value(json_object_get(m, "role")), *role = role_of(given);
    if (!json_is_object(m))
        return kv_fail(x->err, KV_EINVAL, "message %zu is no object", x->at);
    if (!role)
        return kv_fail(x->err, KV_EINVAL, "message %zu: %s%s%s; roles are system, developer, user, assistant and tool", x->at,
                       given ? "unknown role '" : "it has no role", given ? given : "", given ? "'" : "");
    json_t *out = chat_copy((json_t *)m), *content = NULL;
    kv_status st = out ? read_content(x, json_object_get(m, "content"), &content) : no_memory(x->err);
    if (!st && (json_object_set_new(out, "role", json_string(role)) | json_object_set(out, "content", content)))
        st = no_memory(x->err);
    if (!st && !strcmp(role, "assistant")) {
        st = read_calls(x, m, out);
        if (!st && name_thoughts(x, out))
            st = no_memory(x->err);
    } else if (!st && !strcmp(role, "tool"))
        st = read_result(x, m, out);
    json_decref(content);
    if (!st && json_array_append(list, out))
        st = no_memory(x->err);
    json_decref(out);
    return st;
}

kv_status chat_read_messages(const chat_format *f, const json_t *messages, json_t **out, kv_err *err) {
    reader x = {.f = f, .err = err, .ids = json_object(), .waiting = json_array()};
    json_t *list = json_array();
    kv_status st = KV_OK;
    const json_t *m;
    *out = NULL;
    if (!json_is_array(messages))
        st = kv_fail(err, KV_EINVAL, "messages are a list of objects");
    else if (!list || !x.ids || !x.waiting)
        st = no_memory(err);
    for (size_t i = 0; !st && (m = json_array_get(messages, i)); i++) {
        x.at = i;
        st = read_message(&x, m, list);
    }
    json_decref(x.ids);
    json_decref(x.waiting);
    if (st)
        json_decref(list);
    else
        *out = list;
    return st;
}

/* ---- tools ---- */

static kv_status read_tool(const json_t *tool, size_t i, json_t *list, kv_err *err) {
    const json_t *type = json_object_get(tool, "type"), *inner = json_object_get(tool, "function");
    const json_t *function = json_is_object(inner) ? inner : tool;
    const json_t *name = json_object_get(function, "name"), *parameters = json_object_get(function, "parameters");
    if (json_is_string(type) && strcmp(json_string_value(type), "function"))
        return kv_fail(err, KV_EINVAL, "tool %zu is of type '%s'; only functions can be called", i, json_string_value(type));
    if (!json_is_string(name) || !json_string_length(name))
        return kv_fail(err, KV_EINVAL, "tool %zu: its function has no name", i);
    if (parameters && !json_is_null(parameters) && !json_is_object(parameters))
        return kv_fail(err, KV_EINVAL, "tool %zu ('%s'): its parameters are no JSON schema", i, json_string_value(name));
    json_t *copy = chat_copy((json_t *)function);
    int bad = !copy;
    if (function == tool)
        json_object_del(copy, "type");
    if (!json_is_object(parameters)) /* templates look into them without asking */
        bad |= json_object_set_new(copy, "parameters", json_pack("{s:s,s:{}}", "type", "object", "properties"));
    bad |= json_array_append_new(list, json_pack("{s:s,s:o}", "type", "function", "function", copy));
    return bad ? no_memory(err) : KV_OK;
}

kv_status chat_read_tools(const json_t *tools, json_t **out, kv_err *err) {
    kv_status st = KV_OK;
    *out = NULL;
    if (!tools || json_is_null(tools) || (json_is_array(tools) && !json_array_size(tools)))
        return KV_OK;
    if (!json_is_array(tools))
        return kv_fail(err, KV_EINVAL, "tools are a list of functions");
    json_t *list = json_array();
    for (size_t i = 0; i < json_array_size(tools) && !st; i++)
        st = read_tool(json_array_get(tools, i), i, list, err);
    if (st)
        json_decref(list);
    else
        *out = list;
    return st;
}
