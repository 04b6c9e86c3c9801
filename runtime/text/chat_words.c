/* What a chat format has no place for, in words: tools are described in the system prompt, calls and results become texts in
 * the notation that Hermes and Qwen use, which many models have seen; a system prompt goes in front of the next question.
 */
#include "text/chat_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A text that grows; stays NULL where memory does not suffice. */
typedef struct words {
    FILE *o;
    char *s;
    size_t n;
} words;

static bool begin(words *w) {
    w->o = open_memstream(&w->s, &w->n);
    return w->o;
}

static void say(words *w, const char *s) {
    fputs(s, w->o);
}

static void say_text(words *w, const json_t *s) {
    fwrite(json_string_value(s), 1, json_string_length(s), w->o);
}

static json_t *end(words *w) {
    const bool bad = !w->o || ferror(w->o) || fclose(w->o) || !w->s;
    json_t *out = bad ? NULL : json_stringn_nocheck(w->s, w->n);
    free(w->s);
    return out;
}

static const char *role_of(const json_t *m) {
    return json_string_value(json_object_get(m, "role"));
}

static bool is_role(const json_t *m, const char *role) {
    return m && !strcmp(role_of(m), role);
}

static int set_content(json_t *m, json_t *text) {
    return json_object_set_new(m, "content", text);
}

/* ---- calls and results ---- */

static void say_json(words *w, const json_t *j) {
    char *text = json_dumps(j, JSON_ENCODE_ANY);
    say(w, text ? text : "");
    free(text);
}

/* listed: as Phi-4 mini writes them. */
static int say_calls(json_t *m, bool listed) {
    const json_t *calls = json_object_get(m, "tool_calls"), *content = json_object_get(m, "content"), *call;
    const char *const begins = listed ? "<|tool_call|>[" : "<tool_call>\n",
                      *const between = listed ? ", " : "\n</tool_call>\n<tool_call>\n",
                      *const ends = listed ? "]<|/tool_call|>" : "\n</tool_call>";
    words w = {0};
    size_t i;
    if (!calls)
        return 0;
    if (!begin(&w))
        return -1;
    say_text(&w, content);
    say(&w, json_string_length(content) ? "\n" : "");
    say(&w, begins);
    json_array_foreach(calls, i, call) {
        const json_t *f = json_object_get(call, "function");
        say(&w, i ? between : "");
        say(&w, "{\"name\": ");
        say_json(&w, json_object_get(f, "name"));
        say(&w, ", \"arguments\": ");
        say_json(&w, json_object_get(f, "arguments"));
        say(&w, "}");
    }
    say(&w, ends);
    const int bad = set_content(m, end(&w));
    json_object_del(m, "tool_calls");
    return bad;
}

/* Adds a text to a message. */
static int append_to(json_t *m, const char *between, const char *before, const json_t *text, const char *after) {
    words w = {0};
    if (!begin(&w))
        return -1;
    say_text(&w, json_object_get(m, "content"));
    say(&w, between);
    say(&w, before);
    say_text(&w, text);
    say(&w, after);
    return set_content(m, end(&w));
}

/* Results become what the user says, together with other results and with what the user says next: many templates want turns
 * that alternate. */
static json_t *say_all(const chat_traits *is, json_t *messages) {
    json_t *out = json_array(), *m, *last = NULL;
    bool from_results = false; /* last is made of results */
    size_t i;
    int bad = !out;
    json_array_foreach(messages, i, m) {
        const bool result = is_role(m, "tool") && !(is->results && is->calls);
        if (!is->calls)
            bad |= say_calls(m, is->system_tools);
        if (from_results && (result || is_role(m, "user"))) {
            bad |= append_to(last, result ? "\n" : "\n\n", result ? "<tool_response>\n" : "", json_object_get(m, "content"),
                             result ? "\n</tool_response>" : "");
            from_results = result;
            continue;
        }
        last = result ? json_pack("{s:s,s:s}", "role", "user", "content", "") : json_incref(m);
        if (result)
            bad |= !last || append_to(last, "", "<tool_response>\n", json_object_get(m, "content"), "\n</tool_response>");
        bad |= json_array_append_new(out, last);
        from_results = result;
    }
    if (!bad)
        return out;
    json_decref(out);
    return NULL;
}

/* ---- one call a message ---- */

/* A message for each call, and behind it its result. */
static int split(const json_t *m, const json_t *messages, size_t *at, json_t *out) {
    const json_t *calls = json_object_get(m, "tool_calls"), *call;
    size_t i, first = *at + 1, n = 0;
    int bad = 0;
    while (is_role(json_array_get(messages, first + n), "tool"))
        n++;
    json_array_foreach(calls, i, call) {
        json_t *one = chat_copy((json_t *)m);
        bad |= !one || json_object_set_new(one, "tool_calls", json_pack("[O]", call));
        if (i)
            bad |= set_content(one, json_string(""));
        bad |= json_array_append_new(out, one);
        for (size_t k = 0; k < n; k++) {
            json_t *r = json_array_get(messages, first + k);
            const json_t *id = json_object_get(r, "tool_call_id");
            if (id ? json_equal(id, json_object_get(call, "id")) : k == i)
                bad |= json_array_append(out, r);
        }
    }
    *at += n;
    return bad;
}

static json_t *split_calls(const json_t *messages) {
    json_t *out = json_array();
    int bad = !out;
    for (size_t i = 0; i < json_array_size(messages); i++) {
        json_t *m = json_array_get(messages, i);
        bad |= json_array_size(json_object_get(m, "tool_calls")) > 1 ? split(m, messages, &i, out) : json_array_append(out, m);
    }
    if (!bad)
        return out;
    json_decref(out);
    return NULL;
}

/* ---- the system prompt ---- */

static int say_tools(json_t *messages, const json_t *tools) {
    json_t *first = json_array_get(messages, 0), *text;
    const json_t *tool;
    words w = {0};
    size_t i;
    if (!begin(&w))
        return -1;
    if (is_role(first, "system") && json_string_length(json_object_get(first, "content"))) {
        say_text(&w, json_object_get(first, "content"));
        say(&w, "\n\n");
    }
    say(&w, "You can call functions. These are there, each described by a JSON object:\n");
    json_array_foreach(tools, i, tool) {
        say_json(&w, tool);
        say(&w, "\n");
    }
    say(&w, "To call one, write its name and its arguments as a JSON object between these marks:\n"
            "<tool_call>\n{\"name\": \"the function's name\", \"arguments\": {\"name of an argument\": \"its "
            "value\"}}\n</tool_call>\n"
            "Several calls follow one another, and nothing stands behind the last. What functions give back comes between "
            "<tool_response> and </tool_response>. Where no function helps, answer without a call.");
    if (!(text = end(&w)))
        return -1;
    if (is_role(first, "system"))
        return set_content(first, text);
    return json_array_insert_new(messages, 0, json_pack("{s:s,s:o}", "role", "system", "content", text));
}

/* The system message has the tools, as text: their functions alone. */
static int give_tools(json_t *messages, const json_t *tools) {
    json_t *first = json_array_get(messages, 0), *list = json_array();
    const json_t *tool;
    size_t i;
    int bad = !list;
    json_array_foreach(tools, i, tool) bad |= json_array_append(list, json_object_get(tool, "function"));
    char *text = bad ? NULL : json_dumps(list, 0);
    json_decref(list);
    if (!text)
        return -1;
    if (!is_role(first, "system")) {
        first = json_pack("{s:s,s:s}", "role", "system", "content", "You are a helpful assistant with some tools.");
        bad = json_array_insert_new(messages, 0, first);
    }
    bad |= json_object_set_new(first, "tools", json_string_nocheck(text));
    free(text);
    return bad;
}

/* System texts wait for the user's turn. */
static json_t *merge_system(const json_t *messages) {
    json_t *out = json_array(), *m, *pending = NULL;
    size_t i;
    int bad = !out;
    json_array_foreach(messages, i, m) {
        if (is_role(m, "system")) {
            if (!pending)
                pending = chat_copy(m);
            else
                bad |= append_to(pending, "\n\n", "", json_object_get(m, "content"), "");
            bad |= !pending;
            continue;
        }
        if (pending && is_role(m, "user")) {
            json_t *joined = chat_copy(m);
            bad |= append_to(pending, "\n\n", "", json_object_get(m, "content"), "") || !joined ||
                   json_object_set(joined, "content", json_object_get(pending, "content"));
            json_decref(pending);
            pending = NULL;
            bad |= json_array_append_new(out, joined);
        } else
            bad |= json_array_append(out, m);
    }
    json_decref(pending);
    if (!bad)
        return out;
    json_decref(out);
    return NULL;
}

/* ---- all of it ---- */

static bool replace(json_t **messages, json_t *with) {
    json_decref(*messages);
    *messages = with;
    return with;
}

kv_status chat_put_in_words(const chat_traits *is, json_t **messages, json_t **tools, kv_err *err) {
    bool good = true;
    if (!is->calls || !is->results)
        good = replace(messages, say_all(is, *messages));
    if (good && is->one_call)
        good = replace(messages, split_calls(*messages));
    if (good && *tools && (!is->tools || is->system_tools)) {
        good = !(is->system_tools ? give_tools : say_tools)(*messages, *tools);
        json_decref(*tools);
        *tools = NULL;
    }
    if (good && is->merges_system)
        good = replace(messages, merge_system(*messages));
    return good ? KV_OK : kv_fail(err, KV_ENOMEM, "out of memory for a conversation");
}
