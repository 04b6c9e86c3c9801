/* Eviction against a plain model in double that keeps a list of tokens per head, scores them by the definition of each policy,
 * and attends to those that are left. Then: what must not depend on batch, threads or instruction set, and what is refused. */
#include "cache/state.h"
#include "held_fixture.h"

enum { LEAST_STEP = 16, N = 700, MAX_HEADS = 4 };

/* ---- the plain model ---- */

/* One KV head. */
typedef struct head {
    held k, v;
    bool *kept; /* by position, like all that follow */
    double *score, *weight;
    uint32_t *slot;
    uint32_t budget, next, shift;
} head;

typedef struct model {
    const fixture *f;
    uint32_t layer, group;
    bool exact; /* no state of tokens in this layer: window and sinks mean nothing to codecs */
    head h[MAX_HEADS];
} model;

static uint32_t step(uint32_t budget) {
    return budget >= 512 ? 64 : budget >= 256 ? 32 : LEAST_STEP;
}

static uint32_t slack(uint32_t budget) {
    const uint32_t s = step(budget);
    return budget / 8 / s ? budget / 8 / s * s : s;
}

static uint32_t held_by(const head *h, uint32_t len) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < len; i++)
        n += h->kept[i];
    return n;
}

/* Newest tokens that stay. */
static uint32_t recent(const model *m, const head *h) {
    const kv_evict_cfg *e = &m->f->cfg.evict;
    double near = e->near * h->budget, most = h->budget - (double)slack(h->budget) - m->f->cfg.sinks;
    near = floor(fmin(near, most));
    return near > e->recent ? (uint32_t)near : e->recent;
}

static uint32_t encoded(const model *m, uint32_t len) {
    return m->exact ? len : fix_encoded(m->f, m->layer, len);
}

static uint32_t after(uint32_t budget, uint32_t n, uint32_t now) {
    uint32_t at = now / step(budget) * step(budget);
    do
        at += step(budget);
    while (n + (at - now) + step(budget) <= budget);
    return at;
}

static void plan(model *m, uint32_t now) {
    const uint32_t n = m->f->cfg.n_kv_head;
    uint32_t sum = 0, all = 0;
    for (uint32_t i = 0; i < n; i++) {
        m->h[i].next = after(m->h[i].budget, held_by(&m->h[i], now), now);
        sum += held_by(&m->h[i], now);
        all += m->h[i].budget;
    }
    for (uint32_t i = 0; m->f->cfg.evict.ada && i < n; i++) {
        m->h[i].next = after(all / n, (sum + n - 1) / n, now);
        if (now && m->h[i].next > now + slack(all / n))
            m->h[i].next = now + slack(all / n);
    }
}

static void model_init(model *m, const fixture *f, uint32_t layer, uint32_t budget) {
    *m = (model){.f = f, .layer = layer, .group = f->cfg.n_head / f->cfg.n_kv_head, .exact = true};
    for (uint32_t i = 0; i < f->cfg.n_kv_head; i++) {
        const uint32_t stream = layer * f->cfg.n_kv_head + i;
        m->exact &= f->k[stream].id <= KV_F16 && f->v[stream].id <= KV_F16;
        m->h[i] = (head){.k = hold(f, layer, i, KV_SIDE_K), .v = hold(f, layer, i, KV_SIDE_V), .budget = budget};
        m->h[i].kept = calloc(f->n_tok, sizeof(bool));
        m->h[i].score = calloc(f->n_tok, sizeof(double));
        m->h[i].weight = calloc(f->n_tok, sizeof(double));
        m->h[i].slot = calloc(f->n_tok, sizeof(uint32_t));
    }
    plan(m, 0);
}

static void model_drop(model *m) {
    for (uint32_t i = 0; i < m->f->cfg.n_kv_head; i++) {
        release(m->h[i].k);
        release(m->h[i].v);
        free(m->h[i].kept);
        free(m->h[i].score);
        free(m->h[i].weight);
        free(m->h[i].slot);
    }
}

static const double *read_as(const model *m, held x, uint32_t i, uint32_t j) {
    return (!m->exact && reads_full(m->f, m->layer, i, j) ? x.full : x.coded) + (size_t)j * m->f->cfg.head_dim;
}

/* Weights p of one query at position i over what its head holds. */
static void weigh(const model *m, const head *h, const double *q, uint32_t i, double *p) {
    double top = -INFINITY, sum = 0;
    for (uint32_t j = 0; j <= i; j++) {
        const double *key = read_as(m, h->k, i, j);
        p[j] = h->kept[j] ? 0 : -INFINITY;
        for (uint32_t d = 0; h->kept[j] && d < m->f->cfg.head_dim; d++)
            p[j] += key[d] * q[d] * m->f->scale;
        p[j] += h->kept[j] ? log(h->weight[j]) : 0;
        top = fmax(top, p[j]);
    }
    for (uint32_t j = 0; j <= i; j++)
        sum += p[j] = exp(p[j] - top);
    for (uint32_t j = 0; j <= i; j++)
        p[j] /= sum;
}

/* Reads by queries at least `recent` behind count. */
static void observe(const model *m, head *h, uint32_t i, const double *p) {
    const kv_evict_cfg *e = &m->f->cfg.evict;
    const uint32_t last = e->policy == KV_EVICT_H2O || e->policy == KV_EVICT_MERGE ? UINT32_MAX
                          : e->policy == KV_EVICT_SNAPKV                           ? e->observe
                          : e->policy == KV_EVICT_TOVA                             ? 1
                                                                                   : 0;
    for (uint32_t j = 0; h->next - i <= last && j < encoded(m, i + 1) && j + recent(m, h) <= i; j++)
        h->score[j] += p[j];
}

static void attend(model *m, uint32_t i, double *out) {
    const uint32_t dim = m->f->cfg.head_dim;
    double p[N], q[PROF_MAX_DIM];
    memset(out, 0, (size_t)m->f->cfg.n_head * dim * sizeof *out);
    for (uint32_t g = 0; g < m->f->cfg.n_head; g++, out += dim) {
        head *h = &m->h[g / m->group];
        h->kept[i] = true;
        h->weight[i] = 1;
        h->slot[i] = i - h->shift;
        for (uint32_t d = 0; d < dim; d++)
            q[d] = m->f->q[m->layer][((size_t)i * m->f->cfg.n_head + g) * dim + d];
        weigh(m, h, q, i, p);
        for (uint32_t j = 0; j <= i; j++)
            for (uint32_t d = 0; h->kept[j] && d < dim; d++)
                out[d] += p[j] * read_as(m, h->v, i, j)[d];
        observe(m, h, i, p);
    }
}

static bool may_go(const model *m, const head *h, uint32_t len, uint32_t j) {
    return h->kept[j] && j >= m->f->cfg.sinks && j < encoded(m, len) && j + recent(m, h) < len;
}

/* Queries as calibrated, at four distances ahead, pairs of adjacent dimensions rotated. */
static void expect(model *m, uint32_t index, uint32_t len) {
    static const uint32_t ahead[] = {1, 64, 192, 448};
    const kv_rope *rope = &m->f->cfg.rope;
    head *h = &m->h[index];
    double p[N], q[PROF_MAX_DIM];
    memset(h->score, 0, m->f->n_tok * sizeof *h->score);
    for (size_t a = 0; a < 4 * PROF_QUERIES; a++) {
        const float *from = m->f->cfg.evict.queries[m->layer] + (index * PROF_QUERIES + a % PROF_QUERIES) * m->f->cfg.head_dim;
        for (uint32_t d = 0; d < m->f->cfg.head_dim; d++)
            q[d] = from[d];
        for (uint32_t d = 0; d < rope->n_rot; d += 2) {
            const double angle = (len - 1.0 + ahead[a / PROF_QUERIES]) * rope->inv_freq[d / 2];
            q[d] = from[d] * cos(angle) - from[d + 1] * sin(angle);
            q[d + 1] = from[d + 1] * cos(angle) + from[d] * sin(angle);
        }
        bool was[N];
        memcpy(was, h->kept, sizeof was);
        for (uint32_t j = 0; j < len; j++)
            h->kept[j] = was[j] && j < encoded(m, len) && (m->exact || j >= m->f->cfg.sinks);
        weigh(m, h, q, len - 1, p);
        memcpy(h->kept, was, sizeof was);
        for (uint32_t j = 0; j < len; j++)
            h->score[j] += p[j];
    }
}

/* Before its codec. */
static double key_as_stored(const model *m, uint32_t index, uint32_t j, uint32_t d) {
    const fixture *f = m->f;
    const float x = f->key[m->layer][((size_t)j * f->cfg.n_kv_head + index) * f->cfg.head_dim + d];
    return f->cfg.window && f->k[m->layer * f->cfg.n_kv_head + index].id > KV_F16 ? to_f16(x) : x;
}

/* What position j's key is worth at an eviction. */
static double worth(const model *m, const head *h, uint32_t j) {
    double norm = 0;
    switch (m->f->cfg.evict.policy) {
    case KV_EVICT_STREAMING:
        return j;
    case KV_EVICT_KNORM:
        for (uint32_t d = 0; d < m->f->cfg.head_dim; d++)
            norm += pow(key_as_stored(m, (uint32_t)(h - m->h), j, d), 2);
        return -sqrt(norm);
    default:
        return h->score[j];
    }
}

typedef struct candidate {
    uint32_t head, pos;
    double worth;
} candidate;

static int by_worth(const void *a, const void *b) {
    const candidate *x = a, *y = b;
    return x->worth != y->worth ? (x->worth < y->worth ? 1 : -1) : x->pos < y->pos ? 1 : -1;
}

/* Candidates of one head, the best first. */
static uint32_t rank(const model *m, uint32_t index, uint32_t len, candidate *out) {
    const head *h = &m->h[index];
    uint32_t slots[N], n = 0;
    for (uint32_t j = 0; j < len; j++)
        if (may_go(m, h, len, j))
            slots[n++] = j;
    for (uint32_t i = 0; i < n; i++) {
        double w = worth(m, h, slots[i]);
        const uint32_t reach = m->f->cfg.evict.policy == KV_EVICT_SNAPKV ? m->f->cfg.evict.pool / 2 : 0;
        for (uint32_t k = i > reach ? i - reach : 0; reach && k < n && k <= i + reach; k++)
            w = fmax(w, h->score[slots[k]]);
        out[i] = (candidate){index, slots[i], w};
    }
    qsort(out, n, sizeof *out, by_worth);
    return n;
}

static double cosine(const double *x, const double *y, uint32_t dim) {
    double xy = 0, xx = 0, yy = 0;
    for (uint32_t d = 0; d < dim; d++) {
        xy += x[d] * y[d];
        xx += x[d] * x[d];
        yy += y[d] * y[d];
    }
    return xy / sqrt(xx * yy);
}

/* Token i becomes part of token to, whose keys and values are sums for now. */
static void fold_into(const model *m, head *h, uint32_t i, uint32_t to) {
    const uint32_t dim = m->f->cfg.head_dim;
    held *x[] = {&h->k, &h->v};
    for (int side = 0; side < 2; side++)
        for (uint32_t d = 0; d < dim; d++) {
            double *sum = &x[side]->coded[to * dim + d];
            *sum = (h->weight[to] * *sum + h->weight[i] * x[side]->coded[i * dim + d]) / (h->weight[to] + h->weight[i]);
        }
    h->weight[to] += h->weight[i];
    h->score[to] += h->score[i];
}

/* Tokens that are gone, among `n` candidates, join the kept candidate of their block that is most like them, as it was. */
static void fold(const model *m, head *h, const candidate *own, uint32_t n) {
    const uint32_t dim = m->f->cfg.head_dim;
    uint32_t target[N];
    for (uint32_t i = 0; i < n; i++) {
        double best = 0.5;
        target[i] = N;
        for (uint32_t c = 0; c < n && !h->kept[own[i].pos]; c++) {
            const double alike = cosine(h->k.coded + own[i].pos * dim, h->k.coded + own[c].pos * dim, dim);
            if (h->kept[own[c].pos] && h->slot[own[c].pos] / 64 == h->slot[own[i].pos] / 64 && alike >= best) {
                best = alike;
                target[i] = own[c].pos;
            }
        }
    }
    for (uint32_t i = 0; i < n; i++)
        if (target[i] < N)
            fold_into(m, h, own[i].pos, target[i]);
}

/* What is kept of the encoded tokens stands right before those that come. */
static void number(const model *m, head *h, uint32_t len) {
    const uint32_t sinks = m->exact ? 0 : m->f->cfg.sinks, end = encoded(m, len);
    uint32_t n = 0, at;
    for (uint32_t j = sinks; j < end; j++)
        n += h->kept[j];
    const uint32_t down = (end - h->shift - n - sinks) / 64 * 64;
    h->shift += down;
    at = end - h->shift - n;
    for (uint32_t j = sinks; j < len; j++)
        h->slot[j] = j >= end ? j - h->shift : h->kept[j] ? at++ : 0;
}

static void evict(model *m, uint32_t len) {
    const bool ada = m->f->cfg.evict.ada;
    candidate all[MAX_HEADS * N];
    uint32_t n_all = 0, most_all = 0;
    bool any = false;
    for (uint32_t i = 0; i < m->f->cfg.n_kv_head; i++) {
        head *h = &m->h[i];
        if (h->next != len)
            continue;
        any = true;
        if (m->f->cfg.evict.policy == KV_EVICT_EXPECTED)
            expect(m, i, len);
        candidate own[N];
        const uint32_t n = rank(m, i, len, own), stay = held_by(h, len) - n, may = h->budget - slack(h->budget);
        const uint32_t most = may > stay ? (may - stay < n ? may - stay : n) : 0;
        for (uint32_t c = 0; c < n; c++) {
            h->kept[own[c].pos] = !ada && c < most;
            if (ada && c < most / 5)
                own[c].worth = INFINITY; /* safe */
            all[n_all++] = own[c];
        }
        most_all += most;
        if (m->f->cfg.evict.policy == KV_EVICT_MERGE)
            fold(m, h, own, n);
        number(m, h, len);
        if (m->f->cfg.evict.policy == KV_EVICT_SNAPKV || m->f->cfg.evict.policy == KV_EVICT_TOVA)
            memset(h->score, 0, m->f->n_tok * sizeof *h->score);
    }
    if (ada && any) {
        qsort(all, n_all, sizeof *all, by_worth);
        for (uint32_t c = 0; c < most_all && c < n_all; c++)
            m->h[all[c].head].kept[all[c].pos] = true;
    }
    if (any)
        plan(m, len);
}

/* Largest difference of answers, all tokens, both layers. */
static double compare(const fixture *f, rt_cpu isa, uint32_t batch, uint32_t budget) {
    const uint32_t row = f->cfg.n_head * f->cfg.head_dim;
    float *out = malloc((size_t)FIX_LAYERS * f->n_tok * row * sizeof *out);
    double *want = malloc(row * sizeof *want), err = 0;
    rt_exec e = fix_exec(isa, 1);
    kv_cache *c = NULL;
    kv_err why = {0};
    if (kv_cache_new(&f->cfg, &e, &c, &why))
        fail_msg("%s", why.msg);
    assert_int_equal(fix_feed(f, c, &e, f->n_tok, batch, out, NULL, NULL), KV_OK);
    for (uint32_t l = 0; l < FIX_LAYERS; l++) {
        model m;
        model_init(&m, f, l, budget);
        for (uint32_t i = 0; i < f->n_tok; i++) {
            attend(&m, i, want);
            for (uint32_t d = 0; d < row; d++)
                err = fmax(err, fabs(want[d] - out[((size_t)l * f->n_tok + i) * row + d]));
            evict(&m, i + 1);
        }
        model_drop(&m);
    }
    free(out);
    free(want);
    kv_cache_free(c);
    return err;
}

/* ---- tests ---- */

static float inv_freq[2 * 16];
static float *queries[FIX_LAYERS];

static void fix_evict(fixture *f, uint32_t n_head, uint32_t n_kv_head) {
    fix_init(f, n_head, n_kv_head, 32, N);
    for (int i = 0; i < 32; i++)
        inv_freq[i] = (float)pow(0.8, i % 16);
    for (uint32_t l = 0; l < FIX_LAYERS; l++)
        queries[l] = rnd_fill((size_t)n_kv_head * PROF_QUERIES * 32, 50 + l);
    f->cfg.n_batch = 200;
    f->cfg.rope = (kv_rope){inv_freq, 32, false, NULL};
    f->cfg.evict = (kv_evict_cfg){
        .recent = 20, .observe = 30, .pool = 5, .budget = {.tokens = 300}, .queries = (const float *const *)queries};
}

static void drop_evict(fixture *f) {
    for (uint32_t l = 0; l < FIX_LAYERS; l++)
        free(queries[l]);
    fix_drop(f);
}

static void check(const fixture *f, uint32_t budget) {
    const double err = compare(f, rt_cpu_detect(), 90, budget);
    if (!(err < tolerance(f)))
        fail_msg("policy %s, ada %d, K %s, V %s, window %u: off by %g", kv_evict_names[f->cfg.evict.policy].name,
                 f->cfg.evict.ada, kv_codec_names[f->k[0].id].name, kv_codec_names[f->v[0].id].name, f->cfg.window, err);
}

static void evict_keeps_what_each_policy_says(void **state) {
    (void)state;
    fixture f;
    fix_evict(&f, 4, 2);
    fix_codecs(&f, KV_F32, KV_F32);
    f.cfg.sinks = 4;
    for (kv_evict_id p = KV_EVICT_STREAMING; p < KV_EVICT_MERGE; p++)
        for (int ada = 0; ada < 2; ada++) {
            f.cfg.evict.policy = p;
            f.cfg.evict.ada = ada;
            f.cfg.evict.near = ada ? 0.4f : 0;
            check(&f, 300);
        }
    f.cfg.evict.ada = false;
    for (int i = 0; i < 3; i++) { /* as small as can be: next to nothing is left to choose */
        f.cfg.evict.policy = KV_EVICT_TOVA;
        f.cfg.evict.near = i * 0.5f;
        f.cfg.evict.budget.tokens = 4 + 20 + LEAST_STEP;
        check(&f, 4 + 20 + LEAST_STEP);
    }
    drop_evict(&f);
}

/* Budgets as small as those that papers quote: each policy has tokens to choose, and chooses in its own way. */
static void evict_chooses_within_small_budgets(void **state) {
    (void)state;
    static const uint32_t budgets[] = {64, 128, 511};
    fixture f;
    fix_evict(&f, 4, 2);
    fix_codecs(&f, KV_Q8_0, KV_Q8_0);
    f.cfg.sinks = 4;
    f.cfg.window = 16;
    f.cfg.evict.near = 0.5f;
    for (size_t b = 0; b < sizeof budgets / sizeof *budgets; b++) {
        uint64_t digest[KV_EVICT_COUNT];
        f.cfg.evict.budget.tokens = budgets[b];
        for (kv_evict_id p = KV_EVICT_STREAMING; p < KV_EVICT_COUNT; p++) {
            rt_exec e = fix_exec(rt_cpu_detect(), 1);
            kv_cache *c = NULL;
            f.cfg.evict.policy = p;
            assert_int_equal(kv_cache_new(&f.cfg, &e, &c, NULL), KV_OK);
            assert_int_equal(fix_feed(&f, c, &e, N, 200, NULL, NULL, NULL), KV_OK);
            const kv_cache_info info = kv_cache_get_info(c);
            assert_true(info.held <= budgets[b] && info.chosen >= 12);
            digest[p] = kv_cache_digest(c);
            for (kv_evict_id other = KV_EVICT_STREAMING; other < p; other++)
                assert_true(digest[p] != digest[other]);
            kv_cache_free(c);
        }
    }
    drop_evict(&f);
}

/* Keys in clusters, so that there is much to fold. */
static void evict_folds_what_is_alike(void **state) {
    (void)state;
    fixture f;
    fix_evict(&f, 4, 2);
    f.cfg.sinks = 4;
    f.cfg.evict.policy = KV_EVICT_MERGE;
    for (uint32_t l = 0; l < FIX_LAYERS; l++)
        for (size_t i = 64; i < (size_t)N * 64; i++)
            f.key[l][i] = 0.5f * f.key[l][i] + f.key[l][i / 64 % 9 * 64 + i % 64];
    fix_codecs(&f, KV_F32, KV_F32);
    check(&f, 300);
    /* Folded tokens are encoded anew, which the model does not do. */
    static const struct {
        kv_codec_id codec;
        double limit;
    } coarse[] = {{KV_F16, 0.05}, {KV_Q8_0, 0.07}, {KV_Q4_0, 0.5}};
    f.cfg.window = 32;
    for (size_t i = 0; i < sizeof coarse / sizeof *coarse; i++) {
        fix_codecs(&f, coarse[i].codec, coarse[i].codec);
        assert_true(compare(&f, rt_cpu_detect(), 128, 300) < coarse[i].limit);
    }
    drop_evict(&f);
}

static void evict_works_with_any_codec(void **state) {
    (void)state;
    static const kv_codec_id codecs[][2] = {{KV_F16, KV_F16},      {KV_Q8_0, KV_Q4_0}, {KV_Q4_0, KV_F16}, {KV_F16, KV_Q8_0},
                                            {KV_TURBO3, KV_KIVI4}, {KV_TC, KV_TC},     {KV_TC, KV_Q4_0},  {KV_POLAR4, KV_TC}};
    fixture f;
    fix_evict(&f, 4, 2);
    f.cfg.sinks = 3;
    f.cfg.evict.policy = KV_EVICT_KNORM; /* known to the last bit */
    for (size_t i = 0; i < sizeof codecs / sizeof *codecs; i++)
        for (uint32_t w = 0; w < 3; w++) {
            fix_codecs(&f, codecs[i][0], codecs[i][1]);
            f.cfg.window = w * 40;
            check(&f, 300);
        }
    drop_evict(&f);
}

/* Blocks in which keys of several RoPE frames meet. */
static void evict_knows_frames(void **state) {
    (void)state;
    fixture f;
    fix_evict(&f, 4, 2);
    f.cfg.sinks = 4;
    for (uint32_t i = 0; i < 8; i++) {
        fix_codecs(&f, KV_TC, i & 4 ? KV_Q8_0 : KV_TC);
        f.cfg.window = i & 1 ? 20 : 0;
        f.cfg.frame = i & 2 ? 64 : 128;
        f.cfg.evict.policy = KV_EVICT_KNORM;
        f.cfg.evict.budget.tokens = 260;
        check(&f, 260);
    }
    drop_evict(&f);
}

static void evict_is_the_same_in_any_batch(void **state) {
    (void)state;
    fixture f;
    fix_evict(&f, 4, 2);
    f.cfg.sinks = 4;
    f.cfg.window = 30;
    f.cfg.frame = 128;
    fix_codecs(&f, KV_TC, KV_TC);
    const size_t bytes = (size_t)FIX_LAYERS * N * 4 * 32 * sizeof(float);
    float *want = malloc(bytes), *out = malloc(bytes);
    for (kv_evict_id p = KV_EVICT_STREAMING; p < KV_EVICT_COUNT; p++) {
        f.cfg.evict.policy = p;
        f.cfg.evict.ada = p % 2;
        uint64_t digest = 0;
        for (int way = 0; way < 4; way++) {
            static const uint32_t batch[] = {200, 1, 77, 200};
            rt_exec e = fix_exec(way == 3 ? RT_CPU_SCALAR : rt_cpu_detect(), way == 2 ? 3 : 1);
            kv_cache *c = NULL;
            assert_int_equal(kv_cache_new(&f.cfg, &e, &c, NULL), KV_OK);
            assert_int_equal(fix_feed(&f, c, &e, N, batch[way], way ? out : want, NULL, NULL), KV_OK);
            if (way)
                assert_memory_equal(out, want, bytes);
            if (way)
                assert_true(kv_cache_digest(c) == digest);
            digest = kv_cache_digest(c);
            kv_cache_free(c);
            rt_exec_stop(&e);
        }
    }
    free(want);
    free(out);
    drop_evict(&f);
}

/* At no time more than the budget, and memory for no more than that. */
static void evict_stays_within_the_budget(void **state) {
    (void)state;
    fixture f;
    fix_evict(&f, 4, 2);
    fix_codecs(&f, KV_Q8_0, KV_Q8_0);
    f.cfg.sinks = 4;
    f.cfg.window = 30;
    float weight[FIX_LAYERS * 2] = {1, 3, 2, 1e-3f}, loss[FIX_LAYERS * 2 * KV_CUTS] = {0};
    for (uint32_t c = 0; c < KV_CUTS; c++)
        loss[KV_CUTS + c] = 1 - kv_cuts[c]; /* one head fetches */
    for (int ada = 0; ada < 2; ada++)
        for (int by = 0; by < 3; by++) {
            f.cfg.evict.policy = KV_EVICT_H2O;
            f.cfg.evict.ada = ada;
            f.cfg.evict.weight = by == 1 ? weight : NULL;
            f.cfg.evict.loss = by == 2 ? loss : NULL;
            f.cfg.evict.near = by ? 1 : 0;
            rt_exec e = fix_exec(rt_cpu_detect(), 1);
            kv_cache *c = NULL;
            kv_cache_info told, real;
            assert_int_equal(kv_cache_new(&f.cfg, &e, &c, NULL), KV_OK);
            real = kv_cache_get_info(c);
            assert_true(real.most <= 300 && real.most > 298);
            assert_true(real.sinks == 4 && real.newest >= 30 && real.chosen >= 0);
            assert_true(real.sinks + real.newest + real.chosen <= real.most - 16);
            assert_true((double)real.body_bytes < 0.36 * (double)real.bytes_f16);
            assert_int_equal(kv_cache_size(&f.cfg, &f.cfg.n_ctx, 1, &told, NULL), KV_OK);
            assert_memory_equal(&told, &real, sizeof real);
            for (uint32_t n = 10; n <= N; n += 10) {
                assert_int_equal(fix_feed(&f, c, &e, n, 10, NULL, NULL, NULL), KV_OK);
                real = kv_cache_get_info(c);
                assert_true(real.held <= 300 && real.held <= n);
                assert_true(n > 49 || real.held == n);                     /* no head has a budget below 4 + 32 + 16 */
                assert_true(n < 400 || real.held > (by == 2 ? 150 : 200)); /* the head that fetches is not full yet */
            }
            kv_cache_free(c);
        }
    drop_evict(&f);
}

/* Heads that compete and cost differently: places in the body move, and never beyond its end. */
static void evict_places_heads_that_differ(void **state) {
    (void)state;
    fixture f;
    fix_evict(&f, 4, 4);
    fix_codecs(&f, KV_TC, KV_Q8_0);
    for (uint32_t h = 0; h < 2; h++) { /* big keys in cheap heads draw all attention, and the reverse */
        fix_stream(&f, h, 0, KV_SIDE_K, KV_TC, 1);
        fix_stream(&f, h, 0, KV_SIDE_V, KV_TC, 1);
        fix_stream(&f, h, 3, KV_SIDE_K, KV_F16, 0);
        for (size_t i = 0; i < (size_t)N * 4 * 32; i++)
            f.key[h][i] *= i / 32 % 4 == (h ? 0 : 3) ? 3 : 0.1f;
    }
    f.cfg.sinks = 4;
    f.cfg.evict.ada = true;
    for (uint32_t w = 0; w < 3; w++)
        for (kv_evict_id p = KV_EVICT_H2O; p < KV_EVICT_COUNT; p++) {
            f.cfg.window = w * 70;
            f.cfg.evict.policy = p;
            rt_exec e = fix_exec(rt_cpu_detect(), 1);
            kv_cache *c = NULL;
            assert_int_equal(kv_cache_new(&f.cfg, &e, &c, NULL), KV_OK);
            assert_int_equal(fix_feed(&f, c, &e, N, 128, NULL, NULL, NULL), KV_OK);
            kv_cache_free(c);
        }
    drop_evict(&f);
}

static void evict_copies_and_goes_back(void **state) {
    (void)state;
    fixture f;
    fix_evict(&f, 4, 2);
    fix_codecs(&f, KV_TC, KV_Q8_0);
    f.cfg.sinks = 4;
    f.cfg.window = 100;
    f.cfg.frame = 64;
    f.cfg.evict.policy = KV_EVICT_SNAPKV;
    for (int ada = 0; ada < 2; ada++) {
        f.cfg.evict.ada = ada;
        rt_exec e = fix_exec(rt_cpu_detect(), 1);
        kv_cache *a = NULL, *b = NULL;
        assert_int_equal(kv_cache_new(&f.cfg, &e, &a, NULL), KV_OK);
        assert_int_equal(kv_cache_new(&f.cfg, &e, &b, NULL), KV_OK);
        assert_int_equal(fix_feed(&f, a, &e, 420, 50, NULL, NULL, NULL), KV_OK);
        assert_int_equal(fix_feed(&f, b, &e, 650, 50, NULL, NULL, NULL), KV_OK);
        assert_int_equal(kv_cache_truncate(b, 450, NULL), KV_EINVAL);
        assert_int_equal(kv_cache_copy(b, a, NULL), KV_OK);
        assert_true(kv_cache_digest(a) == kv_cache_digest(b));
        assert_int_equal(fix_feed(&f, a, &e, N, 31, NULL, NULL, NULL), KV_OK);
        assert_int_equal(fix_feed(&f, b, &e, N, 50, NULL, NULL, NULL), KV_OK);
        assert_true(kv_cache_digest(a) == kv_cache_digest(b));
        const uint64_t digest = kv_cache_digest(a);
        kv_cache_free(a);
        kv_cache_new(&f.cfg, &e, &a, NULL);
        assert_int_equal(fix_feed(&f, a, &e, N, 100, NULL, NULL, NULL), KV_OK);
        assert_true(kv_cache_digest(a) == digest);
        kv_cache_free(a);
        kv_cache_free(b);
    }
    drop_evict(&f);
}

static void refuses(const fixture *f, kv_status want, const char *words) {
    rt_exec e = fix_exec(rt_cpu_detect(), 1);
    kv_cache *c = NULL;
    kv_err err = {0};
    assert_int_equal(kv_cache_new(&f->cfg, &e, &c, &err), want);
    assert_non_null(strstr(err.msg, words));
}

/* Every budget is shared out anew by the curves of loss: a head that is the last to gain gets nothing but what must stay until
 * the others have all. */
static void evict_shares_any_budget_by_loss(void **state) {
    (void)state;
    enum { LEAST = 4 + 20 + LEAST_STEP, HEADS = FIX_LAYERS * 2 };
    fixture f;
    fix_evict(&f, 4, 2);
    float loss[HEADS * KV_CUTS];
    uint32_t budget[HEADS];
    for (uint32_t h = 0; h < HEADS; h++)
        for (uint32_t c = 0; c < KV_CUTS; c++)
            loss[h * KV_CUTS + c] = (float)(h == 3 ? 0 : 10 - h) * (1 - kv_cuts[c]);
    f.cfg.sinks = 4;
    f.cfg.evict.policy = KV_EVICT_TOVA;
    f.cfg.evict.loss = loss;
    rt_exec e = fix_exec(rt_cpu_detect(), 1);
    kv_cache *c = NULL;
    for (uint32_t mean = LEAST; mean < N; mean += 50) {
        f.cfg.evict.budget.tokens = mean;
        assert_int_equal(kv_cache_new(&f.cfg, &e, &c, NULL), KV_OK);
        assert_int_equal(kv_budgets(c, &f.cfg, budget, NULL), KV_OK);
        double left = (double)HEADS * mean;
        for (uint32_t h = 0; h < HEADS; h++) { /* 0: all */
            const double most = left - (HEADS - 1 - h) * (double)LEAST, want = fmin(fmax(most, LEAST), N);
            assert_float_equal(budget[h] ? budget[h] : N, floor(want + 1e-9), 1);
            left -= want;
        }
        kv_cache_free(c);
    }
    drop_evict(&f);
}

static void evict_refuses_what_cannot_be(void **state) {
    (void)state;
    fixture f;
    fix_evict(&f, 4, 2);
    f.cfg.sinks = 4;
    f.cfg.window = 130;
    f.cfg.evict.policy = KV_EVICT_TOVA;
    fix_codecs(&f, KV_KIVI4, KV_Q8_0);
    refuses(&f, KV_EUNSUPP, "groups of 32");
    fix_codecs(&f, KV_Q8_0, KV_Q8_0);
    f.cfg.evict.budget = (kv_budget){.share = 0.2f};
    refuses(&f, KV_EINVAL, "a budget of 140 tokens is too small");
    f.cfg.evict.budget = (kv_budget){.tokens = 300};
    f.cfg.evict.policy = KV_EVICT_EXPECTED;
    f.cfg.evict.queries = NULL;
    refuses(&f, KV_EINVAL, "queries of a calibrated profile");
    drop_evict(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(evict_keeps_what_each_policy_says),
        cmocka_unit_test(evict_works_with_any_codec),
        cmocka_unit_test(evict_chooses_within_small_budgets),
        cmocka_unit_test(evict_folds_what_is_alike),
        cmocka_unit_test(evict_knows_frames),
        cmocka_unit_test(evict_is_the_same_in_any_batch),
        cmocka_unit_test(evict_stays_within_the_budget),
        cmocka_unit_test(evict_places_heads_that_differ),
        cmocka_unit_test(evict_copies_and_goes_back),
        cmocka_unit_test(evict_shares_any_budget_by_loss),
        cmocka_unit_test(evict_refuses_what_cannot_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
