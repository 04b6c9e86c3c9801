/* ZIP archives in memory, of parts that are stored as they are. */
#ifndef ZIP_MAKE_H
#define ZIP_MAKE_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct zip_part {
    const char *name;
    const void *bytes;
    size_t n;
} zip_part;

static inline uint32_t zip_crc(const unsigned char *s, size_t n) {
    uint32_t crc = ~0u;
    for (size_t i = 0; i < n; i++) {
        crc ^= s[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (0xedb88320u & (0u - (crc & 1)));
    }
    return ~crc;
}

static inline char *zip_put(char *at, uint32_t value, int bytes) {
    for (; bytes; bytes--, value >>= 8)
        *at++ = (char)(value & 255);
    return at;
}

/* What local headers and the table at the end say alike. */
static inline char *zip_put_header(char *at, const zip_part *p) {
    const uint32_t name = (uint32_t)strlen(p->name);
    at = zip_put(at, 10, 2);         /* version */
    at = zip_put(at, 1 << 11, 2);    /* names are UTF-8 */
    at = zip_put(at, 0, 2);          /* stored */
    at = zip_put(at, 0x58210000, 4); /* 2024-01-01 */
    at = zip_put(at, zip_crc(p->bytes, p->n), 4);
    at = zip_put(at, (uint32_t)p->n, 4);
    at = zip_put(at, (uint32_t)p->n, 4);
    at = zip_put(at, name, 2);
    return zip_put(at, 0, 2); /* no more fields */
}

static inline char *zip_append(char *at, const void *bytes, size_t n) {
    if (n)
        memcpy(at, bytes, n);
    return at + n;
}

/* With a NUL behind it. Caller frees; NULL: out of memory. */
static inline char *zip_make(const zip_part *parts, size_t n, size_t *len) {
    size_t size = 23;
    for (size_t i = 0; i < n; i++)
        size += 76 + 2 * strlen(parts[i].name) + parts[i].n;
    char *zip = malloc(size), *at = zip;
    uint32_t *begins = malloc((n + 1) * sizeof *begins);
    for (size_t i = 0; zip && begins && i < n; i++) {
        begins[i] = (uint32_t)(at - zip);
        at = zip_put_header(zip_append(at, "PK\3\4", 4), &parts[i]);
        at = zip_append(zip_append(at, parts[i].name, strlen(parts[i].name)), parts[i].bytes, parts[i].n);
    }
    if (zip && begins) {
        const uint32_t table = (uint32_t)(at - zip);
        for (size_t i = 0; i < n; i++) {
            at = zip_put_header(zip_put(zip_append(at, "PK\1\2", 4), 20, 2), &parts[i]);
            at = zip_put(zip_put(zip_put(at, 0, 4), 0, 4), 0, 2); /* comment, disk; attributes inside and outside */
            at = zip_append(zip_put(at, begins[i], 4), parts[i].name, strlen(parts[i].name));
        }
        const uint32_t end = (uint32_t)(at - zip);
        at = zip_put(zip_append(at, "PK\5\6", 4), 0, 4);
        at = zip_put(zip_put(at, (uint32_t)n, 2), (uint32_t)n, 2);
        at = zip_put(zip_put(zip_put(at, end - table, 4), table, 4), 0, 2);
    }
    if (zip)
        *at = '\0';
    *len = (size_t)(at - zip);
    free(begins);
    return zip;
}

#endif
