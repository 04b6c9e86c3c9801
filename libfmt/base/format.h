/* Figures as text for people. */
#ifndef KV_FORMAT_H
#define KV_FORMAT_H

#include <stdint.h>

enum { FORMAT_BYTES = 24, FORMAT_DATE = 32 };

/* "17.3 MiB", units being powers of 1024. Returns buf. */
char *format_bytes(double bytes, char buf[FORMAT_BYTES]);
/* "512M", "1.5GiB" or "4096" -> bytes; K, M, G and T are powers of 1024. 0: not a size of 1 or more. */
uint64_t format_parse_bytes(const char *text);
/* "2026-03-01 17:05" of seconds since 1970, in the local time. Returns buf. */
char *format_date(int64_t seconds, char buf[FORMAT_DATE]);

#endif
