/* What filters and methods of texts share. */
#ifndef RT_TPL_TEXT_H
#define RT_TPL_TEXT_H

#include "template/tpl_internal.h"

/* Without white space at its ends, or without those of the characters that are in chars. */
tpl_value tpl_strip(tpl_run *r, const tpl_str *s, const tpl_str *chars, bool left, bool right);
/* most: of replacements, -1: all. */
tpl_value tpl_replace(tpl_run *r, const tpl_str *s, const tpl_str *old, const tpl_str *with, int64_t most);
tpl_value tpl_cased(tpl_run *r, const tpl_str *s, tpl_case to);
tpl_value tpl_capitalised(tpl_run *r, const tpl_str *s);
tpl_value tpl_split_lines(tpl_run *r, const tpl_str *s);
tpl_value tpl_padded(tpl_run *r, const tpl_str *s, int64_t width, char fill,
                     int side); /* text at -1: the left, 0: the middle, 1: the right */
tpl_value tpl_format_braces(tpl_run *r, const tpl_str *format, const tpl_call *call);
/* Are all letters that have a case of that case, and is there one? */
bool tpl_is_case(const tpl_str *s, tpl_case which);
/* Python's int(text, base) and float(text); false: it is none. */
bool tpl_read_int(tpl_run *r, const tpl_str *s, int64_t base, int64_t *out);
bool tpl_read_float(const tpl_str *s, double *out);

#endif
