/* What answers must look like, as options say it. */
#ifndef KVRUN_CONSTRAIN_H
#define KVRUN_CONSTRAIN_H

#include "cli/cli.h"
#include "grammar/grammar.h"

typedef struct constrain {
    const char *grammar, *grammar_file, *schema, *schema_file;
} constrain;

/* c: constrain * */
#define CONSTRAIN_ROWS(c)                                                                                                      \
    {"--grammar", NULL, CLI_STR, "GBNF", &(c)->grammar, 0, 0, "answers follow this grammar (docs/grammars.md)"},               \
        {"--grammar-file", NULL, CLI_IN, "FILE", &(c)->grammar_file, 0, 0, "the same from a file"},                            \
        {"--json-schema", "-j", CLI_STR, "SCHEMA",                                                                             \
         &(c)->schema,    0,    0,       "answers are JSON that this schema validates; {}: any JSON"},                         \
    {                                                                                                                          \
        "--json-schema-file", "-jf", CLI_IN, "FILE", &(c)->schema_file, 0, 0, "the same from a file"                           \
    }

/* *out NULL: nothing was asked for; else caller frees with grammar_free. KV_EINVAL: several of them; errors of grammar_parse
 * and grammar_of_schema. */
kv_status constrain_open(const constrain *c, grammar **out, kv_err *err);

#endif
