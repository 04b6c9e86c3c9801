/* The pre-tokenizers: a row each.
 *
 * Each is one regular expression or several, one after the other: every word of the first is cut again by the second, and so
 * on, and what lies between matches is a word too. They say the same as llama.cpp's, written for PCRE2: classes such as
 * [^\P{L}a-z] ("a letter, but not a-z") keep every repetition a repetition of one character, which PCRE2 runs without a stack
 * frame per character, and no expression scans a character more than a few times. Where llama.cpp differs from the tokenizer
 * that a model was published with, llama.cpp is followed: files were made for it.
 *
 * docs/tokenizers.md says how a row is found and checked.
 */
#include "text/tok_internal.h"

#include <stdio.h>
#include <string.h>

#define CONTRACTION     "'s|'t|'re|'ve|'m|'ll|'d"
#define CONTRACTION_ANY "'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]"
#define SPACES          "\\s+(?!\\S)|\\s+"
#define SYMBOLS         " ?[^\\s\\p{L}\\p{N}]+"
#define LEAD            "[^\\r\\n\\p{L}\\p{N}]?" /* at most one character before the letters of a word */
#define WORD            LEAD "\\p{L}+"
#define MARKED_WORD     LEAD "[\\p{L}\\p{M}]+" /* marks are part of a word */
/* what Llama 3, Qwen 2 and Tekken have in common: symbols with the line ends behind them, line ends, other spaces */
#define LINES(more) "|" SYMBOLS "[\\r\\n" more "]*|\\s*[\\r\\n]+|" SPACES
#define GPT2        CONTRACTION "| ?\\p{L}+| ?\\p{N}+|" SYMBOLS "|" SPACES
#define LLAMA3      CONTRACTION_ANY "|" WORD "|\\p{N}{1,3}" LINES("")
#define QWEN2       CONTRACTION_ANY "|" WORD "|\\p{N}" LINES("")
/* capitals, then small letters: letters but a-z, letters but A-Z; the others are both */
#define NO_LOWER                   "[^\\P{L}a-z]"
#define NO_UPPER                   "[^\\P{L}A-Z]"
#define CASED(capital, small, end) LEAD capital "*" small "+" end "|" LEAD capital "+" small "*" end
#define OPTIONAL_CONTRACTION       "(?:" CONTRACTION_ANY ")?"
/* the same with marks: all that is neither digit, sign, space nor control character */
#define MARKED_NO_LOWER "[^\\p{N}\\p{P}\\p{S}\\p{Z}\\p{C}a-z]"
#define MARKED_NO_UPPER "[^\\p{N}\\p{P}\\p{S}\\p{Z}\\p{C}A-Z]"

/* ---- DeepSeek and what came after it ---- */
#define CJK_KANA "[\\x{4E00}-\\x{9FA5}\\x{3040}-\\x{30FF}]+"
/* U+0800 to U+9FA5 without the spaces among them, and Hangul */
#define CJK_REST                                                                                                               \
    "[\\x{800}-\\x{167F}\\x{1681}-\\x{1FFF}\\x{200B}-\\x{2027}\\x{202A}-\\x{202E}\\x{2030}-\\x{205E}\\x{2060}-\\x{2FFF}"       \
    "\\x{3001}-\\x{9FA5}\\x{AC00}-\\x{D7FF}]+"
#define V3(ends) "[!-/:-@\\[-`{-~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+" ends "|" SPACES
#define V3_LINES "[\\r\\n]*|\\s*[\\r\\n]+"
/* Letters that have a case, as deepseek-llm lists them. */
#define CASED_LETTERS                                                                                                          \
    "A-Za-z\\x{B5}\\x{C0}-\\x{D6}\\x{D8}-\\x{F6}\\x{F8}-\\x{1BA}\\x{1BC}-\\x{1BF}\\x{1C4}-\\x{293}\\x{295}-\\x{2AF}"           \
    "\\x{370}-\\x{373}\\x{376}\\x{377}\\x{37B}-\\x{37D}\\x{37F}\\x{386}\\x{388}-\\x{38A}\\x{38C}\\x{38E}-\\x{3A1}"             \
    "\\x{3A3}-\\x{3F5}\\x{3F7}-\\x{481}\\x{48A}-\\x{52F}\\x{531}-\\x{556}\\x{10A0}-\\x{10C5}\\x{13A0}-\\x{13F5}"               \
    "\\x{13F8}-\\x{13FD}\\x{1C90}-\\x{1CBA}\\x{1CBD}-\\x{1CBF}\\x{1D00}-\\x{1D2B}\\x{1D6B}-\\x{1D77}\\x{1D79}-\\x{1D9A}"       \
    "\\x{1E00}-\\x{1F15}\\x{1F18}-\\x{1F1D}\\x{1F20}-\\x{1F45}\\x{1F48}-\\x{1F4D}\\x{1F50}-\\x{1F57}\\x{1F59}\\x{1F5B}"        \
    "\\x{1F5D}\\x{1F5F}-\\x{1F7D}\\x{1F80}-\\x{1FB4}\\x{1FB6}-\\x{1FBC}\\x{1FBE}\\x{1FC2}-\\x{1FC4}\\x{1FC6}-\\x{1FCC}"        \
    "\\x{1FD0}-\\x{1FD3}\\x{1FD6}-\\x{1FDB}\\x{1FE0}-\\x{1FEC}\\x{1FF2}-\\x{1FF4}\\x{1FF6}-\\x{1FFC}\\x{2102}\\x{2107}"        \
    "\\x{210A}-\\x{2113}\\x{2115}\\x{2119}-\\x{211D}\\x{2124}\\x{2126}\\x{2128}\\x{212A}-\\x{212D}\\x{212F}-\\x{2134}"         \
    "\\x{2139}\\x{213C}-\\x{213F}\\x{2145}-\\x{2149}\\x{214E}\\x{2183}\\x{2184}\\x{2C00}-\\x{2C7B}\\x{2C7E}-\\x{2CE4}"         \
    "\\x{2CEB}-\\x{2CEE}\\x{2CF2}\\x{2CF3}\\x{A640}-\\x{A66D}\\x{A680}-\\x{A69B}\\x{A722}-\\x{A76F}\\x{A771}-\\x{A787}"        \
    "\\x{A78B}-\\x{A78E}\\x{AB70}-\\x{ABBF}\\x{FB00}-\\x{FB06}\\x{FB13}-\\x{FB17}\\x{FF21}-\\x{FF3A}\\x{FF41}-\\x{FF5A}"       \
    "\\x{10400}-\\x{1044F}\\x{104B0}-\\x{104D3}\\x{104D8}-\\x{104FB}\\x{10C80}-\\x{10CB2}\\x{10CC0}-\\x{10CF2}"                \
    "\\x{118A0}-\\x{118DF}\\x{1E900}-\\x{1E943}"

#define DEEPSEEK_SIGNS "[!-/:-~\\x{FF01}-\\x{FF0F}\\x{FF1A}-\\x{FF5E}\\x{2018}-\\x{201F}\\x{3001}\\x{3002}]+"

#define AFMOE_SCRIPTS                                                                                                          \
    "[\\x{4E00}-\\x{9FFF}\\x{3400}-\\x{4DBF}\\x{8C48}-\\x{FAFF}\\x{3040}-\\x{30FF}\\x{FF65}-\\x{FF9F}\\x{2F00}-\\x{2FDF}"      \
    "\\x{E40}-\\x{EFF}\\x{1780}-\\x{17FF}\\x{1000}-\\x{109F}\\x{AA60}-\\x{AA7F}\\x{A9E0}-\\x{A9FF}\\x{1100}-\\x{11FF}]+"
#define YOUTU_SCRIPTS                                                                                                          \
    "[\\x{AC00}-\\x{D7A3}\\x{3131}-\\x{318E}]+|[\\x{FF01}\\x{2026}\\x{201C}\\x{201D}\\x{2018}\\x{2019}\\x{2014}\\x{FF1A}"      \
    "\\x{FF1B}\\x{FF0C}\\x{3001}-\\x{303F}\\x{FE30}-\\x{FE4F}]+|[\\x{3105}-\\x{312F}]+|" CJK_KANA
/* Han as Kimi K2 has it: whole blocks. */
#define HAN                                                                                                                    \
    "\\x{4E00}-\\x{9FFF}\\x{3400}-\\x{4DBF}\\x{20000}-\\x{2A6DF}\\x{2A700}-\\x{2B73F}\\x{2B740}-\\x{2EBEF}\\x{F900}-\\x{FAFF}" \
    "\\x{2F800}-\\x{2FA1F}"
/* a word that ends at spaces and at some of the punctuation marks of the world */
#define BLOOM " ?[^(\\s|.,!?\\x{2026}\\x{3002}\\x{FF0C}\\x{3001}\\x{964}\\x{6D4}\\x{60C})]+"

static const tok_pre_row rows[] = {
    {"gpt-2 phi-2 mpt olmo jais trillion exaone4 gigachat a.x-4.0 mellum granite-docling modern-bert roberta-bpe jina-es "
     "jina-de jina-v1-en jina-v2-es jina-v2-de jina-v2-code",
     0,
     {GPT2}},
    {"llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral lfm2 midm-2.0 jina-v5-nano", PRE_BOS | PRE_WHOLE, {LLAMA3}},
    {"dbrx smaug-bpe", 0, {LLAMA3}},
    {"chatglm-bpe", PRE_NO_BOS, {LLAMA3}},
    {"glm4 glm5", PRE_NO_BOS | PRE_WHOLE, {LLAMA3}},
    {"minicpm5", PRE_WHOLE, {"\\p{N}{1,3}", CONTRACTION_ANY "|" WORD "|\\p{N}+" LINES("")}},
    /* Spaces in pieces of 512, 256, ... 4, 2, 1: cut from what is nothing but spaces, line ends aside. */
    {"jais-2",
     0,
     {LLAMA3,
      "\\A\\s*+\\S[\\s\\S]*+|\\A\\s*[\\r\\n]+|\\s{512}|\\s{256}|\\s{128}|\\s{64}|\\s{32}|\\s{16}|\\s{8}|\\s{4}|\\s{1,2}"}},
    {"k2-horizon", 0, {"'[sS\\x{17F}]|" CONTRACTION_ANY "|" LEAD "[\\p{L}\\p{M}\\x{200C}\\x{200D}]+|\\p{N}{1,3}" LINES("")}},
    {"qwen2 deepseek-r1-qwen megrez hunyuan stablelm2 kormo f2llmv2 solar-open grok-2 bailingmoe bailingmoe2 llada-moe",
     0,
     {QWEN2}},
    {"qwen35", 0, {CONTRACTION_ANY "|" MARKED_WORD "|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|" SPACES}},
    {"laguna", 0, {"[^\\n]+|\\n+", QWEN2}},
    {"ufakzeka", 0, {WORD "|\\p{N}" LINES("")}},
    {"seed-coder", 0, {CONTRACTION_ANY "|" WORD "|\\p{N}|" SYMBOLS "|\\s*[\\r\\n]+|" SPACES}},
    /* a word may be several, with single spaces between them */
    {"exaone-moe",
     0,
     {CONTRACTION_ANY "|" LEAD "\\p{L}[\\p{L}\\p{M}]*+(?: \\p{L}[\\p{L}\\p{M}]*+)*+|\\p{N}|" SYMBOLS
                      "[\\r\\n/]?|\\s*[\\r\\n]|" SPACES}},
    {"smollm starcoder refact command-r codeshell exaone minerva-7b mellum2", 0, {"\\p{N}", GPT2}},
    {"tekken", PRE_BOS | PRE_WHOLE, {CASED(NO_LOWER, NO_UPPER, "") "|\\p{N}" LINES("/")}},
    {"gpt-4o llama4 kanana2 talkie minimax-m2", 0, {CASED(NO_LOWER, NO_UPPER, OPTIONAL_CONTRACTION) "|\\p{N}{1,3}" LINES("/")}},
    {"granite-embed-multi-97m",
     PRE_WHOLE,
     {CASED(MARKED_NO_LOWER, MARKED_NO_UPPER, OPTIONAL_CONTRACTION) "|\\p{N}{1,3}" LINES("/")}},
    {"tiny_aya cohere2moe", PRE_THREES_TO, {"\\p{N}+", MARKED_WORD OPTIONAL_CONTRACTION "|\\p{N}{1,3}" LINES("/")}},
    {"youtu", PRE_WHOLE, {YOUTU_SCRIPTS, MARKED_WORD OPTIONAL_CONTRACTION "|\\p{N}" LINES("/")}},
    {"kimi-k2", PRE_NO_MERGES, {"[" HAN "]+|" LEAD "[^\\P{L}" HAN "]+" OPTIONAL_CONTRACTION "|\\p{N}{1,3}" LINES("")}},
    {"superbpe", PRE_THREES_FROM, {"[0-9]+", "\\p{N}+"}},
    {"deepseek-llm",
     0,
     {"[\\r\\n]", "\\s?[" CASED_LETTERS "]+", "\\s?" DEEPSEEK_SIGNS, "(?<!\\s)\\s+\\z", CJK_REST, "\\p{N}+"}},
    {"deepseek-coder", 0, {"[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", CJK_REST, "\\p{N}"}},
    {"deepseek-v3 hunyuan-dense hy_v4 joyai-llm", 0, {"\\p{N}{1,3}", CJK_KANA, V3(V3_LINES)}},
    {"spark2_5", 0, {"\\p{N}{1,3}", CJK_KANA, V3("|[\\r\\n]"), "\\p{N}"}},
    {"afmoe", PRE_THREES_TO, {"\\p{N}+", AFMOE_SCRIPTS, V3(V3_LINES)}},
    {"falcon", 0, {"[\\p{P}$+<=>^~|`]+", GPT2, "[0-9][0-9][0-9]"}},
    {"default", 0, {"[\\p{P}$+<=>^~|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]"}},
    {"bloom poro-chat gpt3-finnish", 0, {BLOOM}},
    {"viking", 0, {BLOOM, "\\p{N}"}},
    {"chameleon",
     PRE_BOS,
     {"<sentinel:[0-9]+>", "IMGIMG[A-I]{1,4}Z", "[\\t\\n]|    |  ", "\\p{N}", "[\\p{P}!-/:-@\\[-`{-~]", GPT2}},
    /* Not spelled in bytes: */
    {"gemma4 granite-embed-multi-311m", PRE_FORCE_BOS | PRE_RAW | PRE_MARKS | PRE_NEWLINES, {"[^\\n]+|\\n+"}},
    {"sarvam-moe", PRE_RAW | PRE_MARKS, {"[^\\n]+|\\n+"}},
    {"mmbert", PRE_RAW | PRE_MARKS | PRE_LINES | PRE_NEWLINES, {"\\x{2581}[^\\x{2581}\\n]*|\\n+"}},
    {"whitespace", PRE_RAW, {"\\S+"}},
};
enum { N_ROWS = sizeof rows / sizeof *rows };

/* Is `name` one of the space-separated names? */
static bool among(const char *names, gguf_str name) {
    for (const char *p = names; *p;) {
        const size_t len = strcspn(p, " ");
        if (len == name.len && !memcmp(p, name.s, len))
            return true;
        p += len + (p[len] == ' ');
    }
    return false;
}

const tok_pre_row *tok_pre_find(gguf_str name) {
    for (size_t i = 0; i < N_ROWS; i++)
        if (among(rows[i].names, name))
            return &rows[i];
    return NULL;
}

const char *tok_pre_names(size_t i) {
    return i < N_ROWS ? rows[i].names : NULL;
}

kv_status tok_pre_unknown(gguf_str name, const char *file, kv_err *err) {
    char list[600] = "";
    for (size_t i = 0, n = 0; i < N_ROWS && n < sizeof list; i++)
        n += (size_t)snprintf(list + n, sizeof list - n, "%s%.*s", i ? " " : "", (int)strcspn(rows[i].names, " "),
                              rows[i].names);
    return kv_fail(
        err, KV_EUNSUPP,
        "%s: tokenizer.ggml.pre is '%.*s', a pre-tokenizer that is not supported; supported, with those that llama.cpp "
        "treats alike: %s",
        file, (int)(name.len < 64 ? name.len : 64), name.s, list);
}
