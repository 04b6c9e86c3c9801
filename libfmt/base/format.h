/* Figures as text for people. */
#ifndef KV_FORMAT_H
#define KV_FORMAT_H

enum { FORMAT_BYTES = 24 };

/* "17.3 MiB", units being powers of 1024. Returns buf. */
char *format_bytes(double bytes, char buf[FORMAT_BYTES]);

#endif
