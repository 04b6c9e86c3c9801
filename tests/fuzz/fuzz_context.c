/* .kv files, whose sums are made right first, so that what they say is looked at; and packed blocks of codec tc. The first byte
 * says which of them follows. */
#include "fuzz/fuzz.h"

#include "codec/codec_tc_pack.h"
#include "context/context_internal.h"

#include <xxhash.h>

enum { MOST_INDEX = 4, MOST_BYTES = 1 << 20, MOST_DIM = 80, MOST_BLOCKS = 4, MOST_KINDS = 8 };

/* ---- files ---- */

static void mend_rows(uint8_t *file, size_t table, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        ctx_row r;
        memcpy(&r, file + table + i * sizeof r, sizeof r);
        if (r.offset > table || r.bytes > table - r.offset || ctx_padding(r.offset + r.bytes) > table - r.offset - r.bytes)
            continue;
        r.sum = XXH3_64bits(file + r.offset, (size_t)r.bytes + ctx_padding(r.offset + r.bytes));
        memcpy(file + table + i * sizeof r, &r, sizeof r);
    }
}

static void mend(uint8_t *file, size_t size) {
    const ctx_head head = CTX_HEAD;
    ctx_tail tail;
    if (size < sizeof head + sizeof tail)
        return;
    const size_t end = size - sizeof tail;
    memcpy(&tail, file + end, sizeof tail);
    memcpy(tail.magic, CTX_TAIL_MAGIC, sizeof tail.magic);
    tail.bytes = size;
    if (tail.n <= end / sizeof(ctx_row) && tail.table == end - tail.n * sizeof(ctx_row)) {
        mend_rows(file, tail.table, tail.n);
        tail.table_sum = XXH3_64bits(file + tail.table, tail.n * sizeof(ctx_row));
    }
    tail.sum = XXH3_64bits(&tail, offsetof(ctx_tail, sum));
    memcpy(file + end, &tail, sizeof tail);
    memcpy(file, &head, sizeof head);
}

static void look(ctx_file *f, const char *path) {
    ctx_about about;
    ctx_coded coded;
    kv_err err;
    const void *data;
    size_t bytes;
    fuzz_said(ctx_file_about(f, &about, &err), &err, path);
    for (unsigned i = 0; i < CTX_KINDS * MOST_INDEX; i++) {
        const ctx_kind kind = (ctx_kind)(i / MOST_INDEX);
        kv_status st = ctx_file_coded(f, kind, i % MOST_INDEX, MOST_BYTES, &coded, &err);
        fuzz_said(st, &err, path);
        FUZZ_MUST(!coded.data || (coded.to && coded.raw <= MOST_BYTES));
        if (coded.data)
            memset(coded.to, 0x5a, coded.raw);
        st = ctx_file_section(f, kind, i % MOST_INDEX, MOST_BYTES, &data, &bytes, &err);
        fuzz_said(st, &err, path);
        FUZZ_MUST(!data || bytes <= MOST_BYTES);
        if (!st && data)
            FUZZ_MUST(XXH3_64bits(data, bytes) != 1); /* so that every byte is read */
    }
}

static void try_file(const uint8_t *data, size_t size) {
    char path[64];
    uint8_t *file = malloc(size + 1);
    ctx_file *f;
    kv_err err;
    FUZZ_MUST(file);
    memcpy(file, data, size);
    mend(file, size);
    const int fd = fuzz_file(file, size, path);
    kv_status st = ctx_file_open(path, true, NULL, NULL, &f, &err);
    fuzz_said(st, &err, path);
    if (!st)
        look(f, path);
    ctx_file_close(f);
    close(fd);
    free(file);
}

/* ---- packed blocks ---- */

typedef struct blocks {
    tc_layout layout;
    uint8_t bits[MOST_DIM];
    int8_t levels[TRELLIS_LEVELS];
    uint32_t of[MOST_BLOCKS * KV_BLOCK];
    kv_kinds kinds;
    uint32_t n;
} blocks;

/* The first eight bytes say how blocks are made. */
static void take_layout(const uint8_t *say, blocks *b) {
    b->layout = (tc_layout){say[0] % (MOST_DIM + 1), b->bits, b->levels, 0};
    for (size_t i = 0, most = 1 + say[1] % TRELLIS_MAX_BITS; i < b->layout.n; i++)
        b->layout.words += b->bits[i] = (uint8_t)(i < say[2] || most == 1 ? most : most - 1);
    for (size_t i = 0; i < TRELLIS_LEVELS; i++)
        b->levels[i] = (int8_t)(i * say[3]);
    b->kinds = (kv_kinds){b->of, say[4] % (MOST_BLOCKS * KV_BLOCK), 1 + say[5] % MOST_KINDS};
    for (uint32_t i = 0; i < b->kinds.len; i++)
        b->of[i] = i * say[6] % b->kinds.n;
    b->n = 1 + say[7] % MOST_BLOCKS;
}

/* What is unpacked can be packed, and comes out the same. */
static void pack_again(const blocks *b, const uint8_t *mem, size_t block_bytes) {
    const uint8_t *each[MOST_BLOCKS];
    const size_t all = b->n * block_bytes, room = 32 * all + 64; /* a bit takes 16 at most */
    uint8_t *packed = malloc(room), *back = malloc(all);
    kv_err err;
    FUZZ_MUST(packed && back);
    for (uint32_t i = 0; i < b->n; i++)
        each[i] = mem + i * block_bytes;
    const size_t bytes = tc_pack(&b->layout, &b->kinds, each, b->n, packed, room);
    FUZZ_MUST(bytes && !tc_unpack(&b->layout, &b->kinds, packed, bytes, back, b->n, &err));
    FUZZ_MUST(!memcmp(mem, back, all));
    free(packed);
    free(back);
}

static void try_blocks(const uint8_t *data, size_t size) {
    static blocks b;
    kv_err err;
    if (size < 8)
        return;
    take_layout(data, &b);
    const size_t block_bytes = b.layout.words * 8 + KV_BLOCK;
    uint8_t *mem = malloc(b.n * block_bytes);
    FUZZ_MUST(mem);
    const kv_status st = tc_unpack(&b.layout, &b.kinds, data + 8, size - 8, mem, b.n, &err);
    FUZZ_MUST(!st || (st == KV_EFORMAT && *err.msg));
    if (!st)
        pack_again(&b, mem, block_bytes);
    free(mem);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!size)
        return 0;
    if (*data % 2)
        try_blocks(data + 1, size - 1);
    else
        try_file(data + 1, size - 1);
    return 0;
}
