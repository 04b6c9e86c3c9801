/* Pre-tokenizers: cut text into words, which BPE then merges separately.
 *
 * Each is one regular expression or several, one after the other: every word of the first is cut again by the second, and so
 * on, and what lies between matches is a word too. They say the same as llama.cpp's, written for PCRE2: classes such as
 * [^\P{L}a-z] ("a letter, but not a-z") keep every repetition a repetition of one character, which PCRE2 runs without a stack
 * frame per character, and no expression scans a character more than a few times.
 *
 * PCRE2 needs valid UTF-8, and its idea of letters and spaces must be llama.cpp's (Unicode 15.1, U+180E no space). So the text
 * is cleaned first (docs/tokenizers.md) and PCRE2 is shown a shadow of it, byte for byte as long, in which characters that it
 * may not know are replaced by well-known ones of the same kind. Nearly all text needs neither and is used as it is.
 */
#include "text/tok_internal.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_STEPS = 4 };

#define CONTRACTION     "'s|'t|'re|'ve|'m|'ll|'d"
#define CONTRACTION_ANY "'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]"
#define SPACES          "\\s+(?!\\S)|\\s+"
#define GPT2            CONTRACTION "| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|" SPACES
/* what Llama 3, Qwen 2 and Tekken have in common: symbols with the line ends behind them, line ends, other spaces */
#define LINES(more) "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n" more "]*|\\s*[\\r\\n]+|" SPACES
#define LEAD        "[^\\r\\n\\p{L}\\p{N}]?" /* at most one character before the letters of a word */
#define NO_LOWER    "[^\\P{L}a-z]"           /* letters but a-z, letters but A-Z */
#define NO_UPPER    "[^\\P{L}A-Z]"

typedef struct pre_row {
    const char *names; /* values of tokenizer.ggml.pre, separated by spaces */
    bool adds_bos, whole_words;
    const char *step[MAX_STEPS];
} pre_row;

static const pre_row rows[] = {
    {"gpt-2 phi-2 mpt olmo jais trillion exaone4", false, false, {GPT2}},
    {"llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral lfm2",
     true,
     true,
     {CONTRACTION_ANY "|" LEAD "\\p{L}+|\\p{N}{1,3}" LINES("")}},
    {"dbrx smaug-bpe", false, false, {CONTRACTION_ANY "|" LEAD "\\p{L}+|\\p{N}{1,3}" LINES("")}},
    {"qwen2 deepseek-r1-qwen megrez hunyuan stablelm2", false, false, {CONTRACTION_ANY "|" LEAD "\\p{L}+|\\p{N}" LINES("")}},
    {"smollm starcoder refact command-r codeshell exaone minerva-7b", false, false, {"\\p{N}", GPT2}},
    {"tekken", true, true, {LEAD NO_LOWER "*" NO_UPPER "+|" LEAD NO_LOWER "+" NO_UPPER "*|\\p{N}" LINES("/")}},
    {"default", false, false, {"[\\p{P}$+<=>^~|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]"}},
};
enum { N_ROWS = sizeof rows / sizeof *rows };

struct tok_pre {
    const pre_row *row;
    pcre2_code *code[MAX_STEPS];
    size_t n;
};

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

static kv_status unsupported(gguf_str name, const char *file, kv_err *err) {
    char list[600] = "";
    for (size_t i = 0, n = 0; i < N_ROWS; i++)
        n += (size_t)snprintf(list + n, sizeof list - n, "%s%s", i ? " " : "", rows[i].names);
    return kv_fail(err, KV_EUNSUPP, "%s: tokenizer.ggml.pre is '%.*s', a pre-tokenizer that is not supported; supported: %s",
                   file, (int)(name.len < 64 ? name.len : 64), name.s, list);
}

kv_status tok_pre_new(gguf_str name, const char *file, tok_pre **out, kv_err *err) {
    const gguf_str wanted = name.len ? name : (gguf_str){"default", 7};
    const pre_row *row = rows;
    while (row < rows + N_ROWS && !among(row->names, wanted))
        row++;
    if (row == rows + N_ROWS)
        return unsupported(name, file, err);
    tok_pre *p = calloc(1, sizeof *p);
    if (!p)
        return kv_fail(err, KV_ENOMEM, "out of memory for a pre-tokenizer");
    p->row = row;
    for (; p->n < MAX_STEPS && row->step[p->n]; p->n++) {
        int code;
        PCRE2_SIZE at;
        p->code[p->n] =
            pcre2_compile((PCRE2_SPTR)row->step[p->n], PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP, &code, &at, NULL);
        if (!p->code[p->n]) {
            PCRE2_UCHAR text[128];
            pcre2_get_error_message(code, text, sizeof text);
            tok_pre_free(p);
            return kv_fail(err, KV_EUNSUPP, "pre-tokenizer '%.*s': PCRE2: %s at %zu", (int)wanted.len, wanted.s, (char *)text,
                           at);
        }
        pcre2_jit_compile(p->code[p->n], PCRE2_JIT_COMPLETE); /* where it cannot, matching is slower but the same */
    }
    *out = p;
    return KV_OK;
}

void tok_pre_free(tok_pre *p) {
    if (!p)
        return;
    for (size_t i = 0; i < p->n; i++)
        pcre2_code_free(p->code[i]);
    free(p);
}

bool tok_pre_adds_bos(const tok_pre *p) {
    return p->row->adds_bos;
}
bool tok_pre_whole_words(const tok_pre *p) {
    return p->row->whole_words;
}

/* ---- cleaning ---- */

/* Letters, digits and signs that came with Unicode 15.0 and 15.1, which PCRE2 before 10.43 does not know, and a character that
 * PCRE2 takes for a space. `as`: a well-known one of the same kind and the same number of bytes. */
static const struct {
    uint32_t first, last, as;
} stand_ins[] = {
    {0x0180E, 0x0180E, 0x0200B}, {0x1123F, 0x11240, 0x10000}, {0x11B00, 0x11B09, 0x10100}, {0x11F02, 0x11F02, 0x10000},
    {0x11F04, 0x11F10, 0x10000}, {0x11F12, 0x11F33, 0x10000}, {0x11F43, 0x11F4F, 0x10100}, {0x11F50, 0x11F59, 0x10107},
    {0x1342F, 0x1342F, 0x10000}, {0x13441, 0x13446, 0x10000}, {0x1B132, 0x1B132, 0x10000}, {0x1B155, 0x1B155, 0x10000},
    {0x1D2C0, 0x1D2D3, 0x10107}, {0x1DF25, 0x1DF2A, 0x10000}, {0x1E030, 0x1E06D, 0x10000}, {0x1E4D0, 0x1E4EB, 0x10000},
    {0x1E4F0, 0x1E4F9, 0x10107}, {0x2B739, 0x2B739, 0x10000}, {0x2EBF0, 0x2EE5D, 0x10000}, {0x31350, 0x323AF, 0x10000},
};

/* What PCRE2 is shown for a character: itself in nearly all cases. */
static uint32_t shown(uint32_t c) {
    if (c >= 0xD800 && c < 0xE000)
        return 0xFFFD;
    if (c != 0x180E && c < 0x11000)
        return c;
    for (size_t i = 0; i < sizeof stand_ins / sizeof *stand_ins; i++)
        if (c >= stand_ins[i].first && c <= stand_ins[i].last)
            return stand_ins[i].as;
    return c;
}

/* One character as llama.cpp reads it: overlong forms and surrogates are taken for what they say, a byte that starts nothing
 * for U+FFFD. Returns the bytes read. */
static size_t decode(const uint8_t *s, size_t len, uint32_t *c) {
    const size_t n = s[0] < 0x80 ? 1 : s[0] < 0xC0 ? 0 : s[0] < 0xE0 ? 2 : s[0] < 0xF0 ? 3 : s[0] < 0xF8 ? 4 : 0;
    *c = n == 1 ? s[0] : s[0] & (0x7Fu >> n);
    bool ok = n && n <= len;
    for (size_t i = 1; ok && i < n; i++) {
        ok = (s[i] & 0xC0) == 0x80;
        *c = *c << 6 | (s[i] & 0x3F);
    }
    if (ok && *c <= 0x10FFFF)
        return n;
    *c = 0xFFFD;
    return 1;
}

static size_t encode(uint32_t c, uint8_t *out) {
    const size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    if (n == 1)
        out[0] = (uint8_t)c;
    for (size_t i = n; n > 1 && i--; c >>= 6)
        out[i] = (uint8_t)(i ? 0x80 | (c & 0x3F) : (0xF00u >> n & 0xFF) | c);
    return n;
}

/* Bytes at the start that need no cleaning. */
static size_t clean_prefix(const uint8_t *text, size_t len) {
    size_t i = 0;
    while (i < len) {
        uint32_t c;
        if (text[i] < 0x80) {
            i++;
            continue;
        }
        uint8_t same[4];
        const size_t n = decode(text + i, len - i, &c);
        if (shown(c) != c || encode(c, same) != n || memcmp(same, text + i, n))
            break;
        i += n;
    }
    return i;
}

/* Sets w->text and *shadow (both *n bytes). */
static kv_status clean(const uint8_t *text, size_t len, tok_words *w, const uint8_t **shadow, size_t *n, kv_err *err) {
    const size_t prefix = clean_prefix(text, len), room = prefix + 3 * (len - prefix);
    w->text = *shadow = text;
    *n = len;
    if (prefix == len)
        return KV_OK;
    if (!(w->copy = malloc(2 * room)))
        return kv_fail(err, KV_ENOMEM, "out of memory for a text of %zu bytes", len);
    uint8_t *said = w->copy, *seen = w->copy + room;
    memcpy(said, text, prefix);
    memcpy(seen, text, prefix);
    *n = prefix;
    for (size_t i = prefix; i < len;) {
        uint32_t c;
        i += decode(text + i, len - i, &c);
        encode(shown(c), seen + *n);
        *n += encode(c, said + *n);
    }
    w->text = said;
    *shadow = seen;
    return KV_OK;
}

/* ---- splitting ---- */

static bool add_word(tok_words *w, size_t *cap, size_t end) {
    if (w->n == *cap) {
        const size_t want = *cap ? 2 * *cap : 256;
        uint32_t *p = realloc(w->end, want * sizeof *p);
        if (!p)
            return false;
        w->end = p;
        *cap = want;
    }
    w->end[w->n++] = (uint32_t)end;
    return true;
}

/* Cut text[from, to) by one expression and append the words. */
static kv_status cut(const pcre2_code *code, pcre2_match_data *md, pcre2_match_context *mc, const uint8_t *text, size_t from,
                     size_t to, tok_words *w, size_t *cap, kv_err *err) {
    size_t done = 0;
    const size_t len = to - from;
    while (done < len) {
        const int rc = pcre2_match(code, text + from, len, done, PCRE2_NO_UTF_CHECK, md, mc);
        if (rc == PCRE2_ERROR_NOMATCH)
            break;
        const PCRE2_SIZE *at = pcre2_get_ovector_pointer(md);
        if (rc < 0 || at[1] <= done || at[0] < done) {
            PCRE2_UCHAR text_of[128] = "empty match";
            if (rc < 0)
                pcre2_get_error_message(rc, text_of, sizeof text_of);
            return kv_fail(err, KV_ENOMEM, "cannot split a text of %zu bytes into words: PCRE2: %s", to, (char *)text_of);
        }
        if ((at[0] > done && !add_word(w, cap, from + at[0])) || !add_word(w, cap, from + at[1]))
            return kv_fail(err, KV_ENOMEM, "out of memory for a text of %zu bytes", to);
        done = at[1];
    }
    if (done < len && !add_word(w, cap, to))
        return kv_fail(err, KV_ENOMEM, "out of memory for a text of %zu bytes", to);
    return KV_OK;
}

kv_status tok_pre_split(const tok_pre *p, const uint8_t *text, size_t len, tok_words *out, kv_err *err) {
    kv_status st = KV_OK;
    const uint8_t *shadow;
    size_t n, cap = 0;
    tok_words old = {0};
    *out = (tok_words){0};
    pcre2_match_data *md = pcre2_match_data_create(1, NULL);
    pcre2_match_context *mc = pcre2_match_context_create(NULL);
    if (!md || !mc) {
        st = kv_fail(err, KV_ENOMEM, "out of memory for PCRE2");
        goto done;
    }
    if ((st = clean(text, len, out, &shadow, &n, err)))
        goto done;
    /* The work is linear in the text, so a limit that grows with it never stops an honest match. */
    pcre2_set_match_limit(mc, n < UINT32_MAX / 32 ? 1000000 + (uint32_t)n * 16 : UINT32_MAX);
    if (!add_word(out, &cap, n)) {
        st = kv_fail(err, KV_ENOMEM, "out of memory for a text of %zu bytes", len);
        goto done;
    }
    for (size_t step = 0; step < p->n; step++) {
        free(old.end);
        old = *out;
        out->end = NULL;
        out->n = cap = 0;
        for (size_t i = 0; i < old.n; i++)
            if ((st = cut(p->code[step], md, mc, shadow, i ? old.end[i - 1] : 0, old.end[i], out, &cap, err)))
                goto done;
    }
done:
    free(old.end);
    pcre2_match_data_free(md);
    pcre2_match_context_free(mc);
    if (st)
        tok_words_free(out);
    return st;
}

void tok_words_free(tok_words *w) {
    free(w->end);
    free(w->copy);
    *w = (tok_words){0};
}
