/* Looking filters, tests, methods and functions up, and handing them their arguments. */
#include "template/tpl_internal.h"

#include <string.h>

static const tpl_row *find_in(const tpl_row *rows, const tpl_str *name) {
    for (; rows->name; rows++)
        if (tpl_str_is(name, rows->name))
            return rows;
    return NULL;
}

const tpl_row *tpl_find(tpl_table table, const tpl_str *name) {
    const tpl_row *rows[] = {
        [TPL_FILTERS] = tpl_filter_rows,  [TPL_TESTS] = tpl_test_rows,        [TPL_FUNCTIONS] = tpl_function_rows,
        [TPL_STR_METHODS] = tpl_str_rows, [TPL_DICT_METHODS] = tpl_dict_rows, [TPL_LIST_METHODS] = tpl_list_rows};
    const tpl_row *row = find_in(rows[table], name);
    return row || table != TPL_FILTERS ? row : find_in(tpl_filter_list_rows, name);
}

/* The place of a parameter by its name; -1: there is none. */
static int param_of(const char *params, const tpl_str *name) {
    for (int i = 0; *params; i++) {
        const size_t len = strcspn(params, " ");
        if (len == name->len && !memcmp(params, name->s, len))
            return i;
        params += len + (params[len] == ' ');
    }
    return -1;
}

static size_t count_params(const char *params) {
    size_t n = *params != '\0';
    for (; *params; params++)
        n += *params == ' ';
    return n;
}

static void take_arguments(tpl_run *r, const tpl_row *row, const tpl_call *call, tpl_value arg[TPL_PARAMS]) {
    const size_t n = count_params(row->params);
    if (call->n > n)
        tpl_fail(r, KV_EINVAL, "%zu arguments are given; at most %zu are possible", call->n, n);
    for (size_t i = 0; i < call->n && !r->st; i++)
        arg[i] = call->v[i];
    for (size_t i = 0; call->named && i < call->named->n && !r->st; i++) {
        const tpl_str *name = call->named->p[i].key.s;
        const int at = param_of(row->params, name);
        if (at < 0 || arg[at].kind != TPL_ABSENT)
            tpl_fail(r, KV_EINVAL, "the argument '%.*s' is %s", (int)(name->len < 64 ? name->len : 64), name->s,
                     at < 0 ? "not known" : "given twice");
        else
            arg[at] = call->named->p[i].value;
    }
    for (int i = 0; i < row->required && !r->st; i++)
        if (arg[i].kind == TPL_ABSENT)
            tpl_fail(r, KV_EINVAL, "an argument is missing; there are: %s", row->params);
}

tpl_value tpl_call_row(tpl_run *r, const char *what, const tpl_row *row, tpl_value self, const tpl_call *call) {
    const char *old_what = r->what, *old_who = r->who;
    tpl_value arg[TPL_PARAMS], out = TPL_UNDEFINED;
    for (int i = 0; i < TPL_PARAMS; i++)
        arg[i] = (tpl_value){.kind = TPL_ABSENT};
    r->what = what;
    r->who = row->name;
    if (row->params)
        take_arguments(r, row, call, arg);
    if (!r->st)
        out = row->fn(r, self, arg, call);
    r->what = old_what;
    r->who = old_who;
    return out;
}

tpl_value tpl_filter(tpl_run *r, const tpl_str *name, tpl_value v, const tpl_call *call) {
    const tpl_row *row = tpl_find(TPL_FILTERS, name);
    if (!row)
        return tpl_fail(r, KV_EINVAL, "there is no filter '%.*s'", (int)(name->len < 64 ? name->len : 64), name->s);
    return tpl_call_row(r, "filter", row, v, call);
}

bool tpl_test(tpl_run *r, const tpl_str *name, tpl_value v, const tpl_call *call) {
    const tpl_row *row = tpl_find(TPL_TESTS, name);
    if (!row)
        return tpl_fail(r, KV_EINVAL, "there is no test '%.*s'", (int)(name->len < 64 ? name->len : 64), name->s).b;
    return tpl_truth(tpl_call_row(r, "test", row, v, call));
}
