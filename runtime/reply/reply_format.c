/* The table of formats in which models call tools. The first row whose signs are all in the chat template is the model's; the
 * last one has none, and is for templates that know no tools: chat.h describes these in words.
 */
#include "reply/reply_internal.h"

#include "text/thought.h"

#include <string.h>

/* DeepSeek's marks are written with a wide bar and a lower one eighth block. */
#define DS(words) "<\xEF\xBD\x9C" words "\xEF\xBD\x9C>"
#define DS_CALL(what)                                                                                                          \
    DS("tool\xE2\x96\x81"                                                                                                      \
       "call\xE2\x96\x81" what)
#define DS_CALLS(what)                                                                                                         \
    DS("tool\xE2\x96\x81"                                                                                                      \
       "calls\xE2\x96\x81" what)
#define DS_SEP                                                                                                                 \
    DS("tool\xE2\x96\x81"                                                                                                      \
       "sep")
#define FENCES "```json", "```tool_call", "```tool_code"

/* Order matters: what is more special comes first. */
static const reply_format formats[] = {
    /* Mistral: a list up to Nemo and Small 3.1, then names and arguments, with an id between them for a while. */
    {.name = "mistral",
     .sign = {"[TOOL_CALLS]"},
     .open = {"[TOOL_CALLS]"},
     .shape = SHAPE_NAMED,
     .name_end = {"[ARGS]", "{"},
     .cut = "[ \n",
     .say_before = "[TOOL_CALLS]",
     .say_between = "[ARGS]",
     .say_after = ""},
    /* DeepSeek V3 and R1, and those distilled from it. */
    {.name = "deepseek",
     .sign = {DS_CALLS("begin")},
     .section = {DS_CALLS("begin")},
     .open = {DS_CALL("begin"), "<tool_call>"},
     .close = {"```", DS_CALL("end"), DS_CALLS("end"), "</tool_call>"},
     .shape = SHAPE_NAMED,
     .name_end = {"\n", "{", DS_CALL("end")},
     .prefix = {"function" DS_SEP},
     .cut = "<",
     .skip = "```json",
     .say_before = DS_CALLS("begin") DS_CALL("begin") "function" DS_SEP,
     .say_between = "\n```json\n",
     .say_after = "\n```" DS_CALL("end") DS_CALLS("end")},
    {.name = "kimi",
     .sign = {"<|tool_call_argument_begin|>"},
     .section = {"<|tool_calls_section_begin|>"},
     .open = {"<|tool_call_begin|>"},
     .close = {"<|tool_call_end|>", "<|tool_calls_section_end|>"},
     .shape = SHAPE_NAMED,
     .name_end = {"<|tool_call_argument_begin|>"},
     .prefix = {"functions."},
     .cut = ":<",
     .say_before = "<|tool_calls_section_begin|><|tool_call_begin|>functions.",
     .say_between = ":0<|tool_call_argument_begin|>",
     .say_after = "<|tool_call_end|><|tool_calls_section_end|>"},
    /* Seed-OSS */
    {.name = "seed",
     .sign = {"<seed:tool_call>", "<parameter="},
     .section = {"<seed:tool_call>"},
     .open = {"<function="},
     .close = {"</seed:tool_call>"},
     .shape = SHAPE_TAGS,
     .name_end = {">"},
     .key = "<parameter=",
     .key_end = ">",
     .value_end = "</parameter>",
     .end = "</function>",
     .say_before = "<seed:tool_call>\n<function=",
     .say_between = ">\n",
     .say_after = "</function>\n</seed:tool_call>",
     .say_key = "<parameter=",
     .say_value = ">",
     .say_value_end = "</parameter>\n"},
    /* Qwen3-Coder, Qwen 3.5, Nemotron 3, Step */
    {.name = "qwen-coder",
     .sign = {"<function=", "<parameter="},
     .section = {"<tool_call>"},
     .open = {"<function="},
     .close = {"</tool_call>"},
     .shape = SHAPE_TAGS,
     .name_end = {">"},
     .key = "<parameter=",
     .key_end = ">",
     .value_end = "</parameter>",
     .end = "</function>",
     .say_before = "<tool_call>\n<function=",
     .say_between = ">\n",
     .say_after = "</function>\n</tool_call>",
     .say_key = "<parameter=",
     .say_value = ">\n",
     .say_value_end = "\n</parameter>\n"},
    {.name = "minicpm",
     .sign = {"<function name=", "<param name="},
     .open = {"<function name=\""},
     .shape = SHAPE_TAGS,
     .name_end = {"\">"},
     .key = "<param name=\"",
     .key_end = "\">",
     .value_end = "</param>",
     .end = "</function>",
     .say_before = "<function name=\"",
     .say_between = "\">",
     .say_after = "</function>",
     .say_key = "<param name=\"",
     .say_value = "\">",
     .say_value_end = "</param>"},
    /* GLM 4.5 and later */
    {.name = "glm",
     .sign = {"<tool_call>", "<arg_key>"},
     .open = {"<tool_call>"},
     .shape = SHAPE_TAGS,
     .name_end = {"<arg_key>", "</tool_call>"},
     .cut = "< \n",
     .key = "<arg_key>",
     .key_end = "</arg_key>",
     .value = "<arg_value>",
     .value_end = "</arg_value>",
     .end = "</tool_call>",
     .say_before = "<tool_call>",
     .say_between = "\n",
     .say_after = "</tool_call>",
     .say_key = "<arg_key>",
     .say_value = "</arg_key>\n<arg_value>",
     .say_value_end = "</arg_value>\n"},
    {.name = "olmo",
     .sign = {"<function_calls>", "<functions>"},
     .open = {"<function_calls>"},
     .close = {"</function_calls>"},
     .shape = SHAPE_PYTHON,
     .name_end = {"("},
     .say_before = "<function_calls>",
     .say_between = "(",
     .say_after = ")</function_calls>"},
    {.name = "lfm",
     .sign = {"<|tool_call_start|>"},
     .open = {"<|tool_call_start|>"},
     .close = {"<|tool_call_end|>"},
     .shape = SHAPE_PYTHON,
     .name_end = {"("},
     .say_before = "<|tool_call_start|>[",
     .say_between = "(",
     .say_after = ")]<|tool_call_end|>"},
    /* Functionary 3.1, and Llama 3.1 where it is asked for functions of its user's own */
    {.name = "functionary",
     .sign = {"<function=", "</function>"},
     .open = {"<function="},
     .close = {"</function>"},
     .shape = SHAPE_NAMED,
     .name_end = {">"},
     .say_before = "<function=",
     .say_between = ">",
     .say_after = "</function>"},
    {.name = "command-r",
     .sign = {"<|START_ACTION|>"},
     .open = {"<|START_ACTION|>"},
     .close = {"<|END_ACTION|>"},
     .shape = SHAPE_JSON,
     .bare = true,
     .say_before = "<|START_ACTION|>[\n    {\"tool_call_id\": \"0\", \"tool_name\": ",
     .say_between = ", \"parameters\": ",
     .say_after = "}\n]<|END_ACTION|>"},
    {.name = "command-r-plus",
     .sign = {"Action:", "\"tool_name\":"},
     .section = {"Action:"},
     .open = {"```json"},
     .close = {"```"},
     .shape = SHAPE_JSON,
     .bare = true,
     .say_before = "Action: ```json\n[\n    {\n        \"tool_name\": ",
     .say_between = ",\n        \"parameters\": ",
     .say_after = "\n    }\n]```"},
    {.name = "apertus",
     .sign = {"<|tools_prefix|>"},
     .open = {"<|tools_prefix|>"},
     .close = {"<|tools_suffix|>"},
     .shape = SHAPE_SHORT,
     .say_before = "<|tools_prefix|>[{",
     .say_between = ": ",
     .say_after = "}]<|tools_suffix|>"},
    {.name = "nemotron",
     .sign = {"<TOOLCALL>"},
     .open = {"<TOOLCALL>"},
     .close = {"</TOOLCALL>"},
     .shape = SHAPE_JSON,
     .bare = true,
     .say_before = "<TOOLCALL>[{\"name\": ",
     .say_between = ", \"arguments\": ",
     .say_after = "}]</TOOLCALL>"},
    /* Granite 3, and Phi-4 mini, which closes it again */
    {.name = "granite",
     .sign = {"<|tool_call|>"},
     .open = {"<|tool_call|>", "<tool_call>"},
     .close = {"<|/tool_call|>", "</tool_call>"},
     .shape = SHAPE_JSON,
     .bare = true,
     .say_before = "<|tool_call|>[{\"name\": ",
     .say_between = ", \"arguments\": ",
     .say_after = "}]"},
    {.name = "phi-4-mini",
     .sign = {"<|tool|>"},
     .open = {"<|tool_call|>", "functools", "<tool_call>"},
     .close = {"<|/tool_call|>", "</tool_call>"},
     .shape = SHAPE_JSON,
     .bare = true,
     .say_before = "<|tool_call|>[{\"name\": ",
     .say_between = ", \"arguments\": ",
     .say_after = "}]<|/tool_call|>"},
    {.name = "gigachat",
     .sign = {"<|function_call|>"},
     .open = {"<|function_call|>"},
     .shape = SHAPE_JSON,
     .say_before = "<|function_call|>{\"name\": ",
     .say_between = ", \"arguments\": ",
     .say_after = "}"},
    /* Lists or objects between <tool_calls>: Hunyuan, Apriel, MiniMax M1 */
    {.name = "tool-calls",
     .sign = {"<tool_calls>"},
     .section = {"<tool_calls>"},
     .open = {"<tool_calls>", "<tool_call>"},
     .close = {"</tool_calls>", "</tool_call>"},
     .shape = SHAPE_JSON,
     .bare = true,
     .say_before = "<tool_calls>[{\"name\": ",
     .say_between = ", \"arguments\": ",
     .say_after = "}]</tool_calls>"},
    /* Hermes 2 and 3, Qwen 2.5 and 3, SmolLM3, Granite 4, EXAONE 4, ... */
    {.name = "hermes",
     .sign = {"<tool_call>"},
     .open = {"<tool_call>", FENCES},
     .close = {"</tool_call>", "```"},
     .shape = SHAPE_JSON,
     .bare = true,
     .say_before = "<tool_call>\n{\"name\": ",
     .say_between = ", \"arguments\": ",
     .say_after = "}\n</tool_call>"},
    {.name = "llama-3",
     .sign = {"<|python_tag|>"},
     .open = {"<|python_tag|>"},
     .shape = SHAPE_JSON,
     .bare = true,
     .say_before = "{\"name\": ",
     .say_between = ", \"parameters\": ",
     .say_after = "}"},
    {.name = "llama-3",
     .sign = {"\"parameters\":", "<|start_header_id|>"},
     .open = {"<|python_tag|>"},
     .shape = SHAPE_JSON,
     .bare = true,
     .say_before = "{\"name\": ",
     .say_between = ", \"parameters\": ",
     .say_after = "}"},
    {.name = "firefunction",
     .sign = {"functools["},
     .open = {"functools"},
     .shape = SHAPE_JSON,
     .say_before = " functools[{\"name\": ",
     .say_between = ", \"arguments\": ",
     .say_after = "}]"},
    /* What chat.h asks for in words; and what models write that were never told better. */
    {.name = "json",
     .open = {"<tool_call>", "<|python_tag|>", FENCES},
     .close = {"</tool_call>", "```"},
     .shape = SHAPE_JSON,
     .bare = true,
     .say_before = "<tool_call>\n{\"name\": ",
     .say_between = ", \"arguments\": ",
     .say_after = "}\n</tool_call>"},
};
enum { N_FORMATS = sizeof formats / sizeof *formats };

const reply_format *reply_format_of(const chat_format *f) {
    size_t len;
    const char *text = chat_template_text(f, &len);
    if (text && chat_has_calls(f))
        for (size_t i = 0; i + 1 < N_FORMATS; i++) {
            bool all = true;
            for (const char *const *s = formats[i].sign; *s; s++)
                all = all && memmem(text, len, *s, strlen(*s));
            if (all)
                return formats + i;
        }
    return formats + N_FORMATS - 1;
}

const char *reply_format_name(const reply_format *f) {
    return f->name;
}

const reply_format *reply_format_at(size_t i) {
    return i < N_FORMATS ? formats + i : NULL;
}

const reply_format *reply_format_named(const char *name) {
    for (size_t i = 0; i < N_FORMATS; i++)
        if (!strcmp(formats[i].name, name))
            return formats + i;
    return NULL;
}

/* ---- special tokens ---- */

static bool same(const char *mark, const char *text, size_t len) {
    return mark && strlen(mark) == len && !memcmp(mark, text, len);
}

static bool among(const char *const *marks, const char *text, size_t len) {
    for (; *marks; marks++)
        if (same(*marks, text, len))
            return true;
    return false;
}

/* A token may be a mark, or the beginning of one, or what stands between a name and its arguments. */
static bool is_mark(const reply_format *f, const char *text, size_t len) {
    const char *const single[] = {f->key, f->key_end, f->value, f->value_end, f->end};
    static const char *const others[] = {"[CALL_ID]", DS_SEP, NULL};
    for (size_t i = 0; i < sizeof single / sizeof *single; i++)
        if (same(single[i], text, len))
            return true;
    return among(f->section, text, len) || among(f->open, text, len) || among(f->close, text, len) ||
           among(f->name_end, text, len) || among(others, text, len);
}

const char *reply_piece(const reply_format *f, const tok *t, int32_t id, size_t *len) {
    const char *plain = thought_piece(t, id, len);
    if (*len)
        return plain;
    const char *spelled = tok_piece(t, id, true, len);
    if (*len && is_mark(f, spelled, *len))
        return spelled;
    *len = 0;
    return plain;
}
