/* Tables that the search of libfmt/quant/trellis.h runs on, for AVX2 and what is above it; part of tc_search.h.
 *
 * A window has its place in every row of 16 numbers, so that a row serves all windows at once. There are
 *   level, border     levels in units, and search trees of the borders between them
 *   near              distances of every r from the nearest level of each window; rates of 2 to 4 bits
 *   below, above      levels on either side of every r; 5 and 6 bits
 * The last two take some thousand cycles to fill in, which pays from a few vectors on; one at a time does without.
 */

enum {
    PAD = 32,            /* numbers that may be read and written beyond the end */
    LEAST_NEAR_BITS = 2, /* with one bit there is nothing to gain, */
    MOST_NEAR_BITS = 4,  /* and with more this table would be long: then the others do better */
    MARGIN = 80,         /* units that distances are known beyond all levels */
    NEAR_ROWS = 2 * (2 * 128 + 256 + 3 * MARGIN),
    FINE_RATES = TRELLIS_MAX_BITS - MOST_NEAR_BITS,
};

typedef struct tables {
    int16_t level[TRELLIS_LEVELS], border[TRELLIS_LEVELS]; /* node k of the trees in row k, the roots in row 1 */
    size_t runs;                                           /* of dimensions with as many bits, */
    uint16_t end[TRELLIS_MAX_DIM];                         /* and where they end */
    uint8_t near[NEAR_ROWS][TRELLIS_WINDOWS];
    const uint8_t *zero[MOST_NEAR_BITS + 1];        /* row of r = 0 */
    int16_t reach[(TRELLIS_MAX_DIM + PAD) * SLOTS]; /* up to which |r| a dimension can use near, or -1; for each slot */
    int8_t below[FINE_RATES][256][TRELLIS_WINDOWS]; /* greatest level up to step i - 128 */
    int8_t above[FINE_RATES][256][TRELLIS_WINDOWS]; /* least level beyond it */
    float square[TRELLIS_MAX_DIM + PAD];            /* of the book, and zeros */
} tables;

/* The tree: a border below the level in the middle, then those in the middle of either half, and so on. */
static void fill_levels(unsigned bits, const int8_t *from, int16_t *level, int16_t *border) {
    const unsigned width = 1u << (bits - 1);
    const __m128i shift = _mm_cvtsi32_si128((int)trellis_shift(bits));
    for (size_t i = 0; i < (size_t)width * TRELLIS_WINDOWS; i += TRELLIS_WINDOWS) {
        __m256i x = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(from + i)));
        _mm256_storeu_si256((__m256i *)(level + i), _mm256_sll_epi16(x, shift));
    }
    for (unsigned half = width / 2; half; half /= 2)
        for (unsigned p = half; p < width; p += 2 * half) {
            const int16_t *l = level + (size_t)p * TRELLIS_WINDOWS;
            __m256i x = _mm256_loadu_si256((const __m256i *)l), y = _mm256_loadu_si256((const __m256i *)(l - TRELLIS_WINDOWS));
            border += TRELLIS_WINDOWS;
            _mm256_storeu_si256((__m256i *)border, _mm256_srai_epi16(_mm256_add_epi16(x, y), 1));
        }
}

/* All that one vector needs. */
static void fill_tables(const trellis_book *b, tables *t) {
    bool done[TRELLIS_MAX_BITS + 1] = {false};
    t->runs = 0;
    for (size_t i = 0; i < b->n; i++) {
        const unsigned bits = b->bits[i];
        const size_t from = trellis_table(bits);
        if (i + 1 < b->n && b->bits[i + 1] == bits)
            continue;
        t->end[t->runs++] = (uint16_t)(i + 1);
        if (!done[bits])
            fill_levels(bits, b->levels + from, t->level + from, t->border + from);
        done[bits] = true;
    }
    memcpy(t->square, b->square, b->n * sizeof *t->square);
    memset(t->square + b->n, 0, PAD * sizeof *t->square);
}

/* Distances from -half to half - 1: 0 at the levels, and one more for every step away from the nearest of them, to either side.
 */
static void fill_near(unsigned bits, const int16_t *level, uint8_t (*row)[TRELLIS_WINDOWS], int half) {
    const __m128i one = _mm_set1_epi8(1);
    __m128i up = _mm_set1_epi8(-1), down = up;
    memset(row, 255, 2 * (size_t)half * TRELLIS_WINDOWS);
    for (size_t i = 0; i < (size_t)TRELLIS_STATES << bits; i++)
        row[level[i] + half][i % TRELLIS_WINDOWS] = 0;
    for (int i = 0; i < 2 * half; i++) {
        __m128i *x = (__m128i *)row[i], *y = (__m128i *)row[2 * half - 1 - i];
        up = _mm_min_epu8(_mm_adds_epu8(up, one), _mm_loadu_si128(x));
        _mm_storeu_si128(x, up);
        down = _mm_min_epu8(_mm_adds_epu8(down, one), _mm_loadu_si128(y));
        _mm_storeu_si128(y, down);
    }
}

/* How far near can be used: distances must fit a byte, and stay within what the factor of a dimension allows. */
typedef struct range {
    int half, low, high, gap; /* rows on either side; where all windows have levels; greatest distance between these */
} range;

static range find_range(unsigned bits, const int16_t *level, int half) {
    range g = {half, -half, half, 0};
    const int16_t *last = level + (TRELLIS_STATES << bits) - TRELLIS_WINDOWS;
    int16_t gap[TRELLIS_WINDOWS] = {0};
    for (const int16_t *l = level; l < last; l += TRELLIS_WINDOWS)
        for (size_t w = 0; w < TRELLIS_WINDOWS; w++) {
            int16_t d = (int16_t)(l[w + TRELLIS_WINDOWS] - l[w]);
            gap[w] = d > gap[w] ? d : gap[w];
        }
    for (size_t w = 0; w < TRELLIS_WINDOWS; w++) {
        g.low = level[w] > g.low ? level[w] : g.low;
        g.high = last[w] < g.high ? last[w] : g.high;
        g.gap = (gap[w] + 1) / 2 > g.gap ? (gap[w] + 1) / 2 : g.gap;
    }
    return g;
}

static int reach(range g, int limit) {
    limit = limit < 255 ? limit : 255;
    int r = limit - g.low < limit + g.high ? limit - g.low : limit + g.high;
    return !g.half || limit < g.gap ? -1 : r < g.half ? r : g.half - 1;
}

/* Where there is no level below, or none above, the other one has to do. */
static void fill_neighbours(unsigned bits, const int8_t *level, int8_t (*below)[TRELLIS_WINDOWS],
                            int8_t (*above)[TRELLIS_WINDOWS]) {
    const size_t n = TRELLIS_STATES << bits;
    __m128i low = _mm_loadu_si128((const __m128i *)level);
    __m128i high = _mm_loadu_si128((const __m128i *)(level + n - TRELLIS_WINDOWS));
    memset(below, -128, 256 * TRELLIS_WINDOWS);
    memset(above, 127, 256 * TRELLIS_WINDOWS);
    for (size_t i = 0; i < n; i++)
        below[level[i] + 128][i % TRELLIS_WINDOWS] = above[level[i] + 128][i % TRELLIS_WINDOWS] = level[i];
    for (int i = 0; i < 256; i++) {
        __m128i *up = (__m128i *)below[i], *down = (__m128i *)above[255 - i], here = _mm_loadu_si128(down);
        low = _mm_max_epi8(low, _mm_loadu_si128(up));
        _mm_storeu_si128(up, low);
        _mm_storeu_si128(down, high);
        high = _mm_min_epi8(high, here);
    }
}

/* All that pays with more than a few. */
static void fill_look_ups(const trellis_book *b, tables *t) {
    range g[TRELLIS_MAX_BITS + 1] = {{0}};
    bool filled[FINE_RATES] = {false};
    uint8_t(*row)[TRELLIS_WINDOWS] = t->near;
    for (size_t i = 0; i < b->n; i++) {
        const unsigned bits = b->bits[i];
        if (!g[bits].half && bits >= LEAST_NEAR_BITS && bits <= MOST_NEAR_BITS) {
            const int half = (128 << trellis_shift(bits)) + MARGIN;
            const int16_t *level = t->level + trellis_table(bits);
            g[bits] = find_range(bits, level, half);
            fill_near(bits, level, row, half);
            t->zero[bits] = row[half];
            row += 2 * half;
        }
        const unsigned fine = bits - MOST_NEAR_BITS - 1;
        if (bits > MOST_NEAR_BITS && !filled[fine]) {
            fill_neighbours(bits, b->levels + trellis_table(bits), t->below[fine], t->above[fine]);
            filled[fine] = true;
        }
        const int r = reach(g[bits], b->weight[i].limit[0]);
        for (size_t j = 0; j < SLOTS; j++)
            t->reach[i * SLOTS + j] = (int16_t)r;
    }
}
