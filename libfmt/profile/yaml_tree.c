/* libyaml's events into a tree. Nodes and texts lie in chunks of memory that are freed together. */
#include "profile/yaml_tree.h"

#include <stdlib.h>
#include <string.h>
#include <yaml.h>

enum { MAX_DEPTH = 8, MAX_KEYS = 64, MAX_NODES = 1 << 20, MAX_TEXT = 4096, CHUNK = 1 << 16 };

static const char BINARY_TAG[] = "tag:yaml.org,2002:binary";

typedef struct chunk {
    struct chunk *next;
    size_t used, size;
    max_align_t mem[];
} chunk;

struct yaml_tree {
    chunk *chunks;
    yaml_node *root;
    size_t n_nodes;
};

typedef struct builder {
    yaml_parser_t parser;
    yaml_tree *tree;
    const char *where;
    kv_err *err;
} builder;

static void *tree_alloc(yaml_tree *t, size_t n) {
    n = (n + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
    if (!t->chunks || t->chunks->size - t->chunks->used < n) {
        size_t size = n > CHUNK ? n : CHUNK;
        chunk *c = malloc(sizeof *c + size);
        if (!c)
            return NULL;
        *c = (chunk){.next = t->chunks, .size = size};
        t->chunks = c;
    }
    void *p = (char *)t->chunks->mem + t->chunks->used;
    t->chunks->used += n;
    return p;
}

static const char *tree_text(yaml_tree *t, const void *text, size_t len) {
    char *s = tree_alloc(t, len + 1);
    if (s) {
        memcpy(s, text, len);
        s[len] = '\0';
    }
    return s;
}

static kv_status nomem(builder *b) {
    return kv_fail(b->err, KV_ENOMEM, "%s: out of memory", b->where);
}

static kv_status refuse(builder *b, size_t line, const char *what) {
    return kv_fail(b->err, KV_EFORMAT, "%s:%zu: %s", b->where, line, what);
}

static kv_status next_event(builder *b, yaml_event_t *ev) {
    if (yaml_parser_parse(&b->parser, ev))
        return KV_OK;
    const yaml_parser_t *p = &b->parser;
    if (p->error == YAML_MEMORY_ERROR)
        return nomem(b);
    if (p->error == YAML_READER_ERROR)
        return kv_fail(b->err, KV_EFORMAT, "%s: byte %zu: %s", b->where, p->problem_offset, p->problem);
    return refuse(b, p->problem_mark.line + 1, p->problem ? p->problem : "not YAML");
}

/* Anchors and tags are features that a profile does not need and that surprise people. */
static kv_status check_properties(builder *b, size_t line, const yaml_char_t *anchor, const yaml_char_t *tag, bool scalar) {
    if (anchor)
        return refuse(b, line, "anchors and aliases are not allowed");
    if (tag && !(scalar && !strcmp((const char *)tag, BINARY_TAG)))
        return kv_fail(b->err, KV_EFORMAT, "%s:%zu: tag %.40s is not allowed here", b->where, line, (const char *)tag);
    return KV_OK;
}

static kv_status fill_text(builder *b, const yaml_event_t *ev, yaml_node *n) {
    const char *text = (const char *)ev->data.scalar.value;
    n->kind = YAML_TEXT;
    n->plain = ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    n->binary = ev->data.scalar.tag != NULL;
    n->len = ev->data.scalar.length;
    kv_status st = check_properties(b, n->line, ev->data.scalar.anchor, ev->data.scalar.tag, true);
    if (st != KV_OK)
        return st;
    if (!n->binary && n->len > MAX_TEXT)
        return refuse(b, n->line, "text longer than 4096 bytes");
    if (memchr(text, 0, n->len))
        return refuse(b, n->line, "text with a NUL byte");
    return (n->text = tree_text(b->tree, text, n->len)) ? KV_OK : nomem(b);
}

static kv_status read_key(builder *b, const yaml_event_t *ev, const yaml_node *map, const char **key) {
    size_t line = ev->start_mark.line + 1;
    yaml_node n = {.line = (uint32_t)line};
    if (ev->type != YAML_SCALAR_EVENT)
        return refuse(b, line, "a key must be text");
    kv_status st = fill_text(b, ev, &n);
    if (st != KV_OK)
        return st;
    if (yaml_find(map, n.text))
        return kv_fail(b->err, KV_EFORMAT, "%s:%zu: key '%.60s' is given twice", b->where, line, n.text);
    if (map->count >= MAX_KEYS)
        return refuse(b, line, "more than 64 keys in one mapping");
    *key = n.text;
    return KV_OK;
}

static kv_status build(builder *b, yaml_event_t *ev, int depth, yaml_node **out);

static kv_status build_children(builder *b, yaml_node *n, int depth) {
    yaml_node **tail = &n->first;
    for (;;) {
        yaml_event_t ev;
        const char *key = NULL;
        kv_status st = next_event(b, &ev);
        if (st != KV_OK)
            return st;
        if (ev.type == YAML_MAPPING_END_EVENT || ev.type == YAML_SEQUENCE_END_EVENT) {
            yaml_event_delete(&ev);
            return KV_OK;
        }
        if (n->kind == YAML_MAP) {
            st = read_key(b, &ev, n, &key);
            yaml_event_delete(&ev);
            if (st != KV_OK || (st = next_event(b, &ev)) != KV_OK)
                return st;
        }
        st = build(b, &ev, depth + 1, tail);
        yaml_event_delete(&ev);
        if (st != KV_OK)
            return st;
        (*tail)->key = key;
        tail = &(*tail)->next;
        n->count++;
    }
}

/* The node that starts with ev (which stays the caller's). Recursion is bounded by MAX_DEPTH. */
static kv_status build(builder *b, yaml_event_t *ev, int depth, yaml_node **out) {
    size_t line = ev->start_mark.line + 1;
    if (ev->type == YAML_ALIAS_EVENT)
        return refuse(b, line, "anchors and aliases are not allowed");
    if (depth > MAX_DEPTH)
        return refuse(b, line, "nested too deeply");
    if (++b->tree->n_nodes > MAX_NODES)
        return refuse(b, line, "more than a million values");
    yaml_node *n = tree_alloc(b->tree, sizeof *n);
    if (!n)
        return nomem(b);
    *n = (yaml_node){.line = (uint32_t)line};
    kv_status st;
    if (ev->type == YAML_SCALAR_EVENT) {
        st = fill_text(b, ev, n);
    } else if (ev->type == YAML_MAPPING_START_EVENT) {
        n->kind = YAML_MAP;
        st = check_properties(b, line, ev->data.mapping_start.anchor, ev->data.mapping_start.tag, false);
    } else {
        n->kind = YAML_LIST;
        st = check_properties(b, line, ev->data.sequence_start.anchor, ev->data.sequence_start.tag, false);
    }
    if (st == KV_OK && n->kind != YAML_TEXT)
        st = build_children(b, n, depth);
    *out = n; /* at the end: a key is looked up only among finished siblings */
    return st;
}

static kv_status skip_event(builder *b) {
    yaml_event_t ev;
    kv_status st = next_event(b, &ev);
    if (st == KV_OK)
        yaml_event_delete(&ev);
    return st;
}

/* Stream start; documents, each between a start and an end; stream end. */
static kv_status build_stream(builder *b) {
    yaml_node **tail = &b->tree->root;
    kv_status st = skip_event(b);
    for (int n = 0; st == KV_OK; n++) {
        yaml_event_t ev;
        if ((st = next_event(b, &ev)) != KV_OK)
            break;
        const bool ends = ev.type == YAML_STREAM_END_EVENT;
        const size_t line = ev.start_mark.line + 1;
        yaml_event_delete(&ev);
        if (ends)
            return n ? KV_OK : kv_fail(b->err, KV_EFORMAT, "%s: is empty", b->where);
        if (n == YAML_MAX_DOCUMENTS)
            return refuse(b, line, "more than 4 documents");
        if ((st = next_event(b, &ev)) != KV_OK)
            break;
        st = build(b, &ev, 1, tail);
        yaml_event_delete(&ev);
        if (st != KV_OK)
            break;
        if (n)
            (*tail)->line = (uint32_t)line;
        tail = &(*tail)->next;
        st = skip_event(b);
    }
    return st;
}

kv_status yaml_tree_read(const char *text, size_t len, const char *where, yaml_tree **out, kv_err *err) {
    builder b = {.where = where, .err = err};
    *out = NULL;
    if (!yaml_parser_initialize(&b.parser))
        return nomem(&b);
    kv_status st = KV_OK;
    if (!(b.tree = calloc(1, sizeof *b.tree)))
        st = nomem(&b);
    if (st == KV_OK) {
        yaml_parser_set_encoding(&b.parser, YAML_UTF8_ENCODING);
        yaml_parser_set_input_string(&b.parser, (const unsigned char *)text, len);
        st = build_stream(&b);
    }
    yaml_parser_delete(&b.parser);
    if (st == KV_OK)
        *out = b.tree;
    else
        yaml_tree_free(b.tree);
    return st;
}

void yaml_tree_free(yaml_tree *t) {
    for (chunk *c = t ? t->chunks : NULL; c;) {
        chunk *next = c->next;
        free(c);
        c = next;
    }
    free(t);
}

const yaml_node *yaml_tree_root(const yaml_tree *t) {
    return t->root;
}

const yaml_node *yaml_find(const yaml_node *map, const char *key) {
    for (const yaml_node *n = map->kind == YAML_MAP ? map->first : NULL; n; n = n->next)
        if (!strcmp(n->key, key))
            return n;
    return NULL;
}
