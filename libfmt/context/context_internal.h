/* The parts of a .kv file as they lie there; shared by its reader and its writer. */
#ifndef KV_CONTEXT_INTERNAL_H
#define KV_CONTEXT_INTERNAL_H

#include "context/context_file.h"

#include <errno.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error ".kv files are little-endian, and this processor is not"
#endif

/* The line breaks show whether somebody sent the file as text. */
typedef struct ctx_head {
    char magic[12];
    uint32_t version;
    uint8_t zeros[48];
} ctx_head;

#define CTX_MAGIC      "kvcalib\r\n\x1a\n"
#define CTX_TAIL_MAGIC "kv end\n"
#define CTX_HEAD       ((ctx_head){.magic = CTX_MAGIC, .version = CTX_VERSION})

/* How a section lies there. */
typedef enum ctx_how { CTX_PLAIN, CTX_ZSTD, CTX_CODED, CTX_HOWS } ctx_how;

typedef struct ctx_row {
    uint16_t kind, how;
    uint32_t index;
    uint64_t offset, bytes; /* as they lie there, without zeros at the end */
    uint64_t raw;           /* bytes once they are unpacked; the same where they are not packed */
    uint64_t sum;
} ctx_row;

typedef struct ctx_tail {
    char magic[8];
    uint32_t n, packed;
    uint64_t table; /* its offset; it ends where this begins */
    uint64_t bytes; /* of the file */
    uint64_t table_sum;
    uint8_t zeros[16];
    uint64_t sum; /* of all before it */
} ctx_tail;

_Static_assert(sizeof(ctx_head) == CTX_ALIGN && sizeof(ctx_row) == CTX_ROW && sizeof(ctx_tail) == 64, "as the header says");

/* Zeros that follow byte `at` of a file. */
static inline size_t ctx_padding(uint64_t at) {
    return (size_t)(-at % CTX_ALIGN);
}

#endif
