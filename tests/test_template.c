/* The template engine against jinja2 (tests/make_template_cases.py), where its bytes come from, and its limits. */
#include "template/template.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static kv_status render_with(const char *text, size_t len, const json_t *values, const tpl_cfg *cfg, tpl_text *out,
                             kv_err *err) {
    tpl *t = NULL;
    *out = (tpl_text){0};
    kv_status st = tpl_new(text, len, &t, err);
    if (!st)
        st = tpl_render(t, values, cfg, out, err);
    tpl_free(t);
    return st;
}

/* As above, with values as JSON in which ' stands for ". */
static kv_status render(const char *text, const char *values, const tpl_cfg *cfg, tpl_text *out, kv_err *err) {
    char *json = strdup(values);
    for (char *c = json; *c; c++)
        *c = *c == '\'' ? '"' : *c;
    json_t *v = json_loads(json, 0, NULL);
    assert_non_null(v);
    const kv_status st = render_with(text, strlen(text), v, cfg, out, err);
    json_decref(v);
    free(json);
    return st;
}

/* ---- against jinja2 ---- */

/* Whether the engine does what jinja2 did; says what it does else. */
static bool same(const json_t *c, const json_t *values, const tpl_cfg *cfg) {
    const json_t *source = json_object_get(c, "template"), *want = json_object_get(c, "text");
    tpl_text out;
    kv_err err = {0};
    const kv_status st = render_with(json_string_value(source), json_string_length(source), values, cfg, &out, &err);
    const bool is = want ? !st && !strcmp(json_string_value(want), out.s) : st && strstr(err.msg, "chat template, line ");
    if (!is)
        print_error("%s\njinja2: %s\nengine: %s\n", json_string_value(source),
                    json_string_value(want ? want : json_object_get(c, "refused")), st ? err.msg : out.s);
    tpl_text_free(&out);
    return is;
}

static void template_renders_as_jinja(void **state) {
    (void)state;
    json_error_t je;
    json_t *all = json_load_file(KV_TEST_DATA "/template.json", 0, &je), *c;
    size_t i, bad = 0;
    if (!all)
        fail_msg("template.json:%d: %s", je.line, je.text);
    const tpl_cfg cfg = {.now = json_integer_value(json_object_get(all, "now"))};
    json_array_foreach(json_object_get(all, "cases"), i, c) bad += !same(c, json_object_get(all, "values"), &cfg);
    assert_int_equal(bad, 0);
    assert_true(i > 100);
    json_decref(all);
}

/* Templates cut off anywhere: an answer or an error, and nothing read beyond the end. */
static void template_survives_truncation(void **state) {
    (void)state;
    json_t *all = json_load_file(KV_TEST_DATA "/template.json", 0, NULL), *c;
    size_t i;
    json_array_foreach(json_object_get(all, "cases"), i, c) {
        const char *source = json_string_value(json_object_get(c, "template"));
        for (size_t len = 0; len < strlen(source); len += 1 + len / 40) {
            char *cut = malloc(len ? len : 1); /* without a NUL */
            tpl_text out;
            memcpy(cut, source, len);
            render_with(cut, len, json_object_get(all, "values"), NULL, &out, NULL);
            tpl_text_free(&out);
            free(cut);
        }
    }
    json_decref(all);
}

/* ---- where bytes come from ---- */

/* The text with bytes of the input in capitals, of the template in small letters. */
static void check_origin(const char *text, const char *values, const char *want) {
    static const char *const own[] = {"role", "bos_token", NULL};
    tpl_text out;
    kv_err err = {0};
    if (render(text, values, &(tpl_cfg){.own = own}, &out, &err))
        fail_msg("%s: %s", text, err.msg);
    size_t at = 0;
    for (size_t i = 0; i < out.n_spans; i++) {
        assert_true(out.span[i].len > 0);
        assert_true(!i || out.span[i].input != out.span[i - 1].input);
        for (size_t k = 0; k < out.span[i].len; k++, at++)
            if (out.span[i].input && out.s[at] >= 'a' && out.s[at] <= 'z')
                out.s[at] = (char)(out.s[at] - 'a' + 'A');
    }
    assert_int_equal(at, out.len);
    assert_string_equal(out.s, want);
    tpl_text_free(&out);
}

static void template_knows_where_bytes_come_from(void **state) {
    (void)state;
    static const char values[] =
        "{'x': 'abc', 'y': ' d,e ', 'bos_token': 'bos', 'messages': [{'role': 'user', 'content': 'hello', 'more': "
        "{'role': 'deep'}}], 'role': 'top', 'o': {'role': 'k', 'n': 5}}";
    static const char *const cases[][2] = {
        {"p{{ x }}q", "pABCq"},
        {"{{ '<' + x + '>' }}{{ x ~ 'q' ~ y }}", "<ABC>ABCq D,E "},
        {"{{ x[1:] }}{{ ('p' + x)[:2] }}{{ ('p' + x)[::-1] }}{{ x[-1] }}", "BCpACBApC"},
        {"{{ y | trim }}{{ y.split(',')[1] }}{{ ('p ' + y) | trim }}", "D,EE p  D,E"},
        {"{{ x | replace('b', 'zz') }}{{ 'pbp' | replace('b', x) }}", "AzzCpABCp"},
        {"{{ x | title }}{{ ('p' + x) | capitalize | lower }}{{ x.upper() | lower }}", "ABCpABCABC"},
        {"{{ [x, 'p'] | join('-') }}{{ [x, 'p'] }}{{ {x: 'v'} }}", "ABC-p['ABC', 'p']{'ABC': 'v'}"},
        {"{{ o | tojson }}{{ [x, 'p\\n'] | tojson }}", "{\"ROLE\": \"K\", \"N\": 5}[\"ABC\", \"p\\n\"]"},
        {"{{ '%s-%s' % (x, 'p') }}{{ '{}-{}'.format('p', x) }}{{ x | e }}{{ x | indent }}", "ABC-pp-ABCABCABC"},
        {"{% set z %}p{{ x }}{% endset %}{{ z }}{% macro m(a) %}<{{ a }}>{% endmacro %}{{ m(x) }}", "pABC<ABC>"},
        {"{% for c in x %}{{ c }}.{% endfor %}{{ x * 2 }}{{ x | list | first }}", "A.B.C.ABCABCA"},
        {"{% for m in messages %}<{{ m.role }}>{{ m['content'] }}{{ m.more.role }}{% endfor %}", "<user>HELLODEEP"},
        {"{{ bos_token }}{{ role }}{{ o.role }}{% for k in o %}{{ k }}{% endfor %}", "bostopKROLEN"},
        {"{{ x | length }}{{ x == 'abc' }}{{ o.n }}", "3True5"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_origin(cases[i][0], values, cases[i][1]);
}

static void template_takes_bytes_that_are_no_characters(void **state) {
    (void)state;
    json_t *v = json_object();
    tpl_text out;
    kv_err err = {0};
    static const char text[] =
        "{{ x }}|{{ x | upper }}|{{ x | length }}|{{ x[1:3] }}|{{ x | trim }}|{{ x.split('b') | length }}";
    json_object_set_new(v, "x", json_stringn_nocheck("a\xff\xc3z\xe2\x82", 6));
    assert_int_equal(render_with(text, strlen(text), v, NULL, &out, &err), KV_OK);
    assert_string_equal(out.s, "a\xff\xc3z\xe2\x82|A\xff\xc3Z\xe2\x82|6|\xff\xc3|a\xff\xc3z\xe2\x82|1");
    tpl_text_free(&out);
    json_decref(v);
}

/* ---- errors ---- */

static void check_error(const char *text, const tpl_cfg *cfg, kv_status want, const char *said) {
    tpl_text out;
    kv_err err = {0};
    const kv_status st = render(text, "{'l': [1, 2], 's': 'text'}", cfg, &out, &err);
    if (st != want || !strstr(err.msg, said))
        fail_msg("%.200s: status %d, not %d: %s; wanted: %s", text, st, want, err.msg, said);
    assert_null(out.s);
}

static void template_errors_name_line_and_construct(void **state) {
    (void)state;
    check_error("a\nb\n{{ x.y.z }}", NULL, KV_EINVAL, "line 3: 'x' is undefined: it has no 'y'");
    check_error("\n\n{% if a %}\nb", NULL, KV_EFORMAT, "'endif' is missing");
    check_error("{{ l\n | join(1, 2, 3) }}", NULL, KV_EINVAL, "filter 'join': 3 arguments are given; at most 2");
    check_error("{{ l | join(by=1) }}", NULL, KV_EINVAL, "filter 'join': the argument 'by' is not known");
    check_error("\n{{ 5 | no_such }}", NULL, KV_EFORMAT, "line 2: there is no filter 'no_such'");
    check_error("{{ l is divisibleby 2 }}", NULL, KV_EINVAL, "test 'divisibleby': '%' not supported between list and int");
    check_error("{{ s.split('') }}", NULL, KV_EINVAL, "method 'split'");
    check_error("\n{% macro m(a) %}{% endmacro %}\n{{ m(b=1) }}", NULL, KV_EINVAL,
                "line 3: macro 'm': there is no parameter 'b'");
    check_error("{{ range() }}", NULL, KV_EINVAL, "function 'range': an argument is missing; there are: start stop step");
    check_error("x\n{{ raise_exception('No ' + s) }}", NULL, KV_EINVAL, "line 2: the template refuses: No text");
    check_error("{% include 'x' %}", NULL, KV_EUNSUPP, "the statement 'include' is not supported");
    check_error("{{ l.append(3) }}", NULL, KV_EINVAL, "'append' would change a value");
    check_error("{{ s.encode() }}", NULL, KV_EINVAL, "'encode' is undefined");
    check_error("{{ ''.__class__.__mro__ }}", NULL, KV_EINVAL, "'__class__' is undefined");
    check_error("a\n{% frob %}", NULL, KV_EFORMAT, "line 2: there is no statement 'frob' here");
    check_error("a\n{{ a $ b }}", NULL, KV_EFORMAT, "line 2: the character '$' has no meaning here");
    check_error("{{ 9223372036854775807 + 1 }}", NULL, KV_ERANGE, "64 bits");
    check_error("{{ -9223372036854775807 - 2 }}", NULL, KV_ERANGE, "64 bits");
    check_error("{{ 3 ** 99 }}", NULL, KV_ERANGE, "64 bits");
}

/* Every limit is met, said by name, and met in time. */
static void template_is_bounded(void **state) {
    (void)state;
    static const char nested[] =
        "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}{% endfor %}"
        "{% endfor %}";
    check_error(nested, &(tpl_cfg){.max_steps = 100000}, KV_ERANGE, "the limit of 100000 steps is reached");
    check_error("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", NULL, KV_ERANGE, "the limit of depth is reached");
    check_error("{% macro m(x) %}{{ m([x]) }}{% endmacro %}{{ m(1) }}", &(tpl_cfg){.max_depth = 50}, KV_ERANGE,
                "limit of depth is reached: 50");
    check_error("{% set n = namespace(x=[]) %}{% for i in range(5000) %}{% set n.x = [n.x] %}{% endfor %}{{ n.x }}", NULL,
                KV_ERANGE, "limit of depth");
    check_error("{% set n = namespace(x=[]) %}{% for i in range(5000) %}{% set n.x = [n.x] %}{% endfor %}{{ n.x | tojson }}",
                NULL, KV_ERANGE, "limit of depth");
    check_error("{% set n = namespace() %}{% set n.x = n %}{{ n }}", NULL, KV_ERANGE, "limit of depth");
    check_error("{{ 'x' * 1000 }}", &(tpl_cfg){.max_bytes = 999}, KV_ERANGE, "the limit of output is reached: 999 bytes");
    check_error("{{ 'x' * 999999999999 }}", NULL, KV_ERANGE, "the limit of ");
    check_error("{{ l * 999999999999 }}", NULL, KV_ERANGE, "the limit of ");
    check_error("{{ 'x'.ljust(999999999999) }}", NULL, KV_ERANGE, "the limit of ");
    check_error("{{ l | tojson(indent=99999999999) }}", NULL, KV_ERANGE, "the limit of ");
    check_error("{% set n = namespace(s='x') %}{% for i in range(99) %}{% set n.s = n.s + n.s %}{% endfor %}",
                &(tpl_cfg){.max_memory = 1 << 20}, KV_ERANGE, "the limit of memory is reached: 1048576 bytes");
    check_error("{{ range(100001) | list }}", NULL, KV_ERANGE, "the limit of a range is reached: 100000 numbers");
    check_error("{{ range(-9223372036854775807, 9223372036854775807) }}", NULL, KV_ERANGE, "the limit of a range");
}

/* first, then `a` n times, then last. */
static void check_deep(const char *first, const char *a, const char *last) {
    enum { TIMES = 20000 };
    char *text = malloc(TIMES * strlen(a) + strlen(first) + strlen(last) + 1), *at = stpcpy(text, first);
    for (size_t i = 0; i < TIMES; i++)
        at = stpcpy(at, a);
    strcpy(at, last);
    check_error(text, NULL, KV_ERANGE, "the limit of depth is reached");
    free(text);
}

static void template_nests_only_so_deep(void **state) {
    (void)state;
    check_deep("{{ ", "(", "1 }}");
    check_deep("{{ ", "[", "1 }}");
    check_deep("{{ ", "-", "1 }}");
    check_deep("{{ 1", "+1", " }}");
    check_deep("{{ 1", "|string", " }}");
    check_deep("{{ l", ".x", " }}");
    check_deep("{{ 1", " if 1 else 2", " }}");
    check_deep("", "{% if 1 %}", "");
    check_deep("", "{% for x in l %}", "");
    check_deep("", "{% macro m() %}", "");
    static char names[12 * 3000];
    for (size_t i = 0, at = 0; i < 2500; i++)
        at += (size_t)sprintf(names + at, "{{ n%zu }}", i);
    check_error(names, NULL, KV_ERANGE, "the limit of 2000 different names is reached");
}

int main(void) {
    setenv("TZ", "UTC0", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(template_renders_as_jinja),
        cmocka_unit_test(template_survives_truncation),
        cmocka_unit_test(template_knows_where_bytes_come_from),
        cmocka_unit_test(template_takes_bytes_that_are_no_characters),
        cmocka_unit_test(template_errors_name_line_and_construct),
        cmocka_unit_test(template_is_bounded),
        cmocka_unit_test(template_nests_only_so_deep),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
