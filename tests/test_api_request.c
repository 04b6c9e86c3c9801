/* Requests of clients and answers to them, by the public API. */
#include "gguf/gguf.h"
#include "support.h"

#include <kv/kv.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const char template[] = "{% if tools %}{{ tools | tojson }}\n{% endif %}{% for m in messages %}<|im_start|>{{ m.role "
                               "}}\n{{ m.content }}{% for c in m.tool_calls %}"
                               "<tool_call>{{ c.function | tojson }}</tool_call>{% endfor %}<|im_end|>\n{% endfor %}{% if "
                               "add_generation_prompt %}<|im_start|>assistant\n"
                               "{% if think %}<think>\n{% endif %}{% endif %}";

static void good(kv_status st, const kv_err *err) {
    if (st)
        fail_msg("%s: %s", kv_status_name(st), err->msg);
}

static kv_model *load(const char *tmpl) {
    const gguf_set set = {"tokenizer.chat_template", GGUF_STRING, tmpl, strlen(tmpl)};
    kv_model *m = NULL;
    kv_err err = {0};
    gguf *g;
    good(gguf_open(KV_TEST_DATA "/tiny/qwen2.gguf", &g, &err), &err);
    good(gguf_copy(g, "api-request.gguf", NULL, &set, 1, &err), &err);
    gguf_close(g);
    good(kv_model_load("api-request.gguf", NULL, &m, &err), &err);
    remove("api-request.gguf");
    return m;
}

#define REQUEST(more)                                                                                                          \
    "{\"model\": \"x\", \"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \"Hi "                \
    "<|im_end|>\"}]}]" more "}"
#define TOOLS                                                                                                                  \
    ", \"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"add\", \"parameters\": {\"type\": \"object\", "         \
    "\"properties\": {}}}}]"

static void request_is_rendered(void **state) {
    (void)state;
    kv_model *m = load(template);
    kv_err err = {0};
    char *text;
    int32_t *ids;
    size_t n;
    static const char plain[] = REQUEST(""), tools[] = REQUEST(TOOLS ", \"chat_template_kwargs\": {\"think\": true}"),
                      closed[] = REQUEST(", \"add_generation_prompt\": false, \"tools\": []");
    good(kv_text_request(m, plain, strlen(plain), &text, &ids, &n, &err), &err);
    assert_string_equal(text, "<|im_start|>user\nHi <|im_end|><|im_end|>\n<|im_start|>assistant\n");
    int ends = 0;
    for (size_t i = 0; i < n; i++)
        ends += kv_text_is_end(m, ids[i]);
    assert_int_equal(ends, 1); /* the template's, not the user's */
    kv_free(text);
    kv_free(ids);
    good(kv_text_request(m, tools, strlen(tools), &text, NULL, NULL, &err), &err);
    assert_string_equal(text, "[{\"type\": \"function\", \"function\": {\"name\": \"add\", \"parameters\": {\"type\": "
                              "\"object\", \"properties\": {}}}}]\n"
                              "<|im_start|>user\nHi <|im_end|><|im_end|>\n<|im_start|>assistant\n<think>\n");
    kv_free(text);
    good(kv_text_request(m, closed, strlen(closed), &text, NULL, NULL, &err), &err);
    assert_string_equal(text, "<|im_start|>user\nHi <|im_end|><|im_end|>\n");
    kv_free(text);
    kv_model_free(m);
}

/* The message that a client gets of an answer. */
static void check_reply(const kv_model *m, const char *request, const char *answer, const char *want) {
    int32_t *ids;
    size_t n;
    char *message;
    kv_err err = {0};
    good(kv_text_tokenize(m, answer, strlen(answer), KV_TEXT_SPECIAL, &ids, &n, &err), &err);
    good(kv_text_reply(m, request, strlen(request), ids, n, &message, &err), &err);
    assert_string_equal(message, want);
    kv_free(message);
    kv_free(ids);
}

static void reply_is_a_message(void **state) {
    (void)state;
    kv_model *m = load(template);
    static const char call[] = "<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": \"ü\"}}\n</tool_call>";
    check_reply(m, REQUEST(""), "Hello!<|im_end|>", "{\"role\": \"assistant\", \"content\": \"Hello!\"}");
    check_reply(m, REQUEST(""), "", "{\"role\": \"assistant\", \"content\": \"\"}");
    check_reply(m, REQUEST(TOOLS), call,
                "{\"role\": \"assistant\", \"content\": null, \"tool_calls\": [{\"id\": \"call00000\", \"type\": \"function\", "
                "\"function\": {\"name\": "
                "\"add\", \"arguments\": \"{\\\"a\\\": \\\"ü\\\"}\"}}]}");
    /* ids go on where those of the request end */
    check_reply(m,
                "{\"messages\": [{\"role\": \"assistant\", \"tool_calls\": [{\"id\": \"call00000\", \"function\": {\"name\": "
                "\"add\"}}]}]" TOOLS "}",
                "<tool_call>{\"name\": \"add\"}</tool_call>",
                "{\"role\": \"assistant\", \"content\": null, \"tool_calls\": [{\"id\": \"call00001\", \"type\": \"function\", "
                "\"function\": {\"name\": \"add\", \"arguments\": \"{}\"}}]}");
    check_reply(m, REQUEST(TOOLS ", \"chat_template_kwargs\": {\"think\": true}"), "so\n</think>\n\nYes.",
                "{\"role\": \"assistant\", \"content\": \"Yes.\", \"reasoning_content\": \"so\"}");
    check_reply(
        m, REQUEST(TOOLS), "<tool_call>{\"name\": \"add\", \"arguments\": {\"a\"",
        "{\"role\": \"assistant\", \"content\": \"<tool_call>{\\\"name\\\": \\\"add\\\", \\\"arguments\\\": {\\\"a\\\"\"}");
    kv_model_free(m);
}

static void request_says_what_is_wrong(void **state) {
    (void)state;
    static const struct {
        const char *request, *says;
        kv_status st;
    } cases[] = {{"{\"messages\": [}", "the request is no JSON: line 1", KV_EFORMAT},
                 {"[]", "the request is no JSON object", KV_EINVAL},
                 {"{}", "messages are a list", KV_EINVAL},
                 {"{\"messages\": [{\"role\": \"king\"}]}", "unknown role 'king'", KV_EINVAL}};
    kv_model *m = load(template), *broken = load("{{ messages ");
    kv_err err = {0};
    char *text;
    int32_t id = 1 << 30, *ids;
    size_t n;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(kv_text_request(m, cases[i].request, strlen(cases[i].request), &text, &ids, &n, &err), cases[i].st);
        assert_non_null(strstr(err.msg, cases[i].says));
        assert_null(text);
        assert_null(ids);
        assert_int_equal(kv_text_reply(m, cases[i].request, strlen(cases[i].request), NULL, 0, &text, &err), cases[i].st);
        assert_null(text);
    }
    assert_int_equal(kv_text_reply(m, REQUEST(""), strlen(REQUEST("")), &id, 1, &text, &err), KV_ERANGE);
    assert_int_equal(kv_text_request(broken, REQUEST(""), strlen(REQUEST("")), &text, NULL, NULL, &err), KV_EUNSUPP);
    assert_non_null(strstr(err.msg, "line 1"));
    kv_model_free(m);
    kv_model_free(broken);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(request_is_rendered),
        cmocka_unit_test(reply_is_a_message),
        cmocka_unit_test(request_says_what_is_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
