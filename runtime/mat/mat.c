/* Products of weight matrices with batches of activations: which path, how work is cut for threads and caches.
 *
 * int8 path: a thread takes a range of tiles, and sweeps over it with as many tokens at a time as fit in the second cache;
 * the kernel keeps the codes of some tiles in the first one while these tokens pass. Weights that stay in place are packed
 * into a tile of the thread's own first, for every sweep: the same kernels, so the same bits.
 * f32 path (exact mode, and F32, F16, BF16 weights): threads share out panels of 32 rows, which are dequantised and transposed
 * CHUNK columns at a time into a buffer on the stack; the fma chains continue from chunk to chunk, so the order of sums is
 * simply that of the columns. F32, F16 and BF16 weights that need not stay in place are transposed once, at load.
 * transposed (mat_mul_t): the same kernel with rows and columns of W changing places. A strip of 32 columns, T_ROWS rows of it
 * at a time, is a panel as it stands; threads first dequantise these rows together, then share out strips and tokens.
 */
#include "mat/mat.h"

#include "kernels/mat/format.h"
#include "mat/mat_pack.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum {
    PACK_TILES = 16,           /* of a thread at a time, while loading */
    CHUNK = 256,               /* columns of the f32 path at a time: a multiple of every block */
    TURN_COLS = 64,            /* columns transposed at a time: what is being written stays in the first cache */
    ACT_CHUNK_BYTES = 1 << 20, /* activations swept at a time */
    BATCH_PARTS = 8,           /* of a batch's product, for each thread */
    FEW_TOKENS = 8,            /* that widen weights faster than a buffer takes them up */
    T_ROWS = 256,              /* rows of the transposed product at a time: a panel of 32 KiB */
    T_TOKENS = 192,            /* tokens of one of its items */
};

struct rt_mat {
    const qtype_info *type;
    const uint8_t *data; /* the tensor as it lies in the file, borrowed */
    size_t rows, cols, row_bytes;
    bool int8;
    rt_mat_tiles tiles;    /* data: in the arena; NULL: f32 path only, or packed tile by tile when multiplied */
    const uint8_t *panels; /* in the arena: (panel, cols, 32 rows), elements as in the file; NULL: not transposed yet */
};

struct rt_act {
    rt_act_block *blocks; /* owned; mat/format.h says how they lie */
    size_t max_tok, max_cols;
    uint8_t *tiles; /* owned: one tile for each thread, tile_bytes apart, for weights that stay in place; or NULL */
    size_t tile_bytes;
    const float *x; /* borrowed */
    const rt_kernels *k;
    size_t n_tok, cols;
    bool quantised;
};

static void pack_tile(const rt_mat *m, size_t i, uint8_t *out) {
    rt_tile_pack(m->type->id, m->data + i * RT_TILE_ROWS * m->row_bytes, m->row_bytes, rt_tile_n_rows(&m->tiles, i), m->cols,
                 out);
}

/* Room for n pieces of a matrix. */
static kv_status take_room(const rt_mat *m, rt_arena *arena, size_t n, size_t bytes, uint8_t **out, kv_err *err) {
    if (bytes > SIZE_MAX / 2 / n)
        return kv_fail(err, KV_ENOMEM, "a matrix of %zu x %zu is too large", m->rows, m->cols);
    if (!(*out = rt_arena_take(arena, n * bytes)))
        return kv_fail(err, KV_ENOMEM, "out of memory for a matrix of %zu x %zu", m->rows, m->cols);
    return KV_OK;
}

typedef struct pack_job {
    const rt_mat *m;
    uint8_t *out;
} pack_job;

static void pack_tiles(void *arg, int thread, size_t first, size_t end) {
    (void)thread;
    const pack_job *j = arg;
    for (size_t i = first; i < end; i++)
        pack_tile(j->m, i, j->out + i * j->m->tiles.tile_bytes);
}

static kv_status pack(rt_mat *m, const rt_exec *e, rt_arena *arena, kv_err *err) {
    const size_t n_tiles = (m->rows + RT_TILE_ROWS - 1) / RT_TILE_ROWS;
    uint8_t *packed;
    kv_status st = take_room(m, arena, n_tiles, m->tiles.tile_bytes, &packed, err);
    if (st)
        return st;
    m->tiles.data = packed;
    rt_for(e, n_tiles, PACK_TILES, pack_tiles, &(pack_job){m, packed});
    return KV_OK;
}

static size_t n_panels(const rt_mat *m) {
    return (m->rows + RT_PANEL_ROWS - 1) / RT_PANEL_ROWS;
}

static size_t panel_rows(const rt_mat *m, size_t p) {
    const size_t left = m->rows - p * RT_PANEL_ROWS;
    return left < RT_PANEL_ROWS ? left : RT_PANEL_ROWS;
}

/* Rows of elements of `size` bytes, transposed; some columns at a time, so that what is being written stays in the first cache.
 */
static inline __attribute__((always_inline)) void transpose(const uint8_t *rows, size_t row_bytes, size_t n_rows, size_t cols,
                                                            size_t size, uint8_t *panel) {
    for (size_t at = 0; at < cols; at += TURN_COLS)
        for (size_t r = 0; r < n_rows; r++)
            for (size_t c = at; c < at + TURN_COLS && c < cols; c++)
                memcpy(panel + (c * RT_PANEL_ROWS + r) * size, rows + r * row_bytes + c * size, size);
}

static void fill_panels(void *arg, int thread, size_t first, size_t end) {
    (void)thread;
    const pack_job *j = arg;
    const rt_mat *m = j->m;
    const size_t bytes = RT_PANEL_ROWS * m->row_bytes;
    for (size_t p = first; p < end; p++) {
        const size_t n_rows = panel_rows(m, p);
        const uint8_t *rows = m->data + p * bytes;
        uint8_t *panel = j->out + p * bytes;
        if (n_rows < RT_PANEL_ROWS)
            memset(panel, 0, bytes);
        if (m->type->block_bytes == sizeof(float))
            transpose(rows, m->row_bytes, n_rows, m->cols, sizeof(float), panel);
        else
            transpose(rows, m->row_bytes, n_rows, m->cols, sizeof(uint16_t), panel);
    }
}

static kv_status pack_panels(rt_mat *m, const rt_exec *e, rt_arena *arena, kv_err *err) {
    uint8_t *packed;
    kv_status st = take_room(m, arena, n_panels(m), RT_PANEL_ROWS * m->row_bytes, &packed, err);
    if (st)
        return st;
    m->panels = packed;
    rt_for(e, n_panels(m), 1, fill_panels, &(pack_job){m, packed});
    return KV_OK;
}

kv_status mat_new(const gguf_tensor *t, const rt_exec *e, rt_arena *arena, rt_mat **out, kv_err *err) {
    int len = t->name.len < 100 ? (int)t->name.len : 100;
    if (t->n_dims > 2 || t->dims[0] == 0 || t->dims[1] == 0 || t->dims[0] % t->type->block_elems != 0)
        return kv_fail(err, KV_EFORMAT, "tensor '%.*s' cannot be a weight matrix: %u dimensions, %llu x %llu", len, t->name.s,
                       (unsigned)t->n_dims, (unsigned long long)t->dims[1], (unsigned long long)t->dims[0]);
    rt_mat *m = calloc(1, sizeof *m);
    if (!m)
        return kv_fail(err, KV_ENOMEM, "out of memory for tensor '%.*s'", len, t->name.s);
    m->type = t->type;
    m->data = t->data;
    m->cols = (size_t)t->dims[0];
    m->rows = (size_t)t->dims[1];
    m->row_bytes = m->cols / t->type->block_elems * t->type->block_bytes;
    kv_status st = KV_OK;
    if (rt_fmt_of(t->type->id) && !e->exact) {
        m->int8 = true;
        m->tiles = rt_tiles_of(t->type->id, m->rows, m->cols);
        if (!e->in_place)
            st = pack(m, e, arena, err);
    } else if (m->type->block_elems == 1 && !e->in_place) {
        st = pack_panels(m, e, arena, err);
    }
    if (st)
        mat_free(m);
    else
        *out = m;
    return st;
}

void mat_free(rt_mat *m) {
    free(m);
}

size_t mat_rows(const rt_mat *m) {
    return m->rows;
}

size_t mat_cols(const rt_mat *m) {
    return m->cols;
}

size_t mat_bytes(const rt_mat *m) {
    if (m->tiles.data)
        return (m->rows + RT_TILE_ROWS - 1) / RT_TILE_ROWS * m->tiles.tile_bytes;
    if (m->panels)
        return n_panels(m) * RT_PANEL_ROWS * m->row_bytes;
    return m->rows * m->row_bytes;
}

bool mat_is_copy(const rt_mat *m) {
    return m->tiles.data || m->panels;
}

bool mat_is_int8(const rt_mat *m) {
    return m->int8;
}

void mat_row(const rt_mat *m, size_t r, float *out) {
    m->type->dequant(m->data + r * m->row_bytes, out, m->cols);
}

kv_status act_new(size_t max_tok, size_t max_cols, const rt_exec *e, rt_act **out, kv_err *err) {
    size_t n_blocks = max_cols / RT_KBLOCK;
    if (max_tok == 0 || (n_blocks && max_tok > SIZE_MAX / 2 / sizeof(rt_act_block) / n_blocks))
        return kv_fail(err, KV_ENOMEM, "a batch of %zu tokens is not possible", max_tok);
    rt_act *a = calloc(1, sizeof *a);
    /* one block more, so that the size is never 0 */
    size_t bytes = (max_tok * n_blocks + 1) * sizeof(rt_act_block);
    if (a)
        a->blocks = rt_alloc(bytes);
    if (a && e->in_place) {
        a->tile_bytes = rt_tile_most_bytes(max_cols);
        a->tiles = rt_alloc((size_t)e->n_threads * a->tile_bytes);
    }
    if (!a || !a->blocks || (e->in_place && !a->tiles)) {
        act_free(a);
        return kv_fail(err, KV_ENOMEM, "out of memory for a batch of %zu tokens", max_tok);
    }
    a->max_tok = max_tok;
    a->max_cols = max_cols;
    *out = a;
    return KV_OK;
}

void act_free(rt_act *a) {
    if (a) {
        free(a->blocks);
        free(a->tiles);
    }
    free(a);
}

size_t act_bytes(const rt_act *a) {
    return (a->max_tok * (a->max_cols / RT_KBLOCK) + 1) * sizeof *a->blocks;
}

static void quantise(void *arg, int thread, size_t first, size_t end) {
    (void)thread;
    const rt_act *a = arg;
    const size_t n_blocks = a->cols / RT_KBLOCK;
    for (size_t t = first; t < end; t++) {
        const size_t start = t / RT_TOK_GROUP * RT_TOK_GROUP, left = a->n_tok - start;
        a->k->act_quant(a->x + t * a->cols, a->cols, a->blocks + start * n_blocks + (t - start),
                        left < RT_TOK_GROUP ? left : RT_TOK_GROUP);
    }
}

void act_set(rt_act *a, const rt_exec *e, const float *x, size_t n_tok, size_t cols) {
    assert(n_tok <= a->max_tok && cols <= a->max_cols);
    a->x = x;
    a->n_tok = n_tok;
    a->cols = cols;
    a->quantised = !e->exact && cols % RT_KBLOCK == 0;
    a->k = e->k;
    if (a->quantised)
        rt_for(e, n_tok, RT_TOK_GROUP, quantise, a);
}

/* n_tiles tiles from `first` on and n tokens; blocks and y are theirs. */
static void mul_tiles(const rt_mat *m, const rt_exec *e, const rt_act *a, int thread, size_t first, size_t n_tiles,
                      const rt_act_block *blocks, size_t n, float *y, size_t ldy) {
    rt_mat_tiles own = m->tiles;
    if (m->tiles.data) {
        e->k->mat_i8[own.fmt.id](&m->tiles, first, n_tiles, blocks, n, y + first * RT_TILE_ROWS, ldy);
        return;
    }
    uint8_t *data = a->tiles + (size_t)thread * a->tile_bytes;
    own.data = data;
    for (size_t i = first; i < first + n_tiles; i++) {
        own.rows = rt_tile_n_rows(&m->tiles, i);
        pack_tile(m, i, data);
        e->k->mat_i8[own.fmt.id](&own, 0, 1, blocks, n, y + i * RT_TILE_ROWS, ldy);
    }
}

/* Tokens of one sweep: as even parts as fit. */
static size_t sweep_tokens(size_t n_tok, size_t cols) {
    const size_t most = ACT_CHUNK_BYTES / (cols / RT_KBLOCK * sizeof(rt_act_block)) / RT_TOK_GROUP * RT_TOK_GROUP;
    const size_t sweeps = most ? (n_tok + most - 1) / most : n_tok;
    return ((n_tok + sweeps - 1) / sweeps + RT_TOK_GROUP - 1) / RT_TOK_GROUP * RT_TOK_GROUP;
}

/* Enough tokens that multiplying takes longer than reading weights. */
static bool is_batch(const rt_act *a) {
    return a->n_tok >= RT_TOK_GROUP;
}

/* Where part p of `parts` begins, of n tiles. Even parts where weights are read from end to end and little else is done. Those
 * of a batch become smaller and smaller, so that threads end together of which some are slower: kinds of cores differ, and
 * other programs run. */
static size_t part_start(size_t n, size_t p, size_t parts, bool batch) {
    const size_t left = parts - p;
    return batch ? n - n * left * left / (parts * parts) : n * p / parts;
}

/* Part p of `parts` of a product's rows. */
static void mul_part(const mat_out *o, const rt_exec *e, const rt_act *a, int thread, size_t p, size_t parts) {
    const rt_mat *m = o->m;
    const size_t n_tiles = (m->rows + RT_TILE_ROWS - 1) / RT_TILE_ROWS, n_blocks = m->cols / RT_KBLOCK;
    const bool batch = is_batch(a);
    const size_t first = part_start(n_tiles, p, parts, batch), end = part_start(n_tiles, p + 1, parts, batch);
    const size_t sweep = sweep_tokens(a->n_tok, m->cols);
    for (size_t t = 0; t < a->n_tok; t += sweep) {
        size_t n = a->n_tok - t < sweep ? a->n_tok - t : sweep;
        mul_tiles(m, e, a, thread, first, end - first, a->blocks + t * n_blocks, n, o->y + t * o->ldy, o->ldy);
    }
}

/* n elements of the matrix's type. */
static void dequant(const rt_mat *m, const rt_kernels *k, const uint8_t *src, size_t n, float *out) {
    if (m->type->id == QT_F16) /* tensors start at multiples of 8 */
        k->f16_load((const uint16_t *)(const void *)src, n, out);
    else
        m->type->dequant(src, out, n);
}

/* Columns c..c+n of one row, from where they lie in the file. */
static void load_row(const rt_mat *m, const rt_kernels *k, size_t row, size_t c, size_t n, float *out) {
    dequant(m, k, m->data + row * m->row_bytes + c / m->type->block_elems * m->type->block_bytes, n, out);
}

/* Columns c..c+n of n_rows rows, dequantised and transposed: panel (n, 32). Rows from n_rows on are zeros. */
static void fill_panel(const rt_mat *m, const rt_kernels *k, size_t row, size_t n_rows, size_t c, size_t n, float *panel) {
    enum { ROWS = 4 };
    _Static_assert(RT_PANEL_ROWS % ROWS == 0, "rows are transposed ROWS at a time");
    float w[ROWS][CHUNK];
    for (size_t r = 0; r < RT_PANEL_ROWS; r += ROWS) {
        for (size_t i = 0; i < ROWS; i++) {
            if (r + i < n_rows)
                load_row(m, k, row + r + i, c, n, w[i]);
            else
                memset(w[i], 0, n * sizeof(float));
        }
        for (size_t j = 0; j < n; j++)
            for (size_t i = 0; i < ROWS; i++)
                panel[j * RT_PANEL_ROWS + r + i] = w[i][j];
    }
}

/* From column c on of panel p, as it lies. */
static const void *panel_at(const rt_mat *m, size_t p, size_t c) {
    return m->panels + (p * m->cols + c) * RT_PANEL_ROWS * m->type->block_bytes;
}

/* Columns c..c+n of panel p in f32: in the buffer, or where they lie. */
static const float *load_panel(const rt_mat *m, const rt_kernels *k, size_t p, size_t c, size_t n, float *buffer) {
    if (m->panels && m->type->id == QT_F32)
        return panel_at(m, p, c);
    if (m->panels)
        dequant(m, k, panel_at(m, p, c), n * RT_PANEL_ROWS, buffer);
    else
        fill_panel(m, k, p * RT_PANEL_ROWS, panel_rows(m, p), c, n, buffer);
    return buffer;
}

/* For few tokens and the panel as it lies. */
static rt_panel *panel_kernel(const rt_mat *m, const rt_kernels *k) {
    return m->type->id == QT_F32 ? k->panel_f32 : m->type->id == QT_F16 ? k->panel_f16 : k->panel_bf16;
}

/* mul_part in f32. */
static void mul_part_f32(const mat_out *o, const rt_exec *e, const rt_act *a, size_t part, size_t parts) {
    const rt_mat *m = o->m;
    const bool few = a->n_tok <= FEW_TOKENS, as_it_lies = few && m->panels;
    rt_panel *multiply = as_it_lies ? panel_kernel(m, e->k) : few ? e->k->panel_f32 : e->k->mat_f32;
    const size_t end = part_start(n_panels(m), part + 1, parts, is_batch(a));
    for (size_t p = part_start(n_panels(m), part, parts, is_batch(a)); p < end; p++) {
        float *y = o->y + p * RT_PANEL_ROWS;
        _Alignas(64) float buffer[CHUNK * RT_PANEL_ROWS];
        for (size_t c = 0; c < m->cols; c += CHUNK) {
            const size_t n = m->cols - c < CHUNK ? m->cols - c : CHUNK;
            const void *panel = as_it_lies ? panel_at(m, p, c) : load_panel(m, e->k, p, c, n, buffer);
            multiply(panel, n, a->x + c, a->cols, a->n_tok, y, o->ldy, panel_rows(m, p), c == 0);
        }
    }
}

/* Products of the same activations, cut into parts. */
typedef struct mul_job {
    const mat_out *outs;
    size_t n, parts;
    const rt_exec *e;
    const rt_act *a;
} mul_job;

static void mul_parts(void *arg, int thread, size_t first, size_t end) {
    const mul_job *j = arg;
    for (size_t p = first; p < end; p++)
        for (size_t i = 0; i < j->n; i++)
            if (j->outs[i].m->int8 && j->a->quantised)
                mul_part(&j->outs[i], j->e, j->a, thread, p, j->parts);
            else
                mul_part_f32(&j->outs[i], j->e, j->a, p, j->parts);
}

void mat_mul_each(const mat_out *outs, size_t n, const rt_exec *e, const rt_act *a) {
    const size_t parts = (size_t)e->n_threads * (is_batch(a) ? BATCH_PARTS : 1);
    for (size_t i = 0; i < n; i++)
        assert(a->cols == outs[i].m->cols && outs[i].ldy >= outs[i].m->rows);
    rt_for(e, parts, 1, mul_parts, &(mul_job){outs, n, parts, e, a});
}

void mat_mul(const rt_mat *m, const rt_exec *e, const rt_act *a, float *y, size_t ldy) {
    mat_mul_each(&(mat_out){m, y, ldy}, 1, e, a);
}

/* ---- the transposed product ---- */

static size_t n_strips(const rt_mat *m) {
    return (m->cols + RT_PANEL_ROWS - 1) / RT_PANEL_ROWS;
}

size_t mat_t_floats(const rt_mat *m, size_t n_tok) {
    return T_ROWS * (n_strips(m) * RT_PANEL_ROWS + n_tok);
}

/* Row `row` to line r of every strip's panel (T_ROWS, 32). Columns past the last are zeros. */
static void spread_row(const rt_mat *m, const rt_kernels *k, size_t row, size_t r, float *panels) {
    float w[CHUNK];
    for (size_t c = 0; c < m->cols; c += CHUNK) {
        size_t n = m->cols - c < CHUNK ? m->cols - c : CHUNK;
        load_row(m, k, row, c, n, w);
        for (size_t i = 0; i < n; i += RT_PANEL_ROWS) {
            float *line = panels + ((c + i) / RT_PANEL_ROWS * T_ROWS + r) * RT_PANEL_ROWS;
            size_t some = n - i < RT_PANEL_ROWS ? n - i : RT_PANEL_ROWS;
            memcpy(line, w + i, some * sizeof *line);
            memset(line + some, 0, (RT_PANEL_ROWS - some) * sizeof *line);
        }
    }
}

/* T_ROWS rows, from `row` on, of the transposed product. */
typedef struct t_job {
    const rt_mat *m;
    const rt_kernels *k;
    const float *x;
    size_t n_tok, row, n; /* n of the T_ROWS */
    float *y, *panels;    /* panels: (strips, T_ROWS, 32) */
    float *part;          /* (n_tok, T_ROWS) of x, close together */
    bool first;           /* y is overwritten */
} t_job;

static void spread_rows(void *arg, int thread, size_t first, size_t end) {
    (void)thread;
    const t_job *j = arg;
    for (size_t r = first; r < end; r++)
        spread_row(j->m, j->k, j->row + r, r, j->panels);
}

static void gather_part(void *arg, int thread, size_t first, size_t end) {
    (void)thread;
    const t_job *j = arg;
    for (size_t t = first; t < end; t++)
        memcpy(j->part + t * T_ROWS, j->x + t * j->m->rows + j->row, j->n * sizeof *j->part);
}

static void mul_strips(void *arg, int thread, size_t first, size_t end) {
    (void)thread;
    const t_job *j = arg;
    const rt_mat *m = j->m;
    const size_t blocks = (j->n_tok + T_TOKENS - 1) / T_TOKENS;
    for (size_t i = first; i < end; i++) {
        const size_t c = i / blocks * RT_PANEL_ROWS, cols = m->cols - c < RT_PANEL_ROWS ? m->cols - c : RT_PANEL_ROWS;
        const size_t t = i % blocks * T_TOKENS, toks = j->n_tok - t < T_TOKENS ? j->n_tok - t : T_TOKENS;
        j->k->mat_f32(j->panels + c * T_ROWS, j->n, j->part + t * T_ROWS, T_ROWS, toks, j->y + t * m->cols + c, m->cols, cols,
                      j->first);
    }
}

void mat_mul_t(const rt_mat *m, const rt_exec *e, const float *x, size_t n_tok, float *y, bool add, float *scratch) {
    _Static_assert(CHUNK % RT_PANEL_ROWS == 0, "strips do not straddle chunks");
    const size_t strips = n_strips(m), blocks = (n_tok + T_TOKENS - 1) / T_TOKENS;
    t_job j = {.m = m, .k = e->k, .x = x, .n_tok = n_tok, .y = y, .panels = scratch, .first = !add};
    j.part = scratch + strips * T_ROWS * RT_PANEL_ROWS;
    for (j.row = 0; j.row < m->rows; j.row += T_ROWS, j.first = false) {
        j.n = m->rows - j.row < T_ROWS ? m->rows - j.row : T_ROWS;
        rt_for(e, j.n, 8, spread_rows, &j);
        rt_for(e, n_tok, 64, gather_part, &j);
        rt_for(e, strips * blocks, 1, mul_strips, &j);
    }
}
