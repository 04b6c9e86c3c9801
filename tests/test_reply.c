/* Answers taken apart: every case of reply.json, written by hand in the manner of each family, in every cut; odd and huge ones;
 * and grammars that force a call. */
#include "grammar/grammar.h"
#include "reply/reply_internal.h"
#include "support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <jansson.h>

/* What came: events in the order in which they come, those of a kind joined. */
typedef struct said {
    char *events; /* content C..., thought T..., call N<index>..., arguments A..., end E or broken B; each with a byte 1 */
    size_t n;
    FILE *o;
    char last;
    uint32_t calls;
    bool open;
} said;

static void event(said *s, char kind, const char *text, size_t len) {
    if (s->last != kind || !strchr("CTA", kind)) {
        putc(1, s->o);
        putc(kind, s->o);
    }
    s->last = kind;
    assert_true(len > 0 || strchr("EB", kind));
    fwrite(text, 1, len, s->o);
}

static void content(void *user, const char *text, size_t len) {
    assert_false(((said *)user)->open);
    event(user, 'C', text, len);
}

static void thought(void *user, const char *text, size_t len) {
    event(user, 'T', text, len);
}

static void call(void *user, uint32_t index, const char *name) {
    said *s = user;
    assert_false(s->open);
    assert_int_equal(index, s->calls++);
    s->open = true;
    event(s, 'N', name, strlen(name));
}

static void arguments(void *user, uint32_t index, const char *text, size_t len) {
    said *s = user;
    assert_true(s->open);
    assert_int_equal(index + 1, s->calls);
    event(s, 'A', text, len);
}

static void call_end(void *user, uint32_t index, bool whole) {
    said *s = user;
    assert_true(s->open);
    assert_int_equal(index + 1, s->calls);
    s->open = false;
    event(s, whole ? 'E' : 'B', "", 0);
}

static reply *begin(said *s, const reply_format *f, const json_t *tools, bool thinking, bool whole) {
    *s = (said){0};
    s->o = open_memstream(&s->events, &s->n);
    reply *r;
    kv_err err = {0};
    assert_int_equal(reply_new(&(reply_cfg){.format = f,
                                            .tools = tools,
                                            .thinking = thinking,
                                            .whole = whole,
                                            .user = s,
                                            .events = {content, thought, call, arguments, call_end}},
                               &r, &err),
                     KV_OK);
    return r;
}

/* The events, with the call's texts of JSON in one spelling. Caller frees. */
static char *end(said *s, reply *r) {
    assert_int_equal(reply_end(r, NULL), KV_OK);
    assert_int_equal(reply_calls(r), s->calls);
    reply_free(r);
    assert_false(s->open);
    fclose(s->o);
    return s->events;
}

static void push(reply *r, const char *text, size_t len) {
    assert_int_equal(reply_push(r, text, len, NULL), KV_OK);
}

/* ---- cases ---- */

static json_t *load_cases(void) {
    json_error_t je;
    json_t *all = json_load_file(KV_TEST_DATA "/reply.json", 0, &je);
    if (!all)
        fail_msg("reply.json:%d: %s", je.line, je.text);
    return all;
}

static const char *text_of(const json_t *c, const char *key) {
    const char *s = json_string_value(json_object_get(c, key));
    return s ? s : "";
}

/* What is wrong with the events; NULL: nothing. They are content, thoughts and calls, whatever their order. */
static const char *compare(const char *events, const json_t *c) {
    char *content = calloc(1, strlen(events) + 1), *thought = calloc(1, strlen(events) + 1);
    const json_t *calls = json_object_get(c, "calls"), *part = json_object_get(c, "part");
    const char *wrong = NULL;
    size_t n = 0;
    for (const char *e = events; *e && !wrong;) {
        const char kind = e[1], *text = e + 2;
        const size_t len = strcspn(text, "\1");
        e = text + len;
        const char *want_name = part ? json_string_value(json_array_get(part, 0)) : text_of(json_array_get(calls, n), "name");
        if (kind == 'C' || kind == 'T')
            strncat(kind == 'C' ? content : thought, text, len);
        else if (kind == 'N' && (strlen(want_name) != len || memcmp(want_name, text, len)))
            wrong = "another name";
        else if (kind == 'A' && part) {
            const char *want = json_string_value(json_array_get(part, 1));
            wrong = strlen(want) != len || memcmp(want, text, len) ? "another beginning of arguments" : NULL;
        } else if (kind == 'A') {
            json_t *got = json_loadb(text, len, 0, NULL);
            wrong = !got                                                                       ? "arguments are no JSON"
                    : !json_equal(got, json_object_get(json_array_get(calls, n), "arguments")) ? "other arguments"
                                                                                               : NULL;
            json_decref(got);
        } else if (kind == 'E')
            n++;
        else if (kind == 'B' && !part)
            wrong = "a broken call";
    }
    if (!wrong && n != json_array_size(calls))
        wrong = "another number of calls";
    if (!wrong && strcmp(content, text_of(c, part ? "broken" : "content")))
        wrong = "another content";
    if (!wrong && strcmp(thought, text_of(c, "thought")))
        wrong = "another thought";
    free(content);
    free(thought);
    return wrong;
}

static char *run(const json_t *c, const json_t *tools, size_t cut, size_t step, bool whole) {
    const reply_format *f = reply_format_named(text_of(c, "format"));
    const char *text = text_of(c, "text");
    const size_t len = strlen(text);
    said s;
    assert_non_null(f);
    reply *r = begin(&s, f, json_is_true(json_object_get(c, "no_tools")) ? NULL : tools,
                     json_is_true(json_object_get(c, "thinking")), whole);
    for (size_t i = 0, n; i < len; i += n) {
        n = i < cut ? cut - i : step;
        n = n < len - i ? n : len - i;
        push(r, text + i, n);
    }
    return end(&s, r);
}

/* The same events, whole or byte by byte or cut in two anywhere. */
static void reply_reads_every_family_in_every_cut(void **state) {
    (void)state;
    json_t *all = load_cases(), *c;
    const json_t *tools = json_object_get(all, "tools");
    size_t i;
    json_array_foreach(json_object_get(all, "cases"), i, c) {
        char *whole = run(c, tools, 0, SIZE_MAX, false), *bytes = run(c, tools, 0, 1, false);
        const char *wrong = compare(whole, c);
        if (wrong)
            fail_msg("%s: %s\nwanted content %s\n%s\ngot %s", text_of(c, "format"), text_of(c, "text"), text_of(c, "content"),
                     wrong, whole);
        assert_string_equal(bytes, whole);
        for (size_t cut = 1; cut < strlen(text_of(c, "text")); cut++) {
            char *cut_in_two = run(c, tools, cut, SIZE_MAX, false);
            if (strcmp(cut_in_two, whole))
                fail_msg("%s cut at %zu: %s\nwanted %s", text_of(c, "text"), cut, cut_in_two, whole);
            free(cut_in_two);
        }
        free(whole);
        free(bytes);
    }
    assert_true(i > 100);
    json_decref(all);
}

/* Calls that come whole, or as content: what goes wrong in the middle of arguments, too. */
static void reply_keeps_broken_calls_as_content(void **state) {
    (void)state;
    json_t *all = load_cases(), *c;
    const json_t *tools = json_object_get(all, "tools");
    size_t i, n = 0;
    json_array_foreach(json_object_get(all, "cases"), i, c) {
        char *events = run(c, tools, 0, 1, true);
        if (json_object_get(c, "part")) {
            assert_int_equal(events[1], 'C');
            assert_string_equal(events + 2, text_of(c, "text"));
            n++;
        } else if (compare(events, c))
            fail_msg("%s: %s: %s", text_of(c, "text"), compare(events, c), events);
        free(events);
    }
    assert_true(n >= 3);
    json_decref(all);
}

/* Every format has a case, and every row of the table is reached. */
static void reply_has_cases_of_every_format(void **state) {
    (void)state;
    json_t *all = load_cases(), *c;
    const reply_format *f;
    size_t k;
    for (size_t i = 0; (f = reply_format_at(i)); i++) {
        bool there = false;
        json_array_foreach(json_object_get(all, "cases"), k, c) there |=
            !strcmp(reply_format_name(f), text_of(c, "format")) && json_array_size(json_object_get(c, "calls")) > 0;
        if (!there)
            fail_msg("no case of %s", reply_format_name(f));
    }
    json_decref(all);
}

/* ---- as it comes ---- */

/* Nothing waits that need not. */
static void reply_lets_text_and_arguments_out_at_once(void **state) {
    (void)state;
    json_t *all = load_cases();
    said s;
    reply *r = begin(&s, reply_format_named("hermes"), json_object_get(all, "tools"), false, false);
    push(r, "Hello", 5);
    fflush(s.o);
    assert_string_equal(s.events, "\1CHello");
    push(r, " <", 2);
    fflush(s.o);
    assert_string_equal(s.events, "\1CHello");
    push(r, "tool_call>\n{\"name\": \"add\", \"argum", 33);
    fflush(s.o);
    assert_string_equal(s.events, "\1CHello");
    push(r, "ents\": {\"a", 10);
    fflush(s.o);
    assert_string_equal(s.events, "\1CHello\1Nadd\1A{\"a");
    push(r, "\": 12", 5);
    fflush(s.o);
    assert_string_equal(s.events, "\1CHello\1Nadd\1A{\"a\": 12");
    push(r, "}}", 2);
    char *events = end(&s, r);
    assert_string_equal(events, "\1CHello\1Nadd\1A{\"a\": 12}\1E");
    free(events);
    json_decref(all);
}

static void reply_without_thoughts_keeps_their_marks(void **state) {
    (void)state;
    said s = {0};
    s.o = open_memstream(&s.events, &s.n);
    reply *r;
    const char text[] = "<think>a</think>b";
    assert_int_equal(reply_new(&(reply_cfg){.format = reply_format_named("json"),
                                            .user = &s,
                                            .events = {content, NULL, call, arguments, call_end}},
                               &r, NULL),
                     KV_OK);
    push(r, text, sizeof text - 1);
    char *events = end(&s, r);
    assert_string_equal(events, "\1C<think>a</think>b");
    free(events);
}

/* ---- huge ones ---- */

static char *repeated(const char *before, const char *what, size_t n, const char *after) {
    const size_t len = strlen(what);
    char *s = malloc(strlen(before) + n * len + strlen(after) + 1), *to = stpcpy(s, before);
    for (size_t i = 0; i < n; i++)
        to = stpcpy(to, what);
    strcpy(to, after);
    return s;
}

static void check_huge(const char *format, char *text, const json_t *tools, const char *begins, size_t least) {
    said s;
    reply *r = begin(&s, reply_format_named(format), tools, false, false);
    for (size_t i = 0, len = strlen(text); i < len; i += 7)
        push(r, text + i, len - i < 7 ? len - i : 7);
    assert_true(r != NULL);
    char *events = end(&s, r);
    if (strncmp(events, begins, strlen(begins)) || s.n < least)
        fail_msg("%.60s: %zu bytes, %.60s", text, s.n, events);
    free(events);
    free(text);
}

/* What never ends to look like markup: in linear time, and in bounded memory where it is held. */
static void reply_takes_huge_answers(void **state) {
    (void)state;
    json_t *all = load_cases();
    const json_t *tools = json_object_get(all, "tools");
    const size_t n = 4 << 20;
    check_huge("hermes", repeated("", "<", n, ""), tools, "\1C<<", n);
    check_huge("hermes", repeated("", " ", n, ""), tools, "\1C  ", n);
    check_huge("hermes", repeated("", "<tool_call", n / 10, ""), tools, "\1C<tool", n - 10);
    check_huge("hermes", repeated("", "<tool_call>", n / 10, ""), tools, "\1C<tool", n / 10);
    check_huge("hermes", repeated("<think>", "</think", n / 7, ""), tools, "\1T</th", n - 10);
    check_huge("hermes", repeated("<tool_call>{\"x\": \"", "y", 2 * n, "\"}"), tools, "\1C<tool_call>{\"x", 2 * n);
    check_huge("hermes", repeated("<tool_call>{\"x\": ", "[", n, ""), tools, "\1C<tool_call>{\"x", n);
    check_huge("hermes", repeated("<tool_call>{\"name\": \"add\", \"arguments\": {\"x\": \"", "y", n, "\"}}"), tools,
               "\1Nadd\1A{\"x\": \"yy", n);
    check_huge("hermes", repeated("{", " ", 2 * n, ""), tools, "\1C{  ", 2 * n);
    check_huge("mistral", repeated("[TOOL_CALLS]", "x", n, ""), tools, "\1C[TOOL", n);
    check_huge("mistral", repeated("", "[TOOL_CALLS][", n / 12, ""), tools, "\1C[TOOL", n / 12);
    check_huge("qwen-coder", repeated("<function=get_weather><parameter=city>", "</paramete", n / 10, ""), tools,
               "\1Nget_weather\1A{", n / 2);
    check_huge("llama-3", repeated("", "{\"name\": \"nothing\"};", n / 50, ""), tools, "\1Nnothing\1A{}\1E\1N", n / 50);
    json_decref(all);
}

/* ---- grammars ---- */

static bool follows(const char *gbnf, const char *text) {
    grammar *g = NULL;
    matcher *m = NULL;
    kv_err err = {0};
    kv_status st = KV_OK;
    if (grammar_parse(gbnf, strlen(gbnf), "test", &g, &err) || matcher_new(g, &m, &err))
        fail_msg("%s\n%s", err.msg, gbnf);
    const bool yes = matcher_take(m, text, strlen(text), &st) && matcher_may_end(m);
    assert_int_equal(st, KV_OK);
    matcher_free(m);
    grammar_free(g);
    return yes;
}

/* Calls in the format that it forces are what the parser reads. */
static void reply_grammar_forces_calls(void **state) {
    (void)state;
    json_t *all = load_cases();
    const json_t *tools = json_object_get(all, "tools");
    size_t n = 0;
    const reply_format *f;
    for (size_t k = 0; (f = reply_format_at(k)); k++) {
        char *gbnf = NULL, text[512];
        kv_err err = {0};
        if (reply_grammar(f, tools, NULL, &gbnf, &err))
            fail_msg("%s: %s", f->name, err.msg);
        const bool json = f->shape == SHAPE_JSON || f->shape == SHAPE_SHORT, tags = f->shape == SHAPE_TAGS;
        char city[200] = "{\"city\":\"R\\\"ome\"}";
        if (f->shape == SHAPE_PYTHON)
            snprintf(city, sizeof city, "city=\"R\\\"ome\"");
        if (tags)
            snprintf(city, sizeof city, "%scity%sR\"ome%s", f->say_key, f->say_value, f->say_value_end);
        snprintf(text, sizeof text, "%s%sget_weather%s%s%s%s", f->say_before, json ? "\"" : "", json ? "\"" : "",
                 f->say_between, city, f->say_after);
        if (!follows(gbnf, text))
            fail_msg("%s: %s\n%s", f->name, text, gbnf);
        assert_false(follows(gbnf, "Hello"));
        json_t *made = json_pack("{s:s,s:s,s:s,s:[{s:s,s:{s:s}}]}", "format", f->name, "text", text, "content", "", "calls",
                                 "name", "get_weather", "arguments", "city", "R\"ome");
        char *events = run(made, tools, 0, 1, false);
        if (compare(events, made))
            fail_msg("%s: %s: %s", text, compare(events, made), events);
        free(events);
        json_decref(made);
        free(gbnf);
        n++;
    }
    assert_true(n > 15);
    char *gbnf;
    assert_int_equal(reply_grammar(reply_format_named("qwen-coder"), tools, "add", &gbnf, NULL), KV_OK);
    assert_true(
        follows(gbnf, "<tool_call>\n<function=add>\n<parameter=a>\n1\n</parameter>\n<parameter=o>\n{\"x\": false}\n</parameter>"
                      "\n</function>\n</tool_call>"));
    assert_false(
        follows(gbnf, "<tool_call>\n<function=add>\n<parameter=o>\n{\"x\": false}\n</parameter>\n</function>\n</tool_call>"));
    free(gbnf);
    json_decref(all);
}

static void reply_grammar_keeps_to_the_named_tool(void **state) {
    (void)state;
    json_t *all = load_cases();
    const json_t *tools = json_object_get(all, "tools");
    char *gbnf = NULL;
    kv_err err = {0};
    const reply_format *hermes = reply_format_named("hermes");
    assert_int_equal(reply_grammar(hermes, tools, "add", &gbnf, &err), KV_OK);
    assert_true(follows(gbnf, "<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": 3}}\n</tool_call>"));
    assert_false(follows(gbnf, "<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": \"3\"}}\n</tool_call>"));
    assert_false(follows(gbnf, "<tool_call>\n{\"name\": \"add\", \"arguments\": {}}\n</tool_call>"));
    assert_false(follows(gbnf, "<tool_call>\n{\"name\": \"nothing\", \"arguments\": {}}\n</tool_call>"));
    free(gbnf);
    assert_int_equal(reply_grammar(reply_format_named("olmo"), tools, "add", &gbnf, &err), KV_OK);
    assert_true(follows(gbnf, "<function_calls>add(a=1, b=2.5, o={\"x\": true})</function_calls>") &&
                follows(gbnf, "<function_calls>add(a=1)</function_calls>"));
    assert_false(follows(gbnf, "<function_calls>add(b=2.5)</function_calls>") ||
                 follows(gbnf, "<function_calls>add(a=1 b=2)</function_calls>"));
    free(gbnf);
    assert_int_equal(reply_grammar(hermes, tools, "no_such", &gbnf, &err), KV_EINVAL);
    assert_non_null(strstr(err.msg, "'no_such'"));
    json_t *odd =
        json_pack("[{s:s,s:{s:s,s:{s:s}}}]", "type", "function", "function", "name", "odd", "parameters", "type", "no type");
    assert_int_not_equal(reply_grammar(hermes, odd, NULL, &gbnf, &err), KV_OK);
    assert_non_null(strstr(err.msg, "'odd'"));
    json_decref(odd);
    json_decref(all);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reply_reads_every_family_in_every_cut),
        cmocka_unit_test(reply_keeps_broken_calls_as_content),
        cmocka_unit_test(reply_has_cases_of_every_format),
        cmocka_unit_test(reply_lets_text_and_arguments_out_at_once),
        cmocka_unit_test(reply_without_thoughts_keeps_their_marks),
        cmocka_unit_test(reply_takes_huge_answers),
        cmocka_unit_test(reply_grammar_forces_calls),
        cmocka_unit_test(reply_grammar_keeps_to_the_named_tool),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
