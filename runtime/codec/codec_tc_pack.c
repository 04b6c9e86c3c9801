#include "codec/codec_tc_pack.h"

#include "codec/codec_planes.h"
#include "context/entropy.h"

#include <stdlib.h>
#include <string.h>

enum {
    STEPS = 16,          /* of guesses, */
    STEP = 1585000,      /* each 5.3 levels: steps = guess * STEP / gain / 65536 */
    SOURCES = 3,         /* the token before, the last few, the same kind */
    MOST_GAIN = 2047,    /* of 1/256, that numbers have room for */
    MOST_WEIGHT = 16000, /* of 1/16384 */
    MOST_GUESS = 4095,   /* also what learning is cut at */
    GAIN_TREES = 3,      /* where the kind is new, was seen a few times, or more often */
    FEW = 3,
    UNIT_GAIN = TRELLIS_UNIT * 16,  /* gains are guessed in 16ths of a code */
    MOST_GAIN_WEIGHT = 5 << 14,     /* of 1/65536 */
    CODES = TRELLIS_WINDOWS * STEPS /* contexts of codes of b bits begin at (TRELLIS_STATES * STEPS << b) - CODES */
};

/* Kinds are averaged over the last five or so: 65536 / (times seen + 1). */
static const int16_t mean_rate[] = {32767, 32767, 21845, 16384, 13107, 10923};
enum { MEAN_RATES = sizeof mean_rate / sizeof *mean_rate };

typedef struct model {
    const tc_layout *layout;
    ctx_coder coder;
    /* contexts */
    ctx_bit codes[(TRELLIS_STATES * STEPS << (TRELLIS_MAX_BITS + 1)) - CODES], gains[GAIN_TREES][256], no_gain, empty;
    /* of coefficients */
    int16_t weight[SOURCES][TRELLIS_MAX_DIM], source[SOURCES][TRELLIS_MAX_DIM], recent[TRELLIS_MAX_DIM]; /* recent: times 4 */
    int16_t guess[TRELLIS_MAX_DIM], step[TRELLIS_MAX_DIM];                                               /* guess: a quarter */
    int16_t level[TRELLIS_MAX_DIM], value[TRELLIS_MAX_DIM], off[TRELLIS_MAX_DIM];
    /* of gains */
    int32_t gain_weight[2], gain_source[2], gain_mean, gain_guess;
    uint8_t last_gain;
    /* of kinds */
    int16_t *kind_mean, *kind_gain;               /* (kinds, n), (kinds) */
    uint8_t *kind_seen;                           /* (kinds) up to 255 */
    uint8_t block[TRELLIS_MAX_DIM + 1][KV_BLOCK]; /* codes of a block, and gains behind the last */
} model;

static void free_model(model *m) {
    if (!m)
        return;
    free(m->kind_mean);
    free(m->kind_gain);
    free(m->kind_seen);
    free(m);
}

static model *new_model(const tc_layout *l, const kv_kinds *kinds) {
    model *m = calloc(1, sizeof *m);
    if (!m || !(m->kind_mean = calloc(kinds->n * l->n + 1, sizeof *m->kind_mean)) ||
        !(m->kind_gain = calloc(kinds->n + 1, sizeof *m->kind_gain)) || !(m->kind_seen = calloc(kinds->n + 1, 1))) {
        free_model(m);
        return NULL;
    }
    m->layout = l;
    for (size_t i = 0; i < sizeof m->codes / sizeof *m->codes; i++)
        m->codes[i] = CTX_BIT_NEW;
    for (size_t i = 0; i < sizeof m->gains / sizeof **m->gains; i++)
        m->gains[i / 256][i % 256] = CTX_BIT_NEW;
    m->no_gain = m->empty = CTX_BIT_NEW;
    for (size_t i = 0; i < l->n; i++) {
        m->weight[0][i] = m->weight[1][i] = 2000;
        m->weight[2][i] = 4000;
    }
    m->gain_weight[0] = m->gain_weight[1] = 20000;
    m->gain_mean = UNIT_GAIN;
    m->last_gain = TRELLIS_UNIT;
    return m;
}

static int between(int x, int low, int high) {
    return x < low ? low : x > high ? high : x;
}

/* Vectors of 16 bits have no other minimum. */
static inline int16_t cut(int16_t x, int16_t most) {
    x = x > most ? most : x;
    return x < -most ? (int16_t)-most : x;
}

/* Compiled once for each value of `decode`. */
#define FOLDED static inline __attribute__((always_inline))

/* ---- gains ---- */

/* In 256ths. */
static int gain_units(unsigned code) {
    return code ? (int)(32 + (code & 31)) << (code >> 5) : 0;
}

FOLDED unsigned code_gain(model *m, size_t kind, unsigned gain, const bool decode) {
    const unsigned seen = m->kind_seen[kind];
    m->gain_source[0] = m->last_gain * 16 - m->gain_mean;
    m->gain_source[1] = seen ? m->kind_gain[kind] - m->gain_mean : 0;
    m->gain_guess = m->gain_mean + ((m->gain_weight[0] * m->gain_source[0] + m->gain_weight[1] * m->gain_source[1]) >> 16);
    const unsigned guess = (unsigned)between((m->gain_guess + 8) >> 4, 0, 255);
    const unsigned tree = !seen ? 0 : seen <= FEW ? 1 : 2;
    return (ctx_code_bits(&m->coder, m->gains[tree], 8, (gain - guess + 128) & 255, decode) + guess - 128) & 255;
}

static void learn_gain(model *m, size_t kind, unsigned gain) {
    const int is = (int)gain * 16, off = is - m->gain_guess;
    for (int i = 0; i < 2; i++)
        m->gain_weight[i] = between(m->gain_weight[i] + (off * m->gain_source[i] >> 8), -MOST_GAIN_WEIGHT, MOST_GAIN_WEIGHT);
    m->gain_mean += (is - m->gain_mean + 16) >> 5;
    m->last_gain = (uint8_t)gain;
    const unsigned seen = m->kind_seen[kind];
    const int was = m->kind_gain[kind], rate = mean_rate[seen < MEAN_RATES ? seen : MEAN_RATES - 1];
    m->kind_gain[kind] = (int16_t)(seen ? was + ((is - was) * rate >> 16) : is);
}

/* ---- coefficients ---- */

/* Guesses of all dimensions, and their steps. */
static void guess(model *m, size_t kind, int gain) {
    const size_t n = m->layout->n;
    const int16_t scale = (int16_t)(gain && STEP / gain < INT16_MAX ? STEP / gain : gain ? INT16_MAX : 0);
    if (m->kind_seen[kind])
        memcpy(m->source[2], m->kind_mean + kind * n, n * sizeof *m->kind_mean);
    else
        memset(m->source[2], 0, n * sizeof *m->source[2]);
    for (size_t i = 0; i < n; i++)
        m->guess[i] = cut((int16_t)((m->weight[0][i] * m->source[0][i] >> 16) + (m->weight[1][i] * m->source[1][i] >> 16) +
                                    (m->weight[2][i] * m->source[2][i] >> 16)),
                          MOST_GUESS);
    for (size_t i = 0; i < n; i++) {
        int16_t step = (int16_t)(m->guess[i] * scale >> 16);
        step = step < -STEPS / 2 ? -STEPS / 2 : step;
        m->step[i] = (int16_t)((step > STEPS / 2 - 1 ? STEPS / 2 - 1 : step) + STEPS / 2);
    }
}

/* The codes of slot t of the block. */
FOLDED void code_slot(model *m, size_t t, const bool decode) {
    const tc_layout *l = m->layout;
    ctx_coder e = m->coder; /* in registers */
    unsigned window = 0;
    for (size_t i = 0; i < l->n; i++) {
        const unsigned b = l->bits[i], state = window % TRELLIS_STATES, is = m->block[i][t];
        ctx_bit *tree = m->codes + ((TRELLIS_STATES * STEPS << b) - CODES) + ((state * STEPS + (unsigned)m->step[i]) << b);
        const unsigned path = ctx_code(&e, &tree[1], is & 1, decode);
        unsigned node = 2 + path;
        for (unsigned k = b - 1; k > 0; k--)
            node = node * 2 + ctx_code(&e, &tree[node], is >> k & 1, decode);
        window = (window * 2 + path) % TRELLIS_WINDOWS;
        const unsigned which = node & ((1u << (b - 1)) - 1);
        m->block[i][t] = (uint8_t)(which << 1 | path);
        m->level[i] = l->levels[trellis_table(b) + which * TRELLIS_WINDOWS + window];
    }
    m->coder = e;
}

static void learn(model *m, size_t kind, int gain) {
    const size_t n = m->layout->n;
    const unsigned seen = m->kind_seen[kind];
    const int16_t rate = mean_rate[seen < MEAN_RATES ? seen : MEAN_RATES - 1];
    int16_t *mean = m->kind_mean + kind * n;
    for (size_t i = 0; i < n; i++)
        m->value[i] = (int16_t)((m->level[i] * gain + 16) >> 5);
    for (size_t i = 0; i < n; i++)
        m->off[i] = (int16_t)(cut((int16_t)(m->value[i] - m->guess[i] * 4), MOST_GUESS) * 8);
    for (int s = 0; s < SOURCES; s++)
        for (size_t i = 0; i < n; i++) {
            const int16_t x = (int16_t)(cut(m->source[s][i], MOST_GUESS) * 8);
            m->weight[s][i] = cut((int16_t)(m->weight[s][i] + (m->off[i] * x >> 16)), MOST_WEIGHT);
        }
    for (size_t i = 0; i < n; i++) {
        m->recent[i] = (int16_t)(m->recent[i] - (m->recent[i] >> 2) + m->value[i]);
        m->source[1][i] = m->recent[i] >> 2;
    }
    memcpy(m->source[0], m->value, n * sizeof *m->value);
    if (!seen)
        memcpy(mean, m->value, n * sizeof *mean);
    else
        for (size_t i = 0; i < n; i++)
            mean[i] = (int16_t)(mean[i] + ((int16_t)(m->value[i] - mean[i]) * rate >> 16));
}

/* ---- slots and blocks ---- */

static bool has_codes(const model *m, size_t t) {
    unsigned any = 0;
    for (size_t i = 0; i < m->layout->n; i++)
        any |= m->block[i][t];
    return any != 0;
}

FOLDED void code_token(model *m, size_t kind, size_t t, const bool decode) {
    uint8_t *gain = &m->block[m->layout->n][t];
    const bool none = ctx_code(&m->coder, &m->no_gain, !*gain, decode);
    if (none && ctx_code(&m->coder, &m->empty, !decode && !has_codes(m, t), decode)) {
        for (size_t i = 0; i <= m->layout->n; i++) /* a slot without a token */
            m->block[i][t] = 0;
        return;
    }
    *gain = none ? 0 : (uint8_t)code_gain(m, kind, *gain, decode);
    const int units = between(gain_units(*gain), 0, MOST_GAIN);
    guess(m, kind, units);
    code_slot(m, t, decode);
    if (none) /* which says nothing of others */
        return;
    learn(m, kind, units);
    learn_gain(m, kind, *gain);
    m->kind_seen[kind] += m->kind_seen[kind] < UINT8_MAX;
}

static size_t kind_of(const kv_kinds *kinds, size_t slot) {
    return slot < kinds->len ? kinds->of[slot] : 0;
}

static void take_block(model *m, const uint8_t *block) {
    const tc_layout *l = m->layout;
    const uint64_t *planes = (const uint64_t *)block;
    for (size_t i = 0; i < l->n; planes += l->bits[i], i++)
        kv_planes_get(planes, l->bits[i], m->block[i]);
    memcpy(m->block[l->n], block + l->words * sizeof *planes, KV_BLOCK);
}

static void put_block(const model *m, uint8_t *block) {
    const tc_layout *l = m->layout;
    uint64_t *planes = (uint64_t *)block;
    for (size_t i = 0; i < l->n; planes += l->bits[i], i++)
        kv_planes_put(planes, l->bits[i], 0, KV_BLOCK, m->block[i]);
    memcpy(block + l->words * sizeof *planes, m->block[l->n], KV_BLOCK);
}

size_t tc_pack(const tc_layout *l, const kv_kinds *kinds, const uint8_t *const *blocks, uint32_t n, uint8_t *out, size_t most) {
    model *m = new_model(l, kinds);
    if (!m)
        return 0;
    ctx_coder_start(&m->coder, out, most);
    for (size_t b = 0; b < n && !m->coder.full; b++) {
        take_block(m, blocks[b]);
        for (size_t t = 0; t < KV_BLOCK; t++)
            code_token(m, kind_of(kinds, b * KV_BLOCK + t), t, false);
    }
    const size_t bytes = ctx_coder_end(&m->coder, false) ? m->coder.at : 0;
    free_model(m);
    return bytes;
}

kv_status tc_unpack(const tc_layout *l, const kv_kinds *kinds, const uint8_t *in, size_t bytes, uint8_t *blocks, uint32_t n,
                    kv_err *err) {
    const size_t block_bytes = l->words * sizeof(uint64_t) + KV_BLOCK;
    model *m = new_model(l, kinds);
    if (!m)
        return kv_fail(err, KV_ENOMEM, "out of memory for unpacking");
    ctx_coder_read(&m->coder, in, bytes);
    for (size_t b = 0; b < n && m->coder.at <= bytes + 2 * sizeof(uint64_t); b++) {
        for (size_t t = 0; t < KV_BLOCK; t++)
            code_token(m, kind_of(kinds, b * KV_BLOCK + t), t, true);
        put_block(m, blocks + b * block_bytes);
    }
    const bool whole = ctx_coder_end(&m->coder, true);
    free_model(m);
    return whole ? KV_OK : kv_fail(err, KV_EFORMAT, "packed codes that nobody packed");
}
