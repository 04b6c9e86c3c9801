/* Methods of texts, dicts and lists. What would change a value has a row without a function. */
#include "template/text.h"

#include <string.h>
#include <utf8proc.h>

#define METHOD(name) static tpl_value name(tpl_run *r, tpl_value self, const tpl_value *arg, const tpl_call *call)
#define UNUSED(x)    (void)(x)

/* ---- texts ---- */

METHOD(strip) {
    UNUSED(call);
    return tpl_strip(r, self.s, tpl_arg_str(r, arg[0]), true, true);
}

METHOD(lstrip) {
    UNUSED(call);
    return tpl_strip(r, self.s, tpl_arg_str(r, arg[0]), true, false);
}

METHOD(rstrip) {
    UNUSED(call);
    return tpl_strip(r, self.s, tpl_arg_str(r, arg[0]), false, true);
}

METHOD(upper) {
    UNUSED(call), UNUSED(arg);
    return tpl_cased(r, self.s, TPL_UPPER);
}

METHOD(lower) {
    UNUSED(call), UNUSED(arg);
    return tpl_cased(r, self.s, TPL_LOWER);
}

METHOD(capitalize) {
    UNUSED(call), UNUSED(arg);
    return tpl_capitalised(r, self.s);
}

/* A letter behind one that has a case is small, any other is large. */
METHOD(title) {
    tpl_buf b = {.r = r, .safe = self.s->safe};
    bool inside = false;
    UNUSED(call), UNUSED(arg);
    for (size_t i = 0, n; i < self.s->len && !r->st; i += n) {
        int32_t c;
        n = tpl_char(self.s->s + i, self.s->len - i, &c);
        tpl_put_case(&b, self.s, i, n, inside ? TPL_LOWER : TPL_TITLE);
        inside = utf8proc_islower(c) || utf8proc_isupper(c) || utf8proc_category(c) == UTF8PROC_CATEGORY_LT;
    }
    return tpl_take(&b);
}

static bool has_at(const tpl_str *s, const tpl_str *part, bool end) {
    return part && part->len <= s->len && !memcmp(s->s + (end ? s->len - part->len : 0), part->s, part->len);
}

static tpl_value has_any(tpl_run *r, const tpl_str *s, tpl_value part, bool end) {
    if (part.kind != TPL_LIST || part.l->form != TPL_A_TUPLE) {
        const tpl_str *p = tpl_arg_str(r, part);
        return p ? tpl_bool(has_at(s, p, end)) : tpl_fail(r, KV_EINVAL, "a text is wanted, not %s", tpl_type(part));
    }
    for (size_t i = 0; i < part.l->n && !r->st; i++)
        if (has_at(s, tpl_arg_str(r, part.l->v[i]), end))
            return tpl_bool(true);
    return tpl_bool(false);
}

METHOD(startswith) {
    UNUSED(call);
    return has_any(r, self.s, arg[0], false);
}

METHOD(endswith) {
    UNUSED(call);
    return has_any(r, self.s, arg[0], true);
}

/* A text argument that must be there. */
static const tpl_str *text_arg(tpl_run *r, tpl_value v) {
    static const tpl_str none = {.s = ""};
    const tpl_str *s = tpl_arg_str(r, v);
    if (!s)
        tpl_fail(r, KV_EINVAL, "a text is wanted, not %s", tpl_type(v));
    return s ? s : &none;
}

METHOD(removeprefix) {
    const tpl_str *p = text_arg(r, arg[0]);
    UNUSED(call);
    return has_at(self.s, p, false) ? tpl_part(r, self.s, p->len, self.s->len - p->len) : self;
}

METHOD(removesuffix) {
    const tpl_str *p = text_arg(r, arg[0]);
    UNUSED(call);
    return has_at(self.s, p, true) ? tpl_part(r, self.s, 0, self.s->len - p->len) : self;
}

METHOD(replace) {
    UNUSED(call);
    return tpl_replace(r, self.s, text_arg(r, arg[0]), text_arg(r, arg[1]), tpl_arg_int(r, arg[2], -1));
}

/* Where a part stands last before `end`; NULL: nowhere. */
static const char *last_of(const char *s, size_t len, const tpl_str *part) {
    for (size_t at = len + 1 > part->len ? len + 1 - part->len : 0; at-- > 0;)
        if (!memcmp(s + at, part->s, part->len))
            return s + at;
    return NULL;
}

static tpl_value find_part(tpl_run *r, const tpl_str *s, const tpl_value *arg, bool last) {
    const tpl_str *part = text_arg(r, arg[0]);
    if (arg[1].kind != TPL_ABSENT || arg[2].kind != TPL_ABSENT)
        return tpl_fail(r, KV_EUNSUPP, "bounds are not supported; slice the text");
    tpl_steps(r, s->len / 64);
    const char *p = last ? last_of(s->s, s->len, part) : memmem(s->s, s->len, part->s, part->len);
    return tpl_int(p ? (int64_t)tpl_count(s->s, (size_t)(p - s->s)) : -1);
}

METHOD(find) {
    UNUSED(call);
    return find_part(r, self.s, arg, false);
}

METHOD(rfind) {
    UNUSED(call);
    return find_part(r, self.s, arg, true);
}

METHOD(index_of) {
    const tpl_value at = find_part(r, self.s, arg, false);
    UNUSED(call);
    return at.i < 0 && !r->st ? tpl_fail(r, KV_EINVAL, "the text has no such part") : at;
}

METHOD(count) {
    const tpl_str *part = text_arg(r, arg[0]);
    size_t at = 0;
    int64_t n = 0;
    UNUSED(call);
    if (!part->len)
        return tpl_int((int64_t)tpl_count(self.s->s, self.s->len) + 1);
    tpl_steps(r, self.s->len / 64);
    for (const char *p; (p = memmem(self.s->s + at, self.s->len - at, part->s, part->len)); n++)
        at = (size_t)(p - self.s->s) + part->len;
    return tpl_int(n);
}

/* Lists that grow while a text is taken apart. */
typedef struct pieces {
    tpl_run *r;
    tpl_value *v;
    size_t n, cap;
} pieces;

static void add(pieces *p, const tpl_str *s, size_t from, size_t len) {
    if (p->n == p->cap) {
        const size_t cap = 2 * p->cap + 8;
        tpl_value *v = tpl_get(p->r, cap, sizeof *v);
        if (!v)
            return;
        if (p->n)
            memcpy(v, p->v, p->n * sizeof *v);
        p->v = v;
        p->cap = cap;
    }
    p->v[p->n++] = tpl_part(p->r, s, from, len);
}

static tpl_value list_of(const pieces *p, tpl_form form) {
    const tpl_value out = tpl_list_new(p->r, form, p->n);
    if (out.l->n)
        memcpy(out.l->v, p->v, p->n * sizeof *p->v);
    return out;
}

/* At white space of any length, none at the ends. */
static void split_words(pieces *p, const tpl_str *s, int64_t most) {
    size_t at = tpl_spaces(s->s, s->len);
    while (at < s->len && !p->r->st) {
        size_t end = at, n;
        for (int32_t c; most && end < s->len; end += n) {
            n = tpl_char(s->s + end, s->len - end, &c);
            if (tpl_is_space(c))
                break;
        }
        if (!most)
            end = s->len; /* what is left keeps its white space */
        add(p, s, at, end - at);
        if (!most)
            return;
        most -= most > 0;
        at = end + tpl_spaces(s->s + end, s->len - end);
    }
}

static void split_words_back(pieces *p, const tpl_str *s, int64_t most) {
    size_t end = s->len - tpl_spaces_end(s->s, s->len);
    while (end && !p->r->st) {
        size_t at = end;
        while (most && at && !tpl_spaces_end(s->s, at))
            at--;
        if (!most)
            at = 0;
        add(p, s, at, end - at);
        if (!most)
            return;
        most -= most > 0;
        end = at - tpl_spaces_end(s->s, at);
    }
}

static void split_at(pieces *p, const tpl_str *s, const tpl_str *by, int64_t most) {
    size_t at = 0;
    for (const char *q; most && !p->r->st && (q = memmem(s->s + at, s->len - at, by->s, by->len)); most -= most > 0) {
        add(p, s, at, (size_t)(q - s->s) - at);
        at = (size_t)(q - s->s) + by->len;
    }
    add(p, s, at, s->len - at);
}

static void split_at_back(pieces *p, const tpl_str *s, const tpl_str *by, int64_t most) {
    size_t end = s->len;
    for (const char *q; most && !p->r->st && (q = last_of(s->s, end, by)); most -= most > 0) {
        const size_t at = (size_t)(q - s->s) + by->len;
        add(p, s, at, end - at);
        end = (size_t)(q - s->s);
    }
    add(p, s, 0, end);
}

static tpl_value split(tpl_run *r, const tpl_str *s, const tpl_value *arg, bool back) {
    const tpl_str *by = tpl_arg_str(r, arg[0]);
    const int64_t most = tpl_arg_int(r, arg[1], -1);
    pieces p = {.r = r};
    if (by && !by->len)
        return tpl_fail(r, KV_EINVAL, "an empty separator");
    tpl_steps(r, s->len / 64);
    if (by)
        (back && most >= 0 ? split_at_back : split_at)(&p, s, by, most);
    else
        (back ? split_words_back : split_words)(&p, s, most);
    const bool reversed = back && (!by || most >= 0);
    for (size_t i = 0; reversed && i < p.n / 2; i++) {
        const tpl_value v = p.v[i];
        p.v[i] = p.v[p.n - 1 - i];
        p.v[p.n - 1 - i] = v;
    }
    return list_of(&p, TPL_A_LIST);
}

METHOD(split_) {
    UNUSED(call);
    return split(r, self.s, arg, false);
}

METHOD(rsplit) {
    UNUSED(call);
    return split(r, self.s, arg, true);
}

METHOD(splitlines) {
    UNUSED(call), UNUSED(arg);
    return tpl_split_lines(r, self.s);
}

static tpl_value partition(tpl_run *r, const tpl_str *s, const tpl_str *by, bool last) {
    pieces p = {.r = r};
    if (!by->len)
        return tpl_fail(r, KV_EINVAL, "an empty separator");
    const char *q = last ? last_of(s->s, s->len, by) : memmem(s->s, s->len, by->s, by->len);
    const size_t at = q ? (size_t)(q - s->s) : last ? 0 : s->len, end = q ? at + by->len : at;
    add(&p, s, 0, at);
    add(&p, s, at, end - at);
    add(&p, s, end, s->len - end);
    return list_of(&p, TPL_A_TUPLE);
}

METHOD(partition_) {
    UNUSED(call);
    return partition(r, self.s, text_arg(r, arg[0]), false);
}

METHOD(rpartition) {
    UNUSED(call);
    return partition(r, self.s, text_arg(r, arg[0]), true);
}

METHOD(join) {
    const tpl_list *l = tpl_elements(r, arg[0]);
    tpl_buf b = {.r = r, .safe = self.s->safe};
    UNUSED(call);
    for (size_t i = 0; i < l->n && !r->st; i++) {
        if (i)
            tpl_put_str(&b, self.s);
        tpl_put_str(&b, text_arg(r, l->v[i]));
    }
    return tpl_take(&b);
}

METHOD(format) {
    UNUSED(arg);
    return tpl_format_braces(r, self.s, call);
}

static tpl_value pad(tpl_run *r, const tpl_str *s, const tpl_value *arg, int side) {
    const tpl_str *fill = tpl_arg_str(r, arg[1]);
    if (fill && (fill->len != 1 || (unsigned char)*fill->s >= 0x80))
        return tpl_fail(r, KV_EUNSUPP, "the text is filled up with a single character of ASCII only");
    return tpl_padded(r, s, tpl_arg_int(r, arg[0], 0), fill ? *fill->s : ' ', side);
}

METHOD(ljust) {
    UNUSED(call);
    return pad(r, self.s, arg, -1);
}

METHOD(center) {
    UNUSED(call);
    return pad(r, self.s, arg, 0);
}

METHOD(rjust) {
    UNUSED(call);
    return pad(r, self.s, arg, 1);
}

METHOD(zfill) {
    tpl_buf b = {.r = r, .safe = self.s->safe};
    const int64_t missing = tpl_arg_int(r, arg[0], 0) - (int64_t)tpl_count(self.s->s, self.s->len);
    const size_t sign = self.s->len && (*self.s->s == '-' || *self.s->s == '+');
    UNUSED(call);
    tpl_put_part(&b, self.s, 0, sign);
    for (int64_t i = 0; tpl_fits(r, missing, 1) && i < missing; i++)
        tpl_puts(&b, "0");
    tpl_put_part(&b, self.s, sign, self.s->len - sign);
    return tpl_take(&b);
}

/* ---- what texts are made of ---- */

static bool is_letter(int32_t c) {
    const utf8proc_category_t k = utf8proc_category(c);
    return k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO;
}

static bool is_digit(int32_t c) {
    return utf8proc_category(c) == UTF8PROC_CATEGORY_ND;
}

static bool is_either(int32_t c) {
    const utf8proc_category_t k = utf8proc_category(c);
    return is_letter(c) || (k >= UTF8PROC_CATEGORY_ND && k <= UTF8PROC_CATEGORY_NO);
}

static tpl_value all_are(const tpl_str *s, bool (*is)(int32_t c)) {
    bool yes = s->len;
    size_t n;
    for (size_t i = 0; i < s->len && yes; i += n) {
        int32_t c;
        n = tpl_char(s->s + i, s->len - i, &c);
        yes = is(c);
    }
    return tpl_bool(yes);
}

METHOD(isalpha_) {
    UNUSED(r), UNUSED(call), UNUSED(arg);
    return all_are(self.s, is_letter);
}

METHOD(isdigit_) {
    UNUSED(r), UNUSED(call), UNUSED(arg);
    return all_are(self.s, is_digit);
}

METHOD(isalnum_) {
    UNUSED(r), UNUSED(call), UNUSED(arg);
    return all_are(self.s, is_either);
}

METHOD(isspace_) {
    UNUSED(r), UNUSED(call), UNUSED(arg);
    return all_are(self.s, tpl_is_space);
}

METHOD(isupper_) {
    UNUSED(r), UNUSED(call), UNUSED(arg);
    return tpl_bool(tpl_is_case(self.s, TPL_UPPER));
}

METHOD(islower_) {
    UNUSED(r), UNUSED(call), UNUSED(arg);
    return tpl_bool(tpl_is_case(self.s, TPL_LOWER));
}

const tpl_row tpl_str_rows[] = {
    {"strip", strip, "chars", 0},
    {"lstrip", lstrip, "chars", 0},
    {"rstrip", rstrip, "chars", 0},
    {"upper", upper, "", 0},
    {"lower", lower, "", 0},
    {"title", title, "", 0},
    {"capitalize", capitalize, "", 0},
    {"startswith", startswith, "prefix", 1},
    {"endswith", endswith, "suffix", 1},
    {"removeprefix", removeprefix, "prefix", 1},
    {"removesuffix", removesuffix, "suffix", 1},
    {"replace", replace, "old new count", 2},
    {"find", find, "sub start end", 1},
    {"rfind", rfind, "sub start end", 1},
    {"index", index_of, "sub start end", 1},
    {"count", count, "sub", 1},
    {"split", split_, "sep maxsplit", 0},
    {"rsplit", rsplit, "sep maxsplit", 0},
    {"splitlines", splitlines, "", 0},
    {"partition", partition_, "sep", 1},
    {"rpartition", rpartition, "sep", 1},
    {"join", join, "iterable", 1},
    {"format", format, NULL, 0},
    {"ljust", ljust, "width fillchar", 1},
    {"center", center, "width fillchar", 1},
    {"rjust", rjust, "width fillchar", 1},
    {"zfill", zfill, "width", 1},
    {"isalpha", isalpha_, "", 0},
    {"isdigit", isdigit_, "", 0},
    {"isdecimal", isdigit_, "", 0},
    {"isnumeric", isdigit_, "", 0},
    {"isalnum", isalnum_, "", 0},
    {"isspace", isspace_, "", 0},
    {"isupper", isupper_, "", 0},
    {"islower", islower_, "", 0},
    {0},
};

/* ---- dicts ---- */

METHOD(get) {
    const tpl_value *v = tpl_dict_find(r, self.d, arg[0]);
    UNUSED(call);
    return v ? *v : arg[1].kind == TPL_ABSENT ? TPL_NULL : arg[1];
}

static tpl_value view(tpl_run *r, const tpl_dict *d, bool keys, bool values) {
    const tpl_value out = tpl_list_new(r, TPL_A_VIEW, d->n);
    for (size_t i = 0; i < out.l->n && !r->st; i++)
        out.l->v[i] = keys && values ? tpl_pair_new(r, d->p[i].key, d->p[i].value) : keys ? d->p[i].key : d->p[i].value;
    return out;
}

METHOD(keys) {
    UNUSED(call), UNUSED(arg);
    return view(r, self.d, true, false);
}

METHOD(values) {
    UNUSED(call), UNUSED(arg);
    return view(r, self.d, false, true);
}

METHOD(items) {
    UNUSED(call), UNUSED(arg);
    return view(r, self.d, true, true);
}

METHOD(copy) {
    UNUSED(r), UNUSED(call), UNUSED(arg);
    return self; /* nobody can tell: values never change */
}

const tpl_row tpl_dict_rows[] = {
    {"get", get, "key default", 1},
    {"keys", keys, "", 0},
    {"values", values, "", 0},
    {"items", items, "", 0},
    {"copy", copy, "", 0},
    {.name = "clear"},
    {.name = "pop"},
    {.name = "popitem"},
    {.name = "setdefault"},
    {.name = "update"},
    {0},
};

/* ---- lists ---- */

METHOD(place_of) {
    UNUSED(call);
    for (size_t i = 0; i < self.l->n && !r->st; i++)
        if (tpl_equal(r, self.l->v[i], arg[0]))
            return tpl_int((int64_t)i);
    return tpl_fail(r, KV_EINVAL, "the value is not in the list");
}

METHOD(how_many) {
    int64_t n = 0;
    UNUSED(call);
    for (size_t i = 0; i < self.l->n && !r->st; i++)
        n += tpl_equal(r, self.l->v[i], arg[0]);
    return tpl_int(n);
}

const tpl_row tpl_list_rows[] = {
    {"index", place_of, "value", 1},
    {"count", how_many, "value", 1},
    {"copy", copy, "", 0},
    {.name = "append"},
    {.name = "clear"},
    {.name = "extend"},
    {.name = "insert"},
    {.name = "pop"},
    {.name = "remove"},
    {.name = "reverse"},
    {.name = "sort"},
    {0},
};
