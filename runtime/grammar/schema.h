/* JSON schemas as grammars: what follows one is JSON that the schema validates. docs/grammars.md lists what is understood:
 *
 *     type (one or several), enum, const, anyOf, oneOf where alternatives exclude each other, allOf of one, $ref inside the
 * schema object: properties, required, additionalProperties     string: minLength, maxLength, format date, time, date-time,
 * uuid array: items, prefixItems, minItems, maxItems          integer: minimum, maximum, exclusiveMinimum, exclusiveMaximum
 *     boolean, null, number, and no type: any value
 *
 * Properties come in the order of the schema; where there are some, others come only if additionalProperties says so. Titles,
 * descriptions and the like are passed over, and any other keyword is an error: it would ask for something that is not done.
 */
#ifndef RT_SCHEMA_H
#define RT_SCHEMA_H

#include "grammar/grammar.h"

/* KV_EFORMAT: not JSON, or no schema; KV_EUNSUPP: a keyword that is not understood, with its place; KV_ERANGE: too large. */
kv_status grammar_of_schema(const char *json, size_t len, const char *where, grammar **out, kv_err *err);
/* Any JSON object; for {"type": "json_object"}. */
kv_status grammar_of_json(grammar **out, kv_err *err);
/* The text of that grammar, in GBNF. *out: caller frees. */
kv_status schema_to_gbnf(const char *json, size_t len, const char *where, char **out, kv_err *err);

#endif
