/* Chat formats against what Jinja renders from the templates (tests/make_chat_cases.py). */
#include "support.h"
#include "text/chat.h"
#include "tok_support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <jansson.h>

/* A file with a template (NULL: none) and a vocabulary of three tokens, the last of which is `token`. */
static gguf *open_with(const char *tmpl, const char *token) {
    file_image f = {0};
    gguf *g = NULL;
    kv_err err = {0};
    put_array(&f, "tokenizer.ggml.tokens", GGUF_STRING, 3);
    put_text(&f, "<unk>", 5);
    put_text(&f, "</s>", 4);
    put_text(&f, token, strlen(token));
    put_id(&f, "tokenizer.ggml.eos_token_id", 1);
    if (tmpl)
        put_str(&f, "tokenizer.chat_template", tmpl);
    if (open_image(&f, &g, &err))
        fail_msg("%s", err.msg);
    return g;
}

static chat_format *detect(const gguf *g) {
    chat_format *f = NULL;
    kv_err err = {0};
    if (chat_detect(g, &f, &err))
        fail_msg("%s", err.msg);
    return f;
}

static void check_rendered(const chat_format *f, const json_t *c, const char *key, const char *name) {
    chat_msg msgs[8];
    const json_t *m, *list = json_object_get(c, "messages");
    size_t i;
    char *out;
    kv_err err = {0};
    assert_true(json_array_size(list) <= 8);
    json_array_foreach(list, i, m) msgs[i] = (chat_msg){.role = json_string_value(json_object_get(m, "role")),
                                                        .text = json_string_value(json_object_get(m, "content"))};
    if (chat_render(f, msgs, i, !strcmp(key, "open"), &out, &err))
        fail_msg("%s", err.msg);
    if (strcmp(out, json_string_value(json_object_get(c, key))))
        fail_msg("%s, %s, %s: wanted\n%s\ngot\n%s", name, json_string_value(json_object_get(c, "what")), key,
                 json_string_value(json_object_get(c, key)), out);
    free(out);
}

static json_t *load_cases(void) {
    json_error_t je;
    json_t *cases = json_load_file(KV_TEST_DATA "/tok/chat.json", 0, &je);
    if (!cases)
        fail_msg("chat.json:%d: %s", je.line, je.text);
    return cases;
}

static void chat_renders_as_jinja(void **state) {
    (void)state;
    json_t *cases = load_cases(), *c, *r;
    size_t i, k;
    json_array_foreach(cases, i, c) {
        const char *name = json_string_value(json_object_get(c, "name"));
        gguf *g = open_with(json_string_value(json_object_get(c, "template")), "x");
        chat_format *f = detect(g);
        gguf_close(g); /* nothing of it is needed any more */
        assert_non_null(f);
        assert_int_equal(strlen(chat_name(f)), strcspn(name, ","));
        assert_memory_equal(chat_name(f), name, strcspn(name, ","));
        json_array_foreach(json_object_get(c, "rendered"), k, r) {
            check_rendered(f, r, "closed", name);
            check_rendered(f, r, "open", name);
        }
        assert_int_equal(k, 4);
        chat_free(f);
    }
    assert_true(i >= 15);
    json_decref(cases);
}

/* The template in chat.json is still that of the file. */
static void check_real(const char *file, const char *name) {
    char path[4096];
    gguf *g;
    kv_err err = {0};
    if (!find_model(file, path))
        skip();
    if (gguf_open(path, &g, &err))
        fail_msg("%s", err.msg);
    chat_format *f = detect(g);
    gguf_close(g);
    assert_non_null(f);
    json_t *cases = load_cases(), *c;
    size_t i, n = 0, k;
    json_array_foreach(cases, i, c) {
        json_t *r;
        if (strcmp(json_string_value(json_object_get(c, "name")), name))
            continue;
        json_array_foreach(json_object_get(c, "rendered"), k, r) {
            check_rendered(f, r, "open", name);
            n++;
        }
    }
    assert_int_equal(n, 4);
    json_decref(cases);
    chat_free(f);
}

static void chat_renders_smollm2(void **state) {
    (void)state;
    check_real(SMOLLM2, "chatml, SmolLM2");
}

static void chat_renders_qwen(void **state) {
    (void)state;
    check_real(QWEN, "chatml, Qwen2.5");
}

static void chat_knows_gemma_by_its_tokens(void **state) {
    (void)state;
    char path[4096];
    gguf *g;
    kv_err err = {0};
    if (!find_model(GEMMA, path))
        skip();
    if (gguf_open(path, &g, &err))
        fail_msg("%s", err.msg);
    chat_format *f = detect(g);
    gguf_close(g);
    assert_non_null(f);
    assert_string_equal(chat_name(f), "gemma");
    chat_free(f);
}

static void chat_detects_by_vocabulary_without_template(void **state) {
    (void)state;
    static const char *cases[][2] = {
        {"<|im_start|>", "chatml"}, {"<start_of_turn>", "gemma"}, {"<|start_header_id|>", "llama-3"}, {"<|im_end|>", NULL}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        gguf *g = open_with(NULL, cases[i][0]);
        chat_format *f = detect(g);
        if (cases[i][1])
            assert_string_equal(chat_name(f), cases[i][1]);
        else
            assert_null(f);
        chat_free(f);
        gguf_close(g);
    }
}

static void chat_does_not_guess_at_unknown_templates(void **state) {
    (void)state;
    gguf *g = open_with("{% for m in messages %}### {{ m.role }}: {{ m.content }}{% endfor %}", "<|im_start|>");
    assert_null(detect(g));
    gguf_close(g);
}

/* Templates that are only similar to a known one: in the manner of Llama 2, Falcon 3 and Apriel, and default prompts in
 * variables. What differs from them by that alone is known. */
static void chat_does_not_take_similar_for_same(void **state) {
    (void)state;
#define LOOP(user, more) "{% for m in messages %}{% if m.role == 'user' %}" user "{% else %}" more "{% endif %}{% endfor %}"
#define CHATML           "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}"
#define TURN(text)       "{{ '<|user|>\\n' + m['content'] " text " }}"
    static const char *const cases[][2] = {
        {"mistral", LOOP("{{ '[INST] ' + m.content + ' [/INST]' }}", "{{ m.content }}")},
        {NULL, "{% set s = '<<SYS>>\\n' + messages[0].content + '<</SYS>>\\n' %}" LOOP(
                   "{{ '[INST] ' + s + m.content + ' [/INST]' }}", "{{ m.content }}")},
        {"zephyr", LOOP(TURN("+ eos_token"), "{{ '<|assistant|>\n' + m.content + eos_token }}")},
        {"zephyr", LOOP("<|user|>\n{{ m.content | trim }}{{ eos_token }}\n", "<|assistant|>{{ m.content }}{{ eos_token }}")},
        {NULL, LOOP(TURN("+ '\\n'"), "{{ '<|assistant|>\\n' + m.content + eos_token + '\\n' }}")},
        {"phi-3", LOOP(TURN("+ '<|end|>\\n'"), "{{ '<|assistant|>\\n' + m.content + '<|end|>\\n' }}")},
        {"phi-3",
         LOOP("{{ '<|user|>' + '\\n' + m['content'] + '<|end|>' + '\\n' + '<|assistant|>' + '\\n' }}", "{{ m.content }}")},
        {NULL, LOOP(TURN("+ '\\n<|end|>\\n'"), "{{ '<|assistant|>\\n' + m.content + '\\n<|end|>\\n' }}")},
        {NULL, LOOP("<|user|>\n{{ m.content }}\n<|end|>\n", "<|assistant|>\n{{ m.content }}\n<|end|>\n")},
        {"chatml", CHATML},
        {NULL, "{% set default_system_message = 'You are of use.' %}" CHATML},
        {NULL, "{%- set ns.system_prompt = \"You're of use\" if x else '' -%}" CHATML},
        {NULL, "{% set system %}You are of use.{% endset %}" CHATML},
        {"chatml", "{% set system_message = '' %}{% set date = 'a long day' %}" CHATML},
        {"chatml", "{% set system_message = messages[0]['content'] | trim %}" CHATML},
        {"chatml",
         "{% set system = 'You are of use.' %}{{ '<|im_start|>system\\nYou are.<|im_end|>\\n' }}" CHATML}, /* it is found */
        {"chatml", CHATML "{% set system = 'broken"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        gguf *g = open_with(cases[i][1], "x");
        chat_format *f = detect(g);
        const char *name = f ? chat_name(f) : "unknown", *want = cases[i][0] ? cases[i][0] : "unknown";
        if (strcmp(name, want))
            fail_msg("case %zu: %s, not %s: %s", i, name, want, cases[i][1]);
        assert_true(chat_has_template(g));
        chat_free(f);
        gguf_close(g);
    }
    gguf *g = open_with(NULL, "x");
    assert_false(chat_has_template(g));
    gguf_close(g);
}

/* Templates cut off in the middle of everything: no default prompt, and nothing read beyond the end. */
static void chat_survives_truncated_templates(void **state) {
    (void)state;
    static const char whole[] = "{{ '<|im_start|>system\\nYou are \\'it\\'.<|im_end|>\\n' }}";
    const chat_msg user = {"user", "hi"};
    for (size_t len = 12; len <= strlen(whole); len++) {
        char *cut = strndup(whole, len), *out;
        gguf *g = open_with(cut, "x");
        chat_format *f = detect(g);
        if (f) {
            assert_int_equal(chat_render(f, &user, 1, false, &out, NULL), KV_OK);
            const bool has_default = len >= (size_t)(strstr(whole, "<|im_end|>") - whole) + 10;
            assert_string_equal(out, has_default
                                         ? "<|im_start|>system\nYou are 'it'.<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n"
                                         : "<|im_start|>user\nhi<|im_end|>\n");
            free(out);
        } else {
            assert_true(len < 16);
        }
        chat_free(f);
        gguf_close(g);
        free(cut);
    }
}

static void chat_refuses_unknown_roles(void **state) {
    (void)state;
    const chat_msg tool = {"tool", "{}"};
    char *out = NULL;
    kv_err err = {0};
    gguf *g = open_with(NULL, "<|im_start|>");
    chat_format *f = detect(g);
    assert_int_equal(chat_render(f, &tool, 1, true, &out, &err), KV_EINVAL);
    assert_non_null(strstr(err.msg, "'tool'"));
    assert_null(out);
    assert_int_equal(chat_render(f, NULL, 0, true, &out, &err), KV_OK);
    assert_string_equal(out, "<|im_start|>assistant\n");
    free(out);
    chat_free(f);
    gguf_close(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chat_renders_as_jinja),
        cmocka_unit_test(chat_renders_smollm2),
        cmocka_unit_test(chat_renders_qwen),
        cmocka_unit_test(chat_knows_gemma_by_its_tokens),
        cmocka_unit_test(chat_detects_by_vocabulary_without_template),
        cmocka_unit_test(chat_does_not_take_similar_for_same),
        cmocka_unit_test(chat_does_not_guess_at_unknown_templates),
        cmocka_unit_test(chat_survives_truncated_templates),
        cmocka_unit_test(chat_refuses_unknown_roles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
