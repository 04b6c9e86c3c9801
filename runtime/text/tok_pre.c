/* Pre-tokenizers: cut text into words, which BPE then merges separately.
 *
 * tok_pre_table.c has the expressions that say where.
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

struct tok_pre {
    const tok_pre_row *row;
    pcre2_code *code[TOK_PRE_STEPS];
    size_t n;
};

kv_status tok_pre_new(gguf_str name, const char *file, tok_pre **out, kv_err *err) {
    const tok_pre_row *row = tok_pre_find(name);
    if (!row)
        return tok_pre_unknown(name, file, err);
    tok_pre *p = calloc(1, sizeof *p);
    if (!p)
        return kv_fail(err, KV_ENOMEM, "%s: out of memory for a pre-tokenizer", file);
    p->row = row;
    for (; p->n < TOK_PRE_STEPS && row->step[p->n]; p->n++) {
        int code;
        PCRE2_SIZE at;
        p->code[p->n] =
            pcre2_compile((PCRE2_SPTR)row->step[p->n], PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP, &code, &at, NULL);
        if (!p->code[p->n]) {
            PCRE2_UCHAR text[128];
            pcre2_get_error_message(code, text, sizeof text);
            kv_fail(err, KV_EUNSUPP, "%s: pre-tokenizer '%.*s', expression %zu: PCRE2: %s at %zu", file, (int)name.len, name.s,
                    p->n + 1, (char *)text, at);
            tok_pre_free(p);
            return KV_EUNSUPP;
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

unsigned tok_pre_flags(const tok_pre *p) {
    return p->row->flags;
}

/* ---- cleaning ---- */

/* Letters, marks, digits and signs that came with Unicode 15.0 and 15.1, which PCRE2 before 10.43 does not know, and a
 * character that PCRE2 takes for a space. `as`: a well-known one of the same kind and the same number of bytes, that is in the
 * same classes of tok_pre_table.c. */
static const struct {
    uint32_t first, last, as;
} stand_ins[] = {
    {0x00CF3, 0x00CF3, 0x00CE2}, {0x00ECE, 0x00ECE, 0x00EC8}, {0x0180E, 0x0180E, 0x0200B}, {0x02FFC, 0x02FFF, 0x02FF0},
    {0x031EF, 0x031EF, 0x031C0}, {0x10EFD, 0x10EFF, 0x10A01}, {0x1123F, 0x11240, 0x10000}, {0x11241, 0x11241, 0x10A01},
    {0x11B00, 0x11B09, 0x10100}, {0x11F00, 0x11F01, 0x10A01}, {0x11F02, 0x11F02, 0x10000}, {0x11F03, 0x11F03, 0x10A01},
    {0x11F04, 0x11F10, 0x10000}, {0x11F12, 0x11F33, 0x10000}, {0x11F34, 0x11F3A, 0x10A01}, {0x11F3E, 0x11F42, 0x10A01},
    {0x11F43, 0x11F4F, 0x10100}, {0x11F50, 0x11F59, 0x10107}, {0x1342F, 0x1342F, 0x10000}, {0x13440, 0x13440, 0x10A01},
    {0x13441, 0x13446, 0x10000}, {0x13447, 0x13455, 0x10A01}, {0x1B132, 0x1B132, 0x10000}, {0x1B155, 0x1B155, 0x10000},
    {0x1D2C0, 0x1D2D3, 0x10107}, {0x1DF25, 0x1DF2A, 0x10000}, {0x1E030, 0x1E06D, 0x10000}, {0x1E08F, 0x1E08F, 0x10A01},
    {0x1E4D0, 0x1E4EB, 0x10000}, {0x1E4EC, 0x1E4EF, 0x10A01}, {0x1E4F0, 0x1E4F9, 0x10107}, {0x1F6DC, 0x1F6DC, 0x10137},
    {0x1F774, 0x1F776, 0x10137}, {0x1F77B, 0x1F77F, 0x10137}, {0x1F7D9, 0x1F7D9, 0x10137}, {0x1FA75, 0x1FA77, 0x10137},
    {0x1FA87, 0x1FA88, 0x10137}, {0x1FAAD, 0x1FAAF, 0x10137}, {0x1FABB, 0x1FABD, 0x10137}, {0x1FABF, 0x1FABF, 0x10137},
    {0x1FACE, 0x1FACF, 0x10137}, {0x1FADA, 0x1FADB, 0x10137}, {0x1FAE8, 0x1FAE8, 0x10137}, {0x1FAF7, 0x1FAF8, 0x10137},
    {0x2B739, 0x2B739, 0x20000}, {0x2EBF0, 0x2EE5D, 0x10000}, {0x31350, 0x323AF, 0x10000},
};

/* What PCRE2 is shown for a character: itself in nearly all cases. */
static uint32_t shown(uint32_t c) {
    if (c >= 0xD800 && c < 0xE000)
        return 0xE000; /* neither letter nor sign, as surrogates are */
    if (c < 0x10EFD && c != 0x0CF3 && c != 0x0ECE && c != 0x180E && c != 0x31EF && (c < 0x2FFC || c > 0x2FFF))
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

/* Words, and how many have room. */
typedef struct cuts {
    tok_words *w;
    size_t cap;
    const uint8_t *text; /* what PCRE2 sees */
} cuts;

static bool add_word(cuts *c, size_t end) {
    tok_words *w = c->w;
    if (w->n == c->cap) {
        const size_t want = c->cap ? 2 * c->cap : 256;
        uint32_t *p = realloc(w->end, want * sizeof *p);
        if (!p)
            return false;
        w->end = p;
        c->cap = want;
    }
    w->end[w->n++] = (uint32_t)end;
    return true;
}

/* Digits at text[from, to), in threes from their end: 12|345|678. Cuts stand before each three (PRE_THREES_FROM), or behind the
 * first one or two and behind each three, so that what comes before the digits stays with the first (PRE_THREES_TO). *done:
 * where the last word ended, and ends then. */
static bool add_threes(cuts *c, size_t from, size_t to, unsigned flags, size_t *done) {
    size_t left = 0;
    for (size_t i = from; i < to; i++)
        left += (c->text[i] & 0xC0) != 0x80;
    for (size_t i = from; i <= to; i++) {
        if (i < to && (c->text[i] & 0xC0) == 0x80)
            continue;
        if (left % 3 == 0 && i > *done && (flags & PRE_THREES_FROM ? left > 0 : i > from)) {
            if (!add_word(c, i))
                return false;
            *done = i;
        }
        left--;
    }
    return true;
}

/* Cut text[from, to) by one expression and append the words. */
static kv_status cut(const pcre2_code *code, pcre2_match_data *md, pcre2_match_context *mc, size_t from, size_t to,
                     unsigned flags, cuts *c, kv_err *err) {
    const size_t len = to - from;
    size_t done = from; /* the last word ends here */
    bool ok = true;
    for (size_t at = 0; ok && at < len;) {
        const int rc = pcre2_match(code, c->text + from, len, at, PCRE2_NO_UTF_CHECK, md, mc);
        if (rc == PCRE2_ERROR_NOMATCH)
            break;
        const PCRE2_SIZE *found = pcre2_get_ovector_pointer(md);
        if (rc < 0 || found[1] <= at || found[0] < at) {
            PCRE2_UCHAR text_of[128] = "empty match";
            if (rc < 0)
                pcre2_get_error_message(rc, text_of, sizeof text_of);
            return kv_fail(err, KV_ENOMEM, "cannot split a text into words, at byte %zu: PCRE2: %s", from + at,
                           (char *)text_of);
        }
        at = found[1];
        if (flags & (PRE_THREES_FROM | PRE_THREES_TO)) {
            ok = add_threes(c, from + found[0], from + at, flags, &done);
            continue;
        }
        ok = (from + found[0] == done || add_word(c, from + found[0])) && add_word(c, from + at);
        done = from + at;
    }
    if (!ok || (done < to && !add_word(c, to)))
        return kv_fail(err, KV_ENOMEM, "out of memory for a text of %zu bytes", to);
    return KV_OK;
}

kv_status tok_pre_split(const tok_pre *p, const uint8_t *text, size_t len, tok_words *out, kv_err *err) {
    kv_status st = KV_OK;
    const uint8_t *shadow;
    size_t n;
    tok_words old = {0};
    cuts c = {.w = out};
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
    c.text = shadow;
    if (n && !add_word(&c, n))
        st = kv_fail(err, KV_ENOMEM, "out of memory for a text of %zu bytes", len);
    for (size_t step = 0; !st && step < p->n; step++) {
        const unsigned flags = step ? 0 : p->row->flags; /* digits in threes: the first expression finds them */
        free(old.end);
        old = *out;
        out->end = NULL;
        out->n = c.cap = 0;
        for (size_t i = 0; !st && i < old.n; i++)
            st = cut(p->code[step], md, mc, i ? old.end[i - 1] : 0, old.end[i], flags, &c, err);
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
