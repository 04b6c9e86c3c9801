/* The page at /, as page/embed.cmake makes it of the files in page/ when the programs are built. */
#ifndef SERVE_PAGE_H
#define SERVE_PAGE_H

#include <stddef.h>

typedef struct sv_page {
    const unsigned char *bytes;
    size_t n;
    const char *etag;           /* with its quotes */
    const char *const *headers; /* as sv_exchange has them; Content-Security-Policy knows the sums of style and script */
} sv_page;

extern const sv_page page_plain, page_gzip;

#endif
