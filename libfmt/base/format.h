/* Figures as text for people. */
#ifndef KV_FORMAT_H
#define KV_FORMAT_H

#include <stdbool.h>
#include <stdint.h>

enum { FORMAT_BYTES = 24, FORMAT_DATE = 32 };

/* "17.3 MiB", units being powers of 1024. Returns buf. */
char *format_bytes(double bytes, char buf[FORMAT_BYTES]);
/* "2026-03-01 17:05" of seconds since 1970, in the local time. Returns buf. */
char *format_date(int64_t seconds, char buf[FORMAT_DATE]);
/* "500M", "1.5G", "2GiB", "4096": a number of bytes, in units of powers of 1024, as people write it. False: it is none. */
bool parse_bytes(const char *s, int64_t *out);

#endif
