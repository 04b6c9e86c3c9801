/* Arrays and objects. */
#include "grammar/schema_internal.h"

#include <stdlib.h>
#include <string.h>

/* ---- arrays ---- */

void schema_array(writer *w, FILE *to, const json_t *schema) {
    static const char *const known[] = {"type", "items", "prefixItems", "minItems", "maxItems", NULL};
    const json_t *items = json_object_get(schema, "items"), *prefix = json_object_get(schema, "prefixItems");
    uint32_t least = schema_count(w, schema, "minItems", 0), most = schema_count(w, schema, "maxItems", UINT32_MAX);
    const size_t n = json_array_size(prefix);
    text item;
    schema_check_keys(w, schema, known);
    if (prefix && !json_is_array(prefix))
        schema_fail(w, KV_EFORMAT, "'prefixItems' is not a list");
    if (json_is_false(items))
        most = most < n ? most : (uint32_t)n;
    if (most < least)
        schema_fail(w, KV_EFORMAT, "maxItems is less than minItems");
    if (w->st || !schema_open(w, &item))
        return;
    if (items && !json_is_false(items))
        schema_part(w, item.f, "items", items);
    else
        fputs("value", item.f);
    const unsigned rule = schema_rule(w, &item);
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
        schema_part(w, to, key, json_array_get(prefix, i));
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

bool schema_requires(const json_t *required, const char *key) {
    for (size_t i = 0; i < json_array_size(required); i++)
        if (json_is_string(json_array_get(required, i)) && !strcmp(json_string_value(json_array_get(required, i)), key))
            return true;
    return false;
}

static void write_member(writer *w, object *o, const char *key, const json_t *schema) {
    text t;
    if (o->n == 256) {
        schema_fail(w, KV_ERANGE, "more than 256 properties");
        return;
    }
    if (!schema_open(w, &t))
        return;
    json_t *name = json_string(key);
    const size_t before = schema_enter(w, "properties");
    schema_literal(w, t.f, name);
    fputs(" ws \":\" ws ", t.f);
    schema_part(w, t.f, key, schema);
    fputs(" ws", t.f);
    schema_leave(w, before);
    json_decref(name);
    o->keys[o->n] = key;
    o->must[o->n] = schema_requires(o->required, key);
    o->members[o->n++] = schema_rule(w, &t);
}

static void write_more(writer *w, object *o, const json_t *additional) {
    text t;
    o->more = UINT32_MAX;
    if (json_is_false(additional) || (!additional && o->properties) || w->st || !schema_open(w, &t))
        return;
    if (o->n) {
        fputs("\"\\\"\" ", t.f);
        other_key(t.f, o->keys, o->n, 0);
    } else {
        fputs("string", t.f);
    }
    for (size_t i = 0; i < o->n; i++)
        if (!is_plain(o->keys[i]))
            schema_fail(w, KV_EUNSUPP, "additionalProperties beside the property '%.60s': such names are not told apart",
                        o->keys[i]);
    fputs(" ws \":\" ws ", t.f);
    if (json_is_object(additional))
        schema_part(w, t.f, "additionalProperties", additional);
    else
        fputs("value", t.f);
    fputs(" ws", t.f);
    o->more = schema_rule(w, &t);
}

/* From the last member to the first: what may follow others (rest), and what may come first. */
void schema_object(writer *w, FILE *to, const json_t *schema) {
    static const char *const known[] = {"type", "properties", "required", "additionalProperties", NULL};
    object o = {.properties = json_object_get(schema, "properties"), .required = json_object_get(schema, "required")};
    const char *key;
    json_t *value;
    schema_check_keys(w, schema, known);
    if ((o.properties && !json_is_object(o.properties)) || (o.required && !json_is_array(o.required)))
        schema_fail(w, KV_EFORMAT, "'properties' is not an object, or 'required' not a list");
    json_object_foreach((json_t *)o.properties, key, value) {
        if (w->st)
            return;
        write_member(w, &o, key, value);
    }
    for (size_t i = 0; i < json_array_size(o.required); i++) {
        const char *name = json_string_value(json_array_get(o.required, i));
        if (!name || !json_object_get(o.properties, name))
            schema_fail(w, KV_EUNSUPP, "'%.60s' is required, and no property", name ? name : "?");
    }
    write_more(w, &o, json_object_get(schema, "additionalProperties"));
    if (w->st)
        return;
    char rest[64] = "", first[64] = "";
    if (o.more != UINT32_MAX) {
        text t;
        if (!schema_open(w, &t))
            return;
        fprintf(t.f, "(\",\" ws r%u)*", o.more);
        snprintf(rest, sizeof rest, "r%u", schema_rule(w, &t));
        if (!schema_open(w, &t))
            return;
        fprintf(t.f, "(r%u %s)?", o.more, rest);
        snprintf(first, sizeof first, "r%u", schema_rule(w, &t));
    }
    for (size_t i = o.n; i-- > 0 && !w->st;) {
        text t;
        if (!schema_open(w, &t))
            return;
        fprintf(t.f, o.must[i] ? "r%u %s" : "r%u %s | %s", o.members[i], rest, *first ? first : "\"\"");
        snprintf(first, sizeof first, "r%u", schema_rule(w, &t));
        if (!schema_open(w, &t))
            return;
        fprintf(t.f, o.must[i] ? "\",\" ws r%u %s" : "(\",\" ws r%u)? %s", o.members[i], rest);
        snprintf(rest, sizeof rest, "r%u", schema_rule(w, &t));
    }
    fprintf(to, "\"{\" ws %s \"}\" ", first);
}
