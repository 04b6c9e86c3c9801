/* Variables: scopes inside each other, of few names each. */
#include "template/tree.h"

typedef struct binding binding;
struct binding {
    binding *next;
    uint32_t id;
    tpl_value value;
};

struct tpl_scope {
    tpl_scope *outer;
    binding *first;
};

tpl_scope *tpl_scope_new(tpl_run *r, tpl_scope *outer) {
    tpl_scope *s = tpl_get(r, 1, sizeof *s);
    if (s)
        s->outer = outer;
    return s;
}

tpl_value tpl_lookup(tpl_run *r, uint32_t id) {
    for (const tpl_scope *s = r->scope; s; s = s->outer)
        for (const binding *b = s->first; b; b = b->next)
            if (b->id == id)
                return b->value;
    return r->root[id];
}

void tpl_bind(tpl_run *r, tpl_scope *s, uint32_t id, tpl_value v) {
    binding *b = s ? s->first : NULL;
    while (b && b->id != id)
        b = b->next;
    if (!s) {
        r->root[id] = v;
    } else if (b) {
        b->value = v;
    } else if ((b = tpl_get(r, 1, sizeof *b))) {
        *b = (binding){s->first, id, v};
        s->first = b;
    }
}

void tpl_assign(tpl_run *r, uint32_t id, tpl_value v) {
    tpl_bind(r, r->scope, id, v);
}
