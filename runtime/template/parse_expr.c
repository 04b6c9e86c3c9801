/* Tokens to trees: expressions, from the weakest operator to the strongest, and back to the weakest in brackets. The grammar is
 * jinja2's, with its peculiarities: filters bind more tightly than any operator but a sign.
 */
#include "template/tree.h"

#include <stdio.h>
#include <string.h>

enum { DEEPEST = 200 }; /* of recursion, and of trees */

static tpl_node *or_(tpl_parser *p);
static tpl_node *unary(tpl_parser *p, bool filters);
static tpl_node *primary(tpl_parser *p, bool spaces);

/* One more level of brackets. */
static bool enter(tpl_parser *p) {
    if (p->depth < DEEPEST && !p->r->st) {
        p->depth++;
        return true;
    }
    tpl_syntax(p, "the limit of depth is reached: %d levels of brackets and statements", DEEPEST);
    return false;
}

static tpl_node *binary(tpl_parser *p, tpl_node_kind kind, int op, tpl_node *a, tpl_node *b) {
    tpl_node *n = tpl_node_new(p, kind);
    if (!n)
        return NULL;
    n->op = op;
    n->a = a;
    n->b = b;
    tpl_node_over(p, n, a);
    tpl_node_over(p, n, b);
    return n;
}

/* A node whose operand is known and whose line is that of the next token. */
static tpl_node *above(tpl_parser *p, tpl_node_kind kind, tpl_node *a) {
    return binary(p, kind, 0, a, NULL);
}

/* ---- operators ---- */

static int operator_in(const tpl_parser *p, const int *ops) {
    for (; *ops; ops++)
        if (tpl_is_op(p, *ops))
            return *ops;
    return 0;
}

static tpl_node *power(tpl_parser *p) {
    tpl_node *n = unary(p, true);
    while (tpl_skip_op(p, TPL_OP('*', '*')))
        n = binary(p, N_OP, TPL_OP('*', '*'), n, unary(p, true));
    return n;
}

static tpl_node *product(tpl_parser *p) {
    static const int ops[] = {'*', '/', TPL_OP('/', '/'), '%', 0};
    tpl_node *n = power(p);
    for (int op; (op = operator_in(p, ops));) {
        p->at++;
        n = binary(p, N_OP, op, n, power(p));
    }
    return n;
}

static tpl_node *concat(tpl_parser *p) {
    tpl_node *n = product(p), *all;
    if (!tpl_is_op(p, '~') || !(all = tpl_node_new(p, N_CONCAT)))
        return n;
    tpl_node_add(p, all, &all->list, n);
    while (tpl_skip_op(p, '~'))
        tpl_node_add(p, all, &all->list, product(p));
    return all;
}

static tpl_node *sum(tpl_parser *p) {
    static const int ops[] = {'+', '-', 0};
    tpl_node *n = concat(p);
    for (int op; (op = operator_in(p, ops));) {
        p->at++;
        n = binary(p, N_OP, op, n, concat(p));
    }
    return n;
}

/* The operator of a comparison, which is skipped; 0: there is none. */
static int comparison(tpl_parser *p) {
    static const int ops[] = {TPL_OP('=', '='), TPL_OP('!', '='), TPL_OP('<', '='), TPL_OP('>', '='), '<', '>', 0};
    const int op = operator_in(p, ops);
    if (op)
        p->at++;
    else if (tpl_skip_word(p, "in"))
        return TPL_OP_IN;
    else if (tpl_is_word(p, "not") && p->at[1].kind == T_NAME && tpl_str_is(&p->at[1].text, "in")) {
        p->at += 2;
        return TPL_OP_NOT_IN;
    }
    return op;
}

static tpl_node *compare(tpl_parser *p) {
    tpl_node *n = sum(p), *all = NULL;
    for (int op; !p->r->st && (op = comparison(p));) {
        if (!all && !(all = above(p, N_COMPARE, n)))
            return NULL;
        tpl_node_add(p, all, &all->list, binary(p, N_OPERAND, op, sum(p), NULL));
    }
    return all ? all : n;
}

static tpl_node *not_(tpl_parser *p) {
    unsigned times = 0;
    while (tpl_skip_word(p, "not"))
        times++;
    tpl_node *n = compare(p);
    for (times = times > 2 ? 2 - times % 2 : times; times; times--)
        n = above(p, N_NOT, n);
    return n;
}

static tpl_node *and_(tpl_parser *p) {
    tpl_node *n = not_(p);
    while (tpl_skip_word(p, "and"))
        n = binary(p, N_AND, 0, n, not_(p));
    return n;
}

static tpl_node *or_(tpl_parser *p) {
    tpl_node *n = and_(p);
    while (tpl_skip_word(p, "or"))
        n = binary(p, N_OR, 0, n, and_(p));
    return n;
}

static tpl_node *conditional(tpl_parser *p) {
    if (!enter(p))
        return NULL;
    tpl_node *n = or_(p);
    while (tpl_skip_word(p, "if")) {
        n = binary(p, N_COND, 0, n, or_(p));
        if (n && tpl_skip_word(p, "else")) {
            n->c = conditional(p);
            tpl_node_over(p, n, n->c);
        }
    }
    p->depth--;
    return n;
}

tpl_node *tpl_parse_expr(tpl_parser *p) {
    return conditional(p);
}

/* ---- calls, filters, tests ---- */

static bool named_argument(tpl_parser *p, tpl_node *n) {
    if (p->at->kind != T_NAME || p->at[1].kind != T_OP || p->at[1].op != '=')
        return false;
    const tpl_str *name = &p->at->text;
    p->at += 2;
    tpl_node *arg = binary(p, N_OPERAND, 0, tpl_parse_expr(p), NULL);
    if (arg)
        arg->name = name;
    tpl_node_add(p, n, &n->args->named, arg);
    return true;
}

static void argument(tpl_parser *p, tpl_node *n) {
    tpl_args *args = n->args;
    if (tpl_skip_op(p, '*')) {
        if (args->many || args->dict)
            tpl_syntax(p, "a call has two lists of arguments");
        tpl_node_over(p, n, args->many = tpl_parse_expr(p));
    } else if (tpl_skip_op(p, TPL_OP('*', '*'))) {
        if (args->dict)
            tpl_syntax(p, "a call has two dicts of arguments");
        tpl_node_over(p, n, args->dict = tpl_parse_expr(p));
    } else if (!args->dict && named_argument(p, n)) {
        return;
    } else if (args->many || args->dict || args->named.n) {
        tpl_syntax(p, "an argument without a name stands behind one with a name");
    } else
        tpl_node_add(p, n, &args->list, tpl_parse_expr(p));
}

/* What stands in parentheses, if anything does. */
static void arguments(tpl_parser *p, tpl_node *n) {
    if (!n || !tpl_is_op(p, '(') || !(n->args = tpl_get(p->r, 1, sizeof *n->args)))
        return;
    p->at++;
    while (!p->r->st && !tpl_is_op(p, ')')) {
        argument(p, n);
        if (!tpl_is_op(p, ')') && !tpl_want_op(p, ','))
            return;
    }
    tpl_want_op(p, ')');
}

/* A name that may have dots in it. */
static const tpl_str *dotted_name(tpl_parser *p) {
    const tpl_str *name = &p->at->text;
    tpl_buf b = {.r = p->r};
    if (p->at->kind != T_NAME) {
        tpl_syntax(p, "a name is missing");
        return NULL;
    }
    for (p->at++; tpl_is_op(p, '.') && p->at[1].kind == T_NAME; p->at += 2) {
        if (!b.len)
            tpl_put_str(&b, name);
        tpl_puts(&b, ".");
        tpl_put_str(&b, &p->at[1].text);
    }
    return b.len ? tpl_string(p->r, tpl_take(&b)) : name;
}

tpl_node *tpl_parse_filters(tpl_parser *p, tpl_node *a, bool first) {
    while (!p->r->st && (first || tpl_skip_op(p, '|'))) {
        const tpl_str *name = dotted_name(p);
        first = false;
        a = above(p, N_FILTER, a);
        if (a)
            a->name = name;
        arguments(p, a);
    }
    return a;
}

static tpl_node *postfix(tpl_parser *p, tpl_node *n);

/* Is what comes the argument of a test that has no parentheses? */
static bool begins_argument(const tpl_parser *p) {
    const uint8_t kind = p->at->kind;
    if (tpl_is_word(p, "else") || tpl_is_word(p, "or") || tpl_is_word(p, "and"))
        return false;
    return kind == T_NAME || kind == T_STR || kind == T_INT || kind == T_FLOAT || tpl_is_op(p, '[') || tpl_is_op(p, '{');
}

static tpl_node *test(tpl_parser *p, tpl_node *a) {
    const bool negated = tpl_skip_word(p, "not");
    const tpl_str *name = dotted_name(p);
    tpl_node *n = above(p, N_TEST, a);
    if (!n)
        return NULL;
    n->name = name;
    if (tpl_is_op(p, '(')) {
        arguments(p, n);
    } else if (begins_argument(p)) {
        if (tpl_is_word(p, "is"))
            return tpl_syntax(p, "tests cannot be chained with 'is'");
        if (!(n->args = tpl_get(p->r, 1, sizeof *n->args)))
            return NULL;
        tpl_node_add(p, n, &n->args->list, postfix(p, primary(p, false)));
    }
    return negated ? above(p, N_NOT, n) : n;
}

/* ---- what stands behind a value ---- */

static tpl_node *subscript(tpl_parser *p, tpl_node *a) {
    tpl_node *part[3] = {NULL}, *n;
    unsigned at = 0;
    bool sliced = false;
    while (!p->r->st && !tpl_is_op(p, ']')) {
        if (tpl_skip_op(p, ':')) {
            sliced = true;
            if (++at > 2)
                return tpl_syntax(p, "a slice has more than three parts");
        } else if (part[at] || tpl_is_op(p, ','))
            return tpl_syntax(p, "a subscript has one expression, or a slice");
        else
            part[at] = tpl_parse_expr(p);
    }
    tpl_want_op(p, ']');
    if (!sliced && !part[0])
        return tpl_syntax(p, "a subscript is empty");
    if (!(n = binary(p, sliced ? N_SLICE : N_ITEM, 0, a, part[0])))
        return NULL;
    n->c = part[1];
    n->d = part[2];
    tpl_node_over(p, n, part[1]);
    tpl_node_over(p, n, part[2]);
    return n;
}

static tpl_node *attribute(tpl_parser *p, tpl_node *a) {
    const tpl_token *t = p->at;
    tpl_node *n;
    if (t->kind == T_NAME) {
        n = above(p, N_ATTR, a);
        if (n)
            n->name = &t->text;
    } else if (t->kind == T_INT) {
        tpl_node *index = tpl_node_new(p, N_CONST);
        if (index)
            index->value = t->value;
        n = binary(p, N_ITEM, 0, a, index);
    } else
        return tpl_syntax(p, "a name or a number is missing behind '.'");
    p->at++;
    return n;
}

static tpl_node *call(tpl_parser *p, tpl_node *a) {
    tpl_node *n = above(p, N_CALL, a);
    arguments(p, n);
    return n;
}

static tpl_node *postfix(tpl_parser *p, tpl_node *n) {
    while (!p->r->st) {
        if (tpl_skip_op(p, '.'))
            n = attribute(p, n);
        else if (tpl_skip_op(p, '['))
            n = subscript(p, n);
        else if (tpl_is_op(p, '('))
            n = call(p, n);
        else
            break;
    }
    return n;
}

static tpl_node *filters_and_tests(tpl_parser *p, tpl_node *n) {
    while (!p->r->st) {
        if (tpl_is_op(p, '|'))
            n = tpl_parse_filters(p, n, false);
        else if (tpl_skip_word(p, "is"))
            n = test(p, n);
        else if (tpl_is_op(p, '('))
            n = call(p, n);
        else
            break;
    }
    return n;
}

static tpl_node *unary(tpl_parser *p, bool filters) {
    const int op = tpl_is_op(p, '-') ? '-' : tpl_is_op(p, '+') ? '+' : 0;
    tpl_node *n = NULL;
    if (op && enter(p)) {
        p->at++;
        n = binary(p, N_SIGN, op, unary(p, false), NULL);
        p->depth--;
    } else if (!op)
        n = primary(p, false);
    n = postfix(p, n);
    return filters ? filters_and_tests(p, n) : n;
}

/* ---- values ---- */

static tpl_node *constant(tpl_parser *p, tpl_value v) {
    tpl_node *n = tpl_node_new(p, N_CONST);
    if (n)
        n->value = v;
    return n;
}

static tpl_node *name(tpl_parser *p, bool spaces) {
    static const struct {
        const char *name;
        tpl_value value;
    } words[] = {{"true", {.kind = TPL_BOOL, .b = true}},
                 {"True", {.kind = TPL_BOOL, .b = true}},
                 {"false", {.kind = TPL_BOOL}},
                 {"False", {.kind = TPL_BOOL}},
                 {"none", {.kind = TPL_NONE}},
                 {"None", {.kind = TPL_NONE}}};
    static const struct {
        const char *name;
        uint8_t uses;
    } asked[] = {{"caller", TPL_USES_CALLER}, {"kwargs", TPL_USES_KWARGS}, {"varargs", TPL_USES_VARARGS}};
    const tpl_str *text = &p->at++->text;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (tpl_str_is(text, words[i].name))
            return constant(p, words[i].value);
    const bool space = spaces && tpl_is_op(p, '.') && p->at[1].kind == T_NAME;
    tpl_node *n = tpl_node_new(p, space ? N_SPACE : N_NAME);
    if (!n)
        return NULL;
    n->name = text;
    n->id = tpl_name_id(p, text);
    if (space) {
        n->value = (tpl_value){.kind = TPL_STR, .s = &p->at[1].text};
        p->at += 2;
    }
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++)
        for (unsigned k = 0; k < p->n_macros && tpl_str_is(text, asked[i].name); k++)
            p->macro[k]->uses |= asked[i].uses;
    return n;
}

static tpl_node *texts(tpl_parser *p) {
    tpl_buf b = {.r = p->r};
    const tpl_str *s = &p->at++->text;
    for (; p->at->kind == T_STR; p->at++) {
        if (s)
            tpl_put_str(&b, s);
        s = NULL;
        tpl_put_str(&b, &p->at->text);
    }
    return constant(p, s ? (tpl_value){.kind = TPL_STR, .s = s} : tpl_take(&b));
}

/* A list or dict, behind its opening bracket. */
static tpl_node *elements(tpl_parser *p, tpl_node_kind kind, int end) {
    tpl_node *n = tpl_node_new(p, kind);
    while (!p->r->st && !tpl_is_op(p, end)) {
        tpl_node_add(p, n, &n->list, tpl_parse_expr(p));
        if (kind == N_DICT) {
            tpl_want_op(p, ':');
            tpl_node_add(p, n, &n->list, tpl_parse_expr(p));
        }
        if (!tpl_is_op(p, end) && !tpl_want_op(p, ','))
            return NULL;
    }
    tpl_want_op(p, end);
    return n;
}

static tpl_node *primary(tpl_parser *p, bool spaces) {
    const tpl_token *t = p->at;
    char what[40];
    if (p->r->st)
        return NULL;
    if (t->kind == T_NAME)
        return name(p, spaces);
    if (t->kind == T_STR)
        return texts(p);
    if (t->kind == T_INT || t->kind == T_FLOAT) {
        p->at++;
        return constant(p, t->value);
    }
    if (tpl_skip_op(p, '[') || tpl_skip_op(p, '{'))
        return elements(p, t->op == '[' ? N_LIST : N_DICT, t->op == '[' ? ']' : '}');
    if (tpl_skip_op(p, '(')) {
        tpl_node *n = tpl_parse_tuple(p, false, true, true, NULL);
        tpl_want_op(p, ')');
        return n;
    }
    return tpl_syntax(p, "%s is unexpected", tpl_token_text(t, what));
}

/* Does a list with commas end here? */
static bool tuple_ends(const tpl_parser *p, const char *end) {
    return p->at->kind == T_PRINT_END || p->at->kind == T_BLOCK_END || tpl_is_op(p, ')') || (end && tpl_is_word(p, end));
}

tpl_node *tpl_parse_tuple(tpl_parser *p, bool simple, bool cond, bool empty, const char *end) {
    tpl_node *first = NULL, *all = NULL;
    char what[40];
    while (!p->r->st && !tuple_ends(p, end)) {
        tpl_node *n = simple ? primary(p, true) : cond ? tpl_parse_expr(p) : or_(p);
        if (!first)
            first = n;
        else
            tpl_node_add(p, all, &all->list, n);
        if (!tpl_is_op(p, ','))
            break;
        if (!all && (all = tpl_node_new(p, N_TUPLE)))
            tpl_node_add(p, all, &all->list, first);
        p->at++;
    }
    if (!first && !empty)
        return tpl_syntax(p, "an expression is missing before %s", tpl_token_text(p->at, what));
    return all ? all : first ? first : tpl_node_new(p, N_TUPLE);
}
