/* A strict subset of YAML as a tree with line numbers: mappings, lists and scalars.
 *
 * Refused, each with its line: anchors, aliases, merge keys, tags (other than !!binary on a scalar), duplicate keys, keys that
 * are not plain text, more than YAML_MAX_DOCUMENTS, nesting deeper than 8, 64 keys in a mapping, a million nodes, and scalars
 * above 4 KiB that are not !!binary. Every limit is checked while reading, so memory stays a few times the size of the text.
 */
#ifndef KV_YAML_TREE_H
#define KV_YAML_TREE_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { YAML_MAX_DOCUMENTS = 4 };

typedef enum yaml_kind { YAML_TEXT, YAML_MAP, YAML_LIST } yaml_kind;

typedef struct yaml_node {
    yaml_kind kind;
    bool plain;              /* text: written without quotes, so it may be a number */
    bool binary;             /* text: tagged !!binary */
    uint32_t line;           /* from 1 */
    uint32_t count;          /* of children */
    struct yaml_node *first; /* child */
    struct yaml_node *next;  /* sibling */
    const char *key;         /* children of a mapping, else NULL */
    const char *text;        /* NUL-terminated, without NUL bytes inside */
    size_t len;
} yaml_node;

typedef struct yaml_tree yaml_tree;

/* *out: caller frees with yaml_tree_free; nodes and texts live as long. KV_EFORMAT "where:line: ...", KV_ENOMEM. */
kv_status yaml_tree_read(const char *text, size_t len, const char *where, yaml_tree **out, kv_err *err);
void yaml_tree_free(yaml_tree *t); /* NULL is fine */
/* What the first document is; the next ones are its siblings, and their lines are where they start. */
const yaml_node *yaml_tree_root(const yaml_tree *t);
/* Child of a mapping by key, or NULL. */
const yaml_node *yaml_find(const yaml_node *map, const char *key);

#endif
