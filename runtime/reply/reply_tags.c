/* Values that stand between tags as they are: what they are in JSON, by the schema of the function and by how they look. */
#include "reply/reply_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const json_t *reply_find_tool(const json_t *tools, const char *name) {
    const json_t *tool;
    size_t i;
    json_array_foreach(tools, i, tool) {
        const json_t *inner = json_object_get(tool, "function"), *f = json_is_object(inner) ? inner : tool;
        const char *known = json_string_value(json_object_get(f, "name"));
        if (known && !strcmp(known, name))
            return f;
    }
    return NULL;
}

static bool is_string(const json_t *type) {
    return json_is_string(type) && !strcmp(json_string_value(type), "string");
}

int reply_is_text(const json_t *tools, const char *function, const char *key) {
    const json_t *parameters = json_object_get(reply_find_tool(tools, function), "parameters");
    const json_t *schema = json_object_get(json_object_get(parameters, "properties"), key);
    const json_t *type = json_object_get(schema, "type"), *values = json_object_get(schema, "enum"), *v;
    size_t i;
    if (is_string(type))
        return 1;
    if (json_is_string(type))
        return 0;
    if (!json_array_size(values))
        return -1;
    json_array_foreach(values, i, v) if (!json_is_string(v)) return -1;
    return 1;
}

static char *quoted(const char *text, size_t len) {
    char *out = malloc(6 * len + 3), *to = out;
    if (!out)
        return NULL;
    *to++ = '"';
    for (size_t i = 0; i < len; i++)
        if (text[i] >= 0 && text[i] < ' ')
            to += sprintf(to, "\\u%04x", (unsigned)text[i]);
        else {
            if (text[i] == '"' || text[i] == '\\')
                *to++ = '\\';
            *to++ = text[i];
        }
    *to++ = '"';
    *to = '\0';
    return out;
}

static bool is_json(const char *text, size_t len) {
    json_scan scan = {0};
    while (len && strchr(" \t\n\r", text[len - 1]))
        len--;
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] < ' ' && json_scan_in_string(&scan))
            return false;
        else if (!json_scan_take(&scan, (unsigned char)text[i]))
            return false;
    return json_scan_end(&scan);
}

char *reply_value_json(const char *text, size_t len, int is_text) {
    char *python = NULL;
    if (is_text == 1)
        return quoted(text, len);
    if (is_json(text, len))
        return strndup(text, len);
    if (!reply_python_json(text, len, &python))
        return NULL;
    return python ? python : quoted(text, len);
}
