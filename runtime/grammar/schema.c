#include "grammar/schema.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH = 48, MOST_REFS = 1024, MOST_TEXT = 16 << 20, PATH = 512, MOST_COUNT = 2000 };

/* Text that grows. */
typedef struct text {
    FILE *f;
    char *s;
    size_t len;
} text;

typedef struct writer {
    const json_t *root;
    const char *where;
    kv_err *err;
    kv_status st;
    text rules; /* those that are whole */
    unsigned n_rules, depth;
    const json_t *refs[MOST_REFS]; /* schemas that have a rule, called ref<i> */
    unsigned n_refs, written;
    char path[PATH]; /* where in the schema */
    size_t path_len;
} writer;

static const char basics[] =
    "ws ::= \" \"? | \"\\n\" [ \\t]{0,20}\n"
    "char ::= [^\"\\\\\\x00-\\x1F\\x7F] | \"\\\\\" ([\"\\\\/bfnrt] | \"u\" ([0-9a-cA-Ce-fE-F] [0-9a-fA-F]{3} | [dD] [0-7] "
    "[0-9a-fA-F]{2}))\n"
    "string ::= \"\\\"\" char* \"\\\"\"\n"
    "digits ::= \"0\" | [1-9] [0-9]{0,15}\n"
    "integer ::= \"-\"? digits\n"
    "number ::= integer (\".\" [0-9]{1,16})? ([eE] [-+]? [0-9]{1,2})?\n"
    "boolean ::= \"true\" | \"false\"\n"
    "value ::= object | array | string | number | boolean | \"null\"\n"
    "object ::= \"{\" ws (string ws \":\" ws value ws (\",\" ws string ws \":\" ws value ws)*)? \"}\"\n"
    "array ::= \"[\" ws (value ws (\",\" ws value ws)*)? \"]\"\n";

/* ---- errors and places ---- */

__attribute__((format(printf, 3, 4))) static void fail(writer *w, kv_status st, const char *format, ...) {
    char what[512];
    va_list args;
    if (w->st)
        return;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    w->st = kv_fail(w->err, st, "%s: %s: %s", w->where, *w->path ? w->path : "/", what);
}

/* Further down; returns how to come back. */
static size_t enter(writer *w, const char *key) {
    const size_t before = w->path_len;
    const int n = snprintf(w->path + before, PATH - before, "/%s", key);
    w->path_len = n > 0 && before + (size_t)n < PATH ? before + (size_t)n : PATH - 1;
    if (++w->depth > DEPTH)
        fail(w, KV_ERANGE, "nested too deep");
    return before;
}

static void leave(writer *w, size_t before) {
    w->depth--;
    w->path_len = before;
    w->path[before] = '\0';
}

static bool open_text(writer *w, text *t) {
    *t = (text){.f = NULL};
    if (!(t->f = open_memstream(&t->s, &t->len)))
        fail(w, KV_ENOMEM, "out of memory");
    return t->f != NULL;
}

static void close_text(text *t) {
    if (t->f)
        fclose(t->f);
    t->f = NULL;
}

static void free_text(text *t) {
    close_text(t);
    free(t->s);
}

/* Bytes as a string of GBNF. */
static void literal(FILE *to, const char *s, size_t len) {
    fputc('"', to);
    for (size_t i = 0; i < len; i++) {
        const unsigned char c = (unsigned char)s[i];
        if (c == '"' || c == '\\')
            fprintf(to, "\\%c", c);
        else if (c < ' ' || c == 0x7F)
            fprintf(to, "\\x%02X", c);
        else
            fputc(c, to);
    }
    fputc('"', to);
}

static void json_literal(writer *w, FILE *to, const json_t *value) {
    char *s = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    if (s)
        literal(to, s, strlen(s));
    else
        fail(w, KV_ENOMEM, "out of memory");
    free(s);
}

/* ---- keywords ---- */

static bool among(const char *key, const char *const *list) {
    for (; *list; list++)
        if (!strcmp(key, *list))
            return true;
    return false;
}

static const char *const notes[] = {"title",    "description", "default", "examples",    "$schema",
                                    "$id",      "$comment",    "$defs",   "definitions", "deprecated",
                                    "readOnly", "writeOnly",   "$anchor", "nullable",    NULL};

/* Every keyword is one of those, or an annotation. */
static void check_keys(writer *w, const json_t *schema, const char *const *known) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)schema, key, value) {
        if (!among(key, known) && !among(key, notes))
            fail(w, KV_EUNSUPP, "the keyword '%s' is not understood here", key);
        if (!strcmp(key, "nullable") && json_is_true(value))
            fail(w, KV_EUNSUPP, "'nullable' is no keyword of JSON schema: say \"type\": [..., \"null\"]");
    }
}

/* A count of something: low where it is absent. */
static uint32_t count_of(writer *w, const json_t *schema, const char *key, uint32_t absent) {
    const json_t *value = json_object_get(schema, key);
    if (!value)
        return absent;
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        fail(w, KV_EFORMAT, "'%s' is not a number of things", key);
    else if (json_integer_value(value) > MOST_COUNT)
        fail(w, KV_EUNSUPP, "'%s' is more than %d", key, MOST_COUNT);
    return (uint32_t)json_integer_value(value);
}

static void write_schema(writer *w, FILE *to, const json_t *schema);

/* A schema under a key of another, in brackets. */
static void write_part(writer *w, FILE *to, const char *key, const json_t *schema) {
    const size_t before = enter(w, key);
    fputs("(", to);
    if (!w->st)
        write_schema(w, to, schema);
    fputs(")", to);
    leave(w, before);
}

/* The text becomes a rule; returns its number. */
static unsigned new_rule(writer *w, text *t) {
    close_text(t);
    fprintf(w->rules.f, "r%u ::= %s\n", w->n_rules, t->s ? t->s : "\"\"");
    free_text(t);
    return w->n_rules++;
}

/* ---- integers in a range ---- */

/* Numbers of the same many digits between two, as text. */
static void same_digits(FILE *to, const char *lo, const char *hi) {
    const size_t n = strlen(lo);
    if (!n)
        return;
    if (*lo == *hi) {
        fprintf(to, "\"%c\" ", *lo);
        same_digits(to, lo + 1, hi + 1);
        return;
    }
    char nines[32], zeros[32];
    memset(nines, '9', sizeof nines);
    memset(zeros, '0', sizeof zeros);
    nines[n - 1] = zeros[n - 1] = '\0';
    const bool low_whole = !strcmp(lo + 1, zeros), high_whole = !strcmp(hi + 1, nines);
    const char first = (char)(*lo + !low_whole), last = (char)(*hi - !high_whole);
    const char *between = "(";
    if (!low_whole) {
        fprintf(to, "%s\"%c\" ", between, *lo);
        same_digits(to, lo + 1, nines);
        between = "| ";
    }
    if (first <= last) {
        fprintf(to, "%s[%c-%c] ", between, first, last);
        if (n > 1)
            fprintf(to, "[0-9]{%zu} ", n - 1);
        between = "| ";
    }
    if (!high_whole) {
        fprintf(to, "%s\"%c\" ", between, *hi);
        same_digits(to, zeros, hi + 1);
    }
    fputs(") ", to);
}

/* lo .. hi, neither negative. */
static void naturals(FILE *to, uint64_t lo, uint64_t hi) {
    uint64_t power = 10;
    const char *between = "(";
    while (lo <= hi) {
        char l[32], h[32];
        while (power <= lo && power < 10000000000000000000u)
            power *= 10;
        const uint64_t end = power - 1 < hi && power < 10000000000000000000u ? power - 1 : hi;
        snprintf(l, sizeof l, "%" PRIu64, lo);
        snprintf(h, sizeof h, "%" PRIu64, end);
        fputs(between, to);
        same_digits(to, l, h);
        between = "| ";
        if (end == hi)
            break;
        lo = end + 1;
    }
    fputs(") ", to);
}

/* A bound of integers; false: there is none. */
static bool bound(writer *w, const json_t *schema, const char *key, const char *exclusive, int64_t step, int64_t *out) {
    const json_t *value = json_object_get(schema, key), *open = json_object_get(schema, exclusive);
    if (value && open)
        fail(w, KV_EUNSUPP, "'%s' and '%s' together", key, exclusive);
    const json_t *said = value ? value : open;
    if (!said)
        return false;
    if (!json_is_integer(said) || json_integer_value(said) > (INT64_C(1) << 53) ||
        json_integer_value(said) < -(INT64_C(1) << 53))
        fail(w, KV_EUNSUPP, "'%s' of an integer must be one, of at most 53 bits", value ? key : exclusive);
    *out = json_integer_value(said) + (value ? 0 : step);
    return true;
}

static void write_integer(writer *w, FILE *to, const json_t *schema) {
    static const char *const known[] = {"type", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", NULL};
    const int64_t most = INT64_C(9999999999999999);
    int64_t lo = -most, hi = most;
    check_keys(w, schema, known);
    const bool low = bound(w, schema, "minimum", "exclusiveMinimum", 1, &lo),
               high = bound(w, schema, "maximum", "exclusiveMaximum", -1, &hi);
    if (w->st)
        return;
    if (!low && !high) {
        fputs("integer ", to);
        return;
    }
    if (lo > hi) {
        fail(w, KV_EFORMAT, "no integer is in the range");
        return;
    }
    fputs("(", to);
    if (lo < 0) {
        fputs("\"-\" ", to);
        naturals(to, hi < 0 ? (uint64_t)-hi : 1, (uint64_t)-lo);
        fputs(hi >= 0 ? "| " : "", to);
    }
    if (hi >= 0)
        naturals(to, lo > 0 ? (uint64_t)lo : 0, (uint64_t)hi);
    fputs(") ", to);
}

static void write_number(writer *w, FILE *to, const json_t *schema) {
    static const char *const known[] = {"type", NULL};
    check_keys(w, schema, known); /* bounds of real numbers are not understood */
    fputs("number ", to);
}

/* ---- strings ---- */

static void write_string(writer *w, FILE *to, const json_t *schema) {
    static const char *const known[] = {"type", "minLength", "maxLength", "format", NULL};
    static const char *const formats[][2] = {
        {"date", "[0-9]{4} \"-\" (\"0\" [1-9] | \"1\" [0-2]) \"-\" (\"0\" [1-9] | \"1\" [0-9] | \"2\" [0-8])"},
        {"time", "([01] [0-9] | \"2\" [0-3]) \":\" [0-5] [0-9] \":\" [0-5] [0-9] (\".\" [0-9]{1,6})? (\"Z\" | [-+] ([01] [0-9] "
                 "| \"2\" [0-3]) \":\" [0-5] [0-9])"},
        {"uuid", "[0-9a-fA-F]{8} \"-\" [0-9a-fA-F]{4} \"-\" [0-9a-fA-F]{4} \"-\" [0-9a-fA-F]{4} \"-\" [0-9a-fA-F]{12}"}};
    const uint32_t least = count_of(w, schema, "minLength", 0), most = count_of(w, schema, "maxLength", UINT32_MAX);
    const char *format = json_string_value(json_object_get(schema, "format"));
    check_keys(w, schema, known);
    if (most < least)
        fail(w, KV_EFORMAT, "maxLength is less than minLength");
    for (size_t i = 0; format && i < 3; i++)
        if (!strcmp(format, formats[i][0])) {
            fprintf(to, "\"\\\"\" %s \"\\\"\" ", formats[i][1]);
            return;
        }
    if (format && !strcmp(format, "date-time")) {
        fprintf(to, "\"\\\"\" %s \"T\" %s \"\\\"\" ", formats[0][1], formats[1][1]);
        return;
    }
    if (format)
        fail(w, KV_EUNSUPP, "the format '%.60s' is not understood; date, time, date-time and uuid are", format);
    if (!least && most == UINT32_MAX)
        fputs("string ", to);
    else if (most == UINT32_MAX)
        fprintf(to, "\"\\\"\" char{%u,} \"\\\"\" ", least);
    else
        fprintf(to, "\"\\\"\" char{%u,%u} \"\\\"\" ", least, most);
}

/* ---- arrays ---- */

static void write_array(writer *w, FILE *to, const json_t *schema) {
    static const char *const known[] = {"type", "items", "prefixItems", "minItems", "maxItems", NULL};
    const json_t *items = json_object_get(schema, "items"), *prefix = json_object_get(schema, "prefixItems");
    uint32_t least = count_of(w, schema, "minItems", 0), most = count_of(w, schema, "maxItems", UINT32_MAX);
    const size_t n = json_array_size(prefix);
    text item;
    check_keys(w, schema, known);
    if (prefix && !json_is_array(prefix))
        fail(w, KV_EFORMAT, "'prefixItems' is not a list");
    if (json_is_false(items))
        most = most < n ? most : (uint32_t)n;
    if (most < least)
        fail(w, KV_EFORMAT, "maxItems is less than minItems");
    if (w->st || !open_text(w, &item))
        return;
    if (items && !json_is_false(items))
        write_part(w, item.f, "items", items);
    else
        fputs("value", item.f);
    const unsigned rule = new_rule(w, &item);
    fputs("\"[\" ws ", to);
    unsigned open = 0;
    uint32_t i = 0;
    for (; i < n && i < most && !w->st; i++) { /* those that need not be there are in brackets, each inside the one before */
        char key[32];
        snprintf(key, sizeof key, "prefixItems/%u", i);
        if (i >= least) {
            fputs("(", to);
            open++;
        }
        fputs(i ? "\",\" ws " : "", to);
        write_part(w, to, key, json_array_get(prefix, i));
        fputs(" ws ", to);
    }
    if (most > i) {
        char more[32] = "";
        if (most != UINT32_MAX)
            snprintf(more, sizeof more, "%u", most - i - !i);
        const uint32_t must = least > i ? least - i : 0;
        if (i)
            fprintf(to, "(\",\" ws r%u ws){%u,%s} ", rule, must, more);
        else
            fprintf(to, "(r%u ws (\",\" ws r%u ws){%u,%s})%s ", rule, rule, must ? must - 1 : 0, more, must ? "" : "?");
    }
    while (open--)
        fputs(")? ", to);
    fputs("\"]\" ", to);
}

/* ---- objects ---- */

/* Characters of keys that are none of `keys`, n of them, which have the first `at` bytes in common: the rest of the key and its
 * quotation mark. */
static void other_key(FILE *to, const char *const *keys, size_t n, size_t at) {
    char seen[256] = {0};
    bool ends = false;
    fputs("(", to);
    for (size_t i = 0; i < n; i++) {
        const unsigned char c = (unsigned char)keys[i][at];
        ends |= !c;
        if (!c || seen[c])
            continue;
        seen[c] = 1;
        const char *under[256];
        size_t m = 0;
        for (size_t k = i; k < n && m < 256; k++)
            if ((unsigned char)keys[k][at] == c)
                under[m++] = keys[k];
        fprintf(to, "\"%c\" ", c);
        other_key(to, under, m, at + 1);
        fputs(" | ", to);
    }
    fputs("[^\"\\\\\\x00-\\x1F\\x7F", to);
    for (int c = 0; c < 256; c++)
        if (seen[c])
            fprintf(to, strchr("]^-[", c) ? "\\%c" : "%c", c);
    fprintf(to, "] [^\"\\\\\\x00-\\x1F\\x7F]* \"\\\"\"%s)", ends ? "" : " | \"\\\"\"");
}

/* Keys that are plain enough to be told from others. */
static bool is_plain(const char *key) {
    for (; *key; key++)
        if (!((*key >= 'a' && *key <= 'z') || (*key >= 'A' && *key <= 'Z') || (*key >= '0' && *key <= '9') || *key == '_' ||
              *key == '-' || *key == ' ' || *key == '.'))
            return false;
    return true;
}

typedef struct object {
    const json_t *properties, *required;
    const char *keys[256];
    unsigned members[256]; /* rules: key and value */
    bool must[256];
    size_t n;
    unsigned more; /* the rule of another key and value, where such may be; UINT_MAX: none */
} object;

static bool is_required(const json_t *required, const char *key) {
    for (size_t i = 0; i < json_array_size(required); i++)
        if (json_is_string(json_array_get(required, i)) && !strcmp(json_string_value(json_array_get(required, i)), key))
            return true;
    return false;
}

static void write_member(writer *w, object *o, const char *key, const json_t *schema) {
    text t;
    if (o->n == 256) {
        fail(w, KV_ERANGE, "more than 256 properties");
        return;
    }
    if (!open_text(w, &t))
        return;
    json_t *name = json_string(key);
    const size_t before = enter(w, "properties");
    json_literal(w, t.f, name);
    fputs(" ws \":\" ws ", t.f);
    write_part(w, t.f, key, schema);
    fputs(" ws", t.f);
    leave(w, before);
    json_decref(name);
    o->keys[o->n] = key;
    o->must[o->n] = is_required(o->required, key);
    o->members[o->n++] = new_rule(w, &t);
}

static void write_more(writer *w, object *o, const json_t *additional) {
    text t;
    o->more = UINT32_MAX;
    if (json_is_false(additional) || (!additional && o->properties) || w->st || !open_text(w, &t))
        return;
    if (o->n) {
        fputs("\"\\\"\" ", t.f);
        other_key(t.f, o->keys, o->n, 0);
    } else {
        fputs("string", t.f);
    }
    for (size_t i = 0; i < o->n; i++)
        if (!is_plain(o->keys[i]))
            fail(w, KV_EUNSUPP, "additionalProperties beside the property '%.60s': such names are not told apart", o->keys[i]);
    fputs(" ws \":\" ws ", t.f);
    if (json_is_object(additional))
        write_part(w, t.f, "additionalProperties", additional);
    else
        fputs("value", t.f);
    fputs(" ws", t.f);
    o->more = new_rule(w, &t);
}

/* From the last member to the first: what may follow others (rest), and what may come first. */
static void write_object(writer *w, FILE *to, const json_t *schema) {
    static const char *const known[] = {"type", "properties", "required", "additionalProperties", NULL};
    object o = {.properties = json_object_get(schema, "properties"), .required = json_object_get(schema, "required")};
    const char *key;
    json_t *value;
    check_keys(w, schema, known);
    if ((o.properties && !json_is_object(o.properties)) || (o.required && !json_is_array(o.required)))
        fail(w, KV_EFORMAT, "'properties' is not an object, or 'required' not a list");
    json_object_foreach((json_t *)o.properties, key, value) {
        if (w->st)
            return;
        write_member(w, &o, key, value);
    }
    for (size_t i = 0; i < json_array_size(o.required); i++) {
        const char *name = json_string_value(json_array_get(o.required, i));
        if (!name || !json_object_get(o.properties, name))
            fail(w, KV_EUNSUPP, "'%.60s' is required, and no property", name ? name : "?");
    }
    write_more(w, &o, json_object_get(schema, "additionalProperties"));
    if (w->st)
        return;
    char rest[64] = "", first[64] = "";
    if (o.more != UINT32_MAX) {
        text t;
        if (!open_text(w, &t))
            return;
        fprintf(t.f, "(\",\" ws r%u)*", o.more);
        snprintf(rest, sizeof rest, "r%u", new_rule(w, &t));
        if (!open_text(w, &t))
            return;
        fprintf(t.f, "(r%u %s)?", o.more, rest);
        snprintf(first, sizeof first, "r%u", new_rule(w, &t));
    }
    for (size_t i = o.n; i-- > 0 && !w->st;) {
        text t;
        if (!open_text(w, &t))
            return;
        fprintf(t.f, o.must[i] ? "r%u %s" : "r%u %s | %s", o.members[i], rest, *first ? first : "\"\"");
        snprintf(first, sizeof first, "r%u", new_rule(w, &t));
        if (!open_text(w, &t))
            return;
        fprintf(t.f, o.must[i] ? "\",\" ws r%u %s" : "(\",\" ws r%u)? %s", o.members[i], rest);
        snprintf(rest, sizeof rest, "r%u", new_rule(w, &t));
    }
    fprintf(to, "\"{\" ws %s \"}\" ", first);
}

/* ---- schemas ---- */

static const struct type {
    const char *name;
    void (*write)(writer *w, FILE *to, const json_t *schema);
} types[] = {{"object", write_object},
             {"array", write_array},
             {"string", write_string},
             {"integer", write_integer},
             {"number", write_number}};
enum { TYPES = sizeof types / sizeof *types };

static void write_type(writer *w, FILE *to, const json_t *schema, const char *name) {
    static const char *const bare[] = {"type", NULL};
    for (int i = 0; i < TYPES; i++)
        if (!strcmp(name, types[i].name)) {
            types[i].write(w, to, schema);
            return;
        }
    if (!strcmp(name, "boolean") || !strcmp(name, "null")) {
        check_keys(w, schema, bare);
        fputs(*name == 'b' ? "boolean " : "\"null\" ", to);
        return;
    }
    fail(w, KV_EFORMAT, "there is no type '%.60s'", name);
}

/* Of several types, each takes the keywords that are about it. */
static void write_types(writer *w, FILE *to, const json_t *schema, const json_t *list) {
    if (json_object_size(schema) - (json_object_get(schema, "description") != NULL) -
            (json_object_get(schema, "title") != NULL) >
        1)
        fail(w, KV_EUNSUPP, "several types with other keywords: say anyOf");
    for (size_t i = 0; i < json_array_size(list) && !w->st; i++) {
        const char *name = json_string_value(json_array_get(list, i));
        fputs(i ? "| " : "", to);
        write_type(w, to, schema, name ? name : "");
    }
    if (!json_array_size(list))
        fail(w, KV_EFORMAT, "a list of no types");
}

static const char *first_type(const json_t *schema) {
    const json_t *type = json_object_get(schema, "type");
    return json_is_string(type) ? json_string_value(type) : json_object_get(schema, "properties") ? "object" : NULL;
}

/* Whether two objects have a property, required in both, that must have different values. */
static bool told_apart(const json_t *a, const json_t *b) {
    const char *key;
    json_t *value;
    json_object_foreach(json_object_get(a, "properties"), key, value) {
        const json_t *x = json_object_get(value, "const"),
                     *y = json_object_get(json_object_get(json_object_get(b, "properties"), key), "const");
        if (x && y && !json_equal(x, y) && is_required(json_object_get(a, "required"), key) &&
            is_required(json_object_get(b, "required"), key))
            return true;
    }
    return false;
}

static void check_exclusive(writer *w, const json_t *list) {
    for (size_t i = 0; i < json_array_size(list); i++)
        for (size_t k = i + 1; k < json_array_size(list); k++) {
            const json_t *a = json_array_get(list, i), *b = json_array_get(list, k);
            const char *x = first_type(a), *y = first_type(b);
            const bool numbers =
                x && y && (!strcmp(x, "number") || !strcmp(x, "integer")) && (!strcmp(y, "number") || !strcmp(y, "integer"));
            if (!x || !y || ((!strcmp(x, y) || numbers) && !told_apart(a, b)))
                fail(w, KV_EUNSUPP, "alternatives %zu and %zu of oneOf may both hold: say anyOf", i, k);
        }
}

static void write_any(writer *w, FILE *to, const json_t *schema, const char *key) {
    const char *const known[] = {key, NULL};
    const json_t *list = json_object_get(schema, key);
    check_keys(w, schema, known);
    if (!json_array_size(list))
        fail(w, KV_EFORMAT, "'%s' is not a list of schemas", key);
    if (!strcmp(key, "oneOf"))
        check_exclusive(w, list);
    if (!strcmp(key, "allOf") && json_array_size(list) > 1)
        fail(w, KV_EUNSUPP, "allOf of more than one schema");
    for (size_t i = 0; i < json_array_size(list) && !w->st; i++) {
        char part[32];
        snprintf(part, sizeof part, "%s/%zu", key, i);
        fputs(i ? " | " : "", to);
        write_part(w, to, part, json_array_get(list, i));
    }
}

static void write_enum(writer *w, FILE *to, const json_t *schema) {
    static const char *const known[] = {"enum", "type", NULL};
    const json_t *list = json_object_get(schema, "enum");
    check_keys(w, schema, known);
    if (!json_array_size(list))
        fail(w, KV_EFORMAT, "'enum' is not a list of values");
    for (size_t i = 0; i < json_array_size(list) && !w->st; i++) {
        fputs(i ? "| " : "", to);
        json_literal(w, to, json_array_get(list, i));
        fputc(' ', to);
    }
}

/* What a pointer leads to, "#/$defs/x" say. */
static const json_t *resolve(writer *w, const char *ref) {
    const json_t *at = w->root;
    if (*ref != '#' || (ref[1] && ref[1] != '/')) {
        fail(w, KV_EUNSUPP, "$ref '%.100s' does not lead into this schema", ref);
        return NULL;
    }
    for (const char *p = ref + 1; *p == '/' && at;) {
        char key[256];
        size_t n = 0;
        for (p++; *p && *p != '/' && n + 1 < sizeof key; p++) {
            if (*p == '~' && (p[1] == '0' || p[1] == '1')) {
                key[n++] = p[1] == '0' ? '~' : '/';
                p++;
            } else {
                key[n++] = *p;
            }
        }
        key[n] = '\0';
        at = json_is_array(at) ? json_array_get(at, strtoul(key, NULL, 10)) : json_object_get(at, key);
    }
    if (!at)
        fail(w, KV_EFORMAT, "$ref '%.100s' leads nowhere", ref);
    return at;
}

static void write_ref(writer *w, FILE *to, const json_t *schema) {
    static const char *const known[] = {"$ref", NULL};
    const char *ref = json_string_value(json_object_get(schema, "$ref"));
    check_keys(w, schema, known);
    const json_t *there = ref ? resolve(w, ref) : NULL;
    if (!there) {
        fail(w, KV_EFORMAT, "$ref is not a text");
        return;
    }
    unsigned i = 0;
    while (i < w->n_refs && w->refs[i] != there)
        i++;
    if (i == MOST_REFS) {
        fail(w, KV_ERANGE, "more than %d schemas that $ref leads to", MOST_REFS);
        return;
    }
    if (i == w->n_refs)
        w->refs[w->n_refs++] = there; /* its rule is written at the end */
    fprintf(to, "ref%u ", i);
}

static void write_schema(writer *w, FILE *to, const json_t *schema) {
    static const char *const combined[] = {"anyOf", "oneOf", "allOf"};
    static const char *const bare[] = {NULL};
    const json_t *type = json_object_get(schema, "type"), *value;
    if (json_is_true(schema)) {
        fputs("value ", to);
        return;
    }
    if (!json_is_object(schema)) {
        fail(w, KV_EFORMAT, json_is_false(schema) ? "false: no value is allowed" : "not a schema");
        return;
    }
    if (json_object_get(schema, "$ref")) {
        write_ref(w, to, schema);
        return;
    }
    for (int i = 0; i < 3; i++)
        if (json_object_get(schema, combined[i])) {
            write_any(w, to, schema, combined[i]);
            return;
        }
    if ((value = json_object_get(schema, "const"))) {
        static const char *const known[] = {"const", "type", NULL};
        check_keys(w, schema, known);
        json_literal(w, to, value);
    } else if (json_object_get(schema, "enum"))
        write_enum(w, to, schema);
    else if (json_is_array(type))
        write_types(w, to, schema, type);
    else if (json_is_string(type))
        write_type(w, to, schema, json_string_value(type));
    else if (type)
        fail(w, KV_EFORMAT, "'type' is not a text");
    else if (json_object_get(schema, "properties"))
        write_object(w, to, schema);
    else if (json_object_get(schema, "items") || json_object_get(schema, "prefixItems"))
        write_array(w, to, schema);
    else {
        check_keys(w, schema, bare);
        fputs("value ", to);
    }
}

static void write_all(writer *w) {
    text t;
    if (!open_text(w, &t))
        return;
    write_schema(w, t.f, w->root);
    close_text(&t);
    fprintf(w->rules.f, "root ::= %s\n", t.s ? t.s : "");
    free_text(&t);
    for (; w->written < w->n_refs && !w->st; w->written++) {
        if (!open_text(w, &t))
            return;
        write_schema(w, t.f, w->refs[w->written]);
        close_text(&t);
        fprintf(w->rules.f, "ref%u ::= %s\n", w->written, t.s ? t.s : "");
        free_text(&t);
        if (ftell(w->rules.f) > MOST_TEXT)
            fail(w, KV_ERANGE, "the schema is too large");
    }
    fputs(basics, w->rules.f);
}

kv_status schema_to_gbnf(const char *json, size_t len, const char *where, char **out, kv_err *err) {
    json_error_t why;
    json_t *root = json_loadb(json, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &why);
    writer *w = calloc(1, sizeof *w);
    kv_status st = KV_OK;
    *out = NULL;
    if (!root || !w) {
        st = root ? kv_fail(err, KV_ENOMEM, "%s: out of memory", where)
                  : kv_fail(err, KV_EFORMAT, "%s:%d: not JSON: %s", where, why.line, why.text);
        goto done;
    }
    w->root = root;
    w->where = where;
    w->err = err;
    if (open_text(w, &w->rules))
        write_all(w);
    close_text(&w->rules);
    if (!w->st && !w->rules.s)
        fail(w, KV_ENOMEM, "out of memory");
    st = w->st;
    if (st)
        free(w->rules.s);
    else
        *out = w->rules.s;
done:
    json_decref(root);
    free(w);
    return st;
}

kv_status grammar_of_schema(const char *json, size_t len, const char *where, grammar **out, kv_err *err) {
    char *gbnf;
    *out = NULL;
    kv_status st = schema_to_gbnf(json, len, where, &gbnf, err);
    if (st)
        return st;
    st = grammar_parse(gbnf, strlen(gbnf), where, out, err);
    free(gbnf);
    return st;
}

kv_status grammar_of_json(grammar **out, kv_err *err) {
    static const char any[] = "{\"type\": \"object\"}";
    return grammar_of_schema(any, sizeof any - 1, "JSON", out, err);
}
