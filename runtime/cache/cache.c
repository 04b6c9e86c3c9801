/* The cache: what is stored where (cache/state.h), sizes, truncation, digest. */
#define XXH_STATIC_LINKING_ONLY /* the state on the stack */
#include "cache/state.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* ---- creation ---- */

static size_t n_streams(const kv_cache *c) {
    return (size_t)c->n_layer * c->n_kv_head * 2;
}

static uint32_t heads_of(const kv_cache_cfg *cfg, uint32_t layer) {
    return cfg->heads ? cfg->heads[layer] : cfg->n_head;
}

static uint32_t kv_heads_of(const kv_cache_cfg *cfg, uint32_t layer) {
    return cfg->kv_heads ? cfg->kv_heads[layer] : cfg->n_kv_head;
}

/* The layer that it reads. */
static uint32_t source_of(const kv_cache_cfg *cfg, uint32_t layer) {
    return cfg->kv_layer ? cfg->kv_layer[layer] : layer;
}

static kv_status check_layer(const kv_cache_cfg *cfg, uint32_t l, kv_err *err) {
    const uint32_t heads = heads_of(cfg, l), kv = kv_heads_of(cfg, l), from = source_of(cfg, l);
    if (kv && (kv > cfg->n_kv_head || !heads || heads > cfg->n_head || heads % kv))
        return kv_fail(err, KV_EINVAL, "cache: %u layers, %u heads and %u KV heads do not fit (layer %u)", cfg->n_layer, heads,
                       kv, l);
    if (from > l || source_of(cfg, from) != from || kv_heads_of(cfg, from) != kv ||
        (cfg->swa && cfg->swa[from] != cfg->swa[l]) || (cfg->rope.kind && cfg->rope.kind[from] != cfg->rope.kind[l]))
        return kv_fail(err, KV_EINVAL, "cache: layer %u cannot read the keys and values of layer %u", l, from);
    return KV_OK;
}

static kv_status check_cfg(const kv_cache_cfg *cfg, kv_err *err) {
    if (!cfg->n_layer || !cfg->n_kv_head || !cfg->n_head || (!cfg->kv_heads && cfg->n_head % cfg->n_kv_head))
        return kv_fail(err, KV_EINVAL, "cache: %u layers, %u heads and %u KV heads do not fit", cfg->n_layer, cfg->n_head,
                       cfg->n_kv_head);
    if (!cfg->head_dim || cfg->head_dim > PROF_MAX_DIM)
        return kv_fail(err, KV_EINVAL, "cache: head_dim %u is not between 1 and %d", cfg->head_dim, PROF_MAX_DIM);
    if (cfg->n_layer > PROF_MAX_LAYERS || cfg->n_head > PROF_MAX_HEADS)
        return kv_fail(err, KV_EINVAL, "cache: %u layers or %u heads are too many", cfg->n_layer, cfg->n_head);
    if (cfg->frame % PROF_FRAME)
        return kv_fail(err, KV_EINVAL, "cache: RoPE frames of %u positions are not a multiple of %d", cfg->frame, PROF_FRAME);
    if (!cfg->n_ctx || !cfg->n_batch || cfg->n_ctx > INT32_MAX)
        return kv_fail(err, KV_EINVAL, "cache: a context of %u tokens in batches of %u makes no sense", cfg->n_ctx,
                       cfg->n_batch);
    kv_status st = KV_OK;
    for (uint32_t l = 0; !st && l < cfg->n_layer; l++)
        st = check_layer(cfg, l, err);
    return st;
}

/* A window or sinks that cover all that can ever be read make a lossy codec pointless. */
static bool covered(const kv_cache *c, const kv_cache_cfg *cfg, uint32_t layer) {
    uint32_t swa = cfg->swa ? cfg->swa[layer] : 0, span = swa ? min_u32(swa, c->n_ctx) : c->n_ctx;
    return cfg->window >= span || cfg->sinks >= c->n_ctx;
}

static const kv_codec *pick_codec(const kv_cache *c, const kv_cache_cfg *cfg, uint32_t layer, const kv_codec_sel *sel) {
    const kv_codec *codec = kv_codec_get(sel->id);
    return codec && !codec->exact && covered(c, cfg, layer) ? &kv_codec_f16 : codec;
}

typedef struct coders_job {
    kv_cache *c;
    const kv_cache_cfg *cfg;
    kv_err *errs; /* (streams) */
} coders_job;

static void init_some(void *arg, int thread, size_t first, size_t end) {
    (void)thread;
    const coders_job *j = arg;
    kv_cache *c = j->c;
    for (size_t i = first; i < end; i++) {
        const uint32_t layer = (uint32_t)(i / 2 / c->n_kv_head), head = (uint32_t)(i / 2 % c->n_kv_head);
        const kv_codec_sel *sel = (i % 2 ? j->cfg->v : j->cfg->k) + i / 2;
        const kv_codec *codec = pick_codec(c, j->cfg, layer, sel);
        if (head >= kv_heads_of(j->cfg, layer) || source_of(j->cfg, layer) != layer)
            continue;
        if (codec)
            kv_coder_init(&c->streams[i].coder, codec, i % 2 ? KV_SIDE_V : KV_SIDE_K, c->dim, sel->tc, &j->errs[i]);
        else
            kv_fail(&j->errs[i], KV_EINVAL, "no codec has the number %d", (int)sel->id);
    }
}

/* Set up all coders; inverting the bases takes a while, so streams are shared out. The first failure in order is reported. */
static kv_status init_coders(kv_cache *c, const kv_cache_cfg *cfg, const rt_exec *e, kv_err *err) {
    const size_t n = n_streams(c);
    kv_status st = KV_OK;
    kv_err *errs = calloc(n, sizeof *errs);
    if (!errs)
        return kv_fail(err, KV_ENOMEM, "no memory for a cache of %u layers", c->n_layer);
    rt_for(e, n, 1, init_some, &(coders_job){c, cfg, errs});
    for (size_t i = 0; !st && i < n; i++)
        if (errs[i].code)
            st = kv_fail(err, errs[i].code, "cache: layer %zu, KV head %zu, %s: %s", i / 2 / c->n_kv_head, i / 2 % c->n_kv_head,
                         i % 2 ? "V" : "K", errs[i].msg);
    free(errs);
    return st;
}

/* Zeroed memory; untouched pages cost nothing. Sets *bad on failure and for sizes that cannot be right; does nothing then. */
static void *grab(size_t n, size_t size, bool *bad) {
    const size_t most = (size_t)1 << 39;
    if (*bad || !n || !size)
        return NULL;
    void *p = n <= most / size ? calloc(n, size) : NULL;
    *bad |= !p;
    return p;
}

/* A layer that reads another, which is laid out already. */
static void lay_out_borrower(kv_cache *c, const kv_cache_cfg *cfg, uint32_t index) {
    kv_layer *l = &c->layers[index];
    *l = c->layers[source_of(cfg, index)];
    l->n_head = heads_of(cfg, index);
    l->rope = cfg->rope.kind ? cfg->rope.kind[index] : l->swa > 0;
    l->borrows = true;
    l->body_bytes = 0;
    l->sink_elems = 0;
}

static void lay_out_layer(kv_cache *c, const kv_cache_cfg *cfg, uint32_t index) {
    kv_layer *l = &c->layers[index];
    if (source_of(cfg, index) != index) {
        lay_out_borrower(c, cfg, index);
        return;
    }
    *l = (kv_layer){.n_head = heads_of(cfg, index),
                    .n_kv_head = kv_heads_of(cfg, index),
                    .streams = c->streams + (size_t)index * c->n_kv_head * 2,
                    .heads = c->heads + (size_t)index * c->n_kv_head,
                    .swa = cfg->swa ? cfg->swa[index] : 0,
                    .group = 1};
    l->rope = cfg->rope.kind ? cfg->rope.kind[index] : l->swa > 0;
    c->n_ropes = max_u32(c->n_ropes, l->rope + 1);
    for (uint32_t h = 0; h < l->n_kv_head; h++)
        l->evicts |= l->heads[h].budget > 0;
    for (uint32_t i = 0; i < 2 * l->n_kv_head; i++) {
        kv_stream *stream = &l->streams[i];
        c->cdim = max_u32(c->cdim, stream->coder.cdim);
        stream->framed = c->frame && i % 2 == 0 && stream->coder.ops->framed;
        if (kv_lossy(stream)) {
            l->window = cfg->window;
            l->sinks = cfg->sinks;
            l->group = max_u32(l->group, stream->coder.group);
            stream->f16_off = l->f16_elems;
            l->f16_elems += c->dim;
            stream->sink_off = l->sink_elems;
            l->sink_elems += (size_t)l->sinks * c->dim;
        }
    }
    if (l->group == 1 && l->window >= 4 * KV_BATCH) {
        l->group = KV_BATCH;
        l->window -= KV_BATCH - 1;
    }
    uint32_t all = kv_blocks(c->n_ctx), held = l->window + l->group - 1;
    l->body_cap = l->evicts ? UINT32_MAX : l->swa ? min_u32(all, kv_blocks((uint64_t)l->swa + c->n_batch) + 1) : all;
    kv_lay_out_heads(c, l);
    if (l->evicts)
        c->stage_bytes = l->body_bytes > c->stage_bytes ? l->body_bytes : c->stage_bytes;
    l->ring_cap = held ? min_u32(c->n_ctx, held + KV_BATCH) : 0;
    if (l->ring_cap && l->ring_cap < c->n_ctx)
        c->passing_elems = max_u32(c->passing_elems, l->f16_elems);
}

static kv_status check_eviction(const kv_cache *c, uint32_t layer, kv_err *err) {
    const kv_layer *l = &c->layers[layer];
    if (l->evicts && l->borrows)
        return kv_fail(err, KV_EUNSUPP,
                       "cache: layer %u reads the keys and values of an earlier one: a budget is not supported where layers "
                       "share them",
                       layer);
    for (uint32_t i = 0; l->evicts && i < 2 * l->n_kv_head; i++)
        if (!kv_coder_gathers(&l->streams[i].coder))
            return kv_fail(
                err, KV_EUNSUPP,
                "cache: layer %u: with a budget keys cannot be stored in groups of %u tokens, as KIVI has them; take "
                "another codec",
                layer, l->streams[i].coder.group);
    return KV_OK;
}

/* What goes where, and how much of it there is, from the coders of all streams: all that a cache of n_ctx tokens will allocate
 * for them. */
static kv_status lay_out(kv_cache *c, const kv_cache_cfg *cfg, kv_err *err) {
    uint32_t *budget = malloc((size_t)c->n_layer * c->n_kv_head * sizeof *budget);
    kv_status st = budget ? kv_budgets(c, cfg, budget, err) : kv_fail(err, KV_ENOMEM, "no memory for a cache");
    c->n_batch = min_u32(cfg->n_batch, c->n_ctx);
    c->cdim = c->dim;
    c->passing_elems = 0;
    c->stage_bytes = 0;
    for (uint32_t i = 0; !st && i < c->n_layer * c->n_kv_head; i++)
        c->heads[i] = (kv_head){.budget = budget[i], .recent = kv_recent(cfg, budget[i])};
    for (uint32_t i = 0; !st && i < c->n_layer; i++) {
        lay_out_layer(c, cfg, i);
        st = check_eviction(c, i, err);
    }
    c->passing_bytes = kv_passing_tokens(c->n_batch) * c->passing_elems * sizeof(uint16_t);
    free(budget);
    return st;
}

static void grab_layer(const kv_cache_cfg *cfg, kv_cache *c, uint32_t index, bool *bad) {
    kv_layer *l = &c->layers[index], *from = &c->layers[source_of(cfg, index)];
    l->ring = grab(l->ring_cap, l->f16_elems * sizeof *l->ring, bad);
    l->body = l->borrows ? from->body : grab(1, l->body_bytes, bad);
    l->sink = l->borrows ? from->sink : grab(l->sink_elems, sizeof *l->sink, bad);
}

/* A cache with its coders and no memory. *out is the caller's to free, also after a failure. */
static kv_status new_coders(const kv_cache_cfg *cfg, const rt_exec *e, kv_cache **out, kv_err *err) {
    bool bad = false;
    kv_cache *c = *out = NULL;
    kv_status st = check_cfg(cfg, err);
    if (st)
        return st;
    if (!(c = *out = calloc(1, sizeof *c)))
        return kv_fail(err, KV_ENOMEM, "no memory for a cache");
    c->n_layer = cfg->n_layer;
    c->n_head = cfg->n_head;
    c->n_kv_head = cfg->n_kv_head;
    c->dim = cfg->head_dim;
    c->n_ctx = cfg->n_ctx;
    c->frame = cfg->frame;
    c->rope = cfg->rope;
    c->rope.kind = NULL; /* layers know theirs */
    c->cap = cfg->cap;
    c->evict = cfg->evict;
    c->sinks = cfg->sinks;
    c->heads = grab((size_t)c->n_layer * c->n_kv_head, sizeof *c->heads, &bad);
    c->layers = grab(c->n_layer, sizeof *c->layers, &bad);
    c->streams = grab(n_streams(c), sizeof *c->streams, &bad);
    if (bad)
        return kv_fail(err, KV_ENOMEM, "no memory for a cache of %u layers", c->n_layer);
    for (int side = 0; side < 2; side++)
        kv_coder_init(&c->f16[side], &kv_codec_f16, side ? KV_SIDE_V : KV_SIDE_K, c->dim, NULL, NULL);
    return init_coders(c, cfg, e, err);
}

/* What eviction works with. */
static void grab_eviction(kv_cache *c, bool *bad) {
    for (uint32_t i = 0; i < c->n_layer; i++) {
        const kv_layer *l = &c->layers[i];
        size_t least = SIZE_MAX;
        for (uint32_t h = 0; l->evicts && h < l->n_kv_head; h++)
            least = kv_head_block_bytes(c, l, h) < least ? kv_head_block_bytes(c, l, h) : least;
        if (l->evicts) /* blocks, however heads share them */
            c->stage_blocks = max_u32(c->stage_blocks, (uint32_t)(l->body_bytes / least));
    }
    c->queries = grab(c->evict.queries ? c->n_layer : 0, sizeof *c->queries, bad);
    for (uint32_t i = 0; c->queries && i < c->n_layer; i++)
        c->queries[i] = c->evict.queries[i];
    c->frames = grab(c->stage_blocks ? (size_t)c->n_layer * c->n_kv_head : 0, kv_n_frames(c) * sizeof *c->frames, bad);
    for (size_t i = 0; c->frames && i < (size_t)c->n_layer * c->n_kv_head; i++)
        c->heads[i].frames = c->frames + i * kv_n_frames(c);
}

static const float *rotations_of(const kv_cache *c, uint32_t kind) {
    return c->rotations + (size_t)kind * kv_n_frames(c) * c->rope.n_rot;
}

/* Rotations of all frames, for every kind of layers. */
static kv_status init_rotations(kv_cache *c, kv_err *err) {
    const uint32_t half = c->rope.n_rot / 2, frames = kv_n_frames(c);
    if (!c->frame)
        return KV_OK;
    if (!c->rope.inv_freq || !half || c->rope.n_rot > c->dim)
        return kv_fail(err, KV_EINVAL, "cache: RoPE frames need the rotations of the model");
    float *to = c->rotations = calloc((size_t)frames * half, 2 * c->n_ropes * sizeof *to);
    if (!to)
        return kv_fail(err, KV_ENOMEM, "no memory for %u RoPE frames", frames);
    for (uint32_t kind = 0; kind < c->n_ropes; kind++)
        for (uint32_t f = 0; f < frames; f++, to += 2 * half)
            for (uint32_t i = 0; i < half; i++) {
                double angle = (double)f * c->frame * c->rope.inv_freq[kind * half + i];
                to[i] = (float)cos(angle);
                to[half + i] = (float)-sin(angle);
            }
    for (uint32_t i = 0; i < c->n_layer; i++)
        c->layers[i].rotations = rotations_of(c, c->layers[i].rope);
    return KV_OK;
}

kv_status kv_cache_new(const kv_cache_cfg *cfg, const rt_exec *e, kv_cache **out, kv_err *err) {
    bool bad = false;
    kv_cache *c;
    kv_status st = new_coders(cfg, e, &c, err);
    if (st)
        goto done;
    if ((st = lay_out(c, cfg, err)) || (st = init_rotations(c, err)))
        goto done;
    if (c->stage_bytes && kv_policy(c)->calibrated && (!cfg->evict.queries || !cfg->rope.inv_freq)) {
        st = kv_fail(err, KV_EINVAL, "cache: eviction by expected attention needs the queries of a calibrated profile");
        goto done;
    }
    kv_make_stamp(c, cfg);
    c->limit = FLT_MAX;
    for (size_t i = 0; i < n_streams(c); i++)
        if (c->streams[i].coder.ops && c->streams[i].coder.ops != &kv_codec_f32)
            c->limit = 65504;
    c->rows = KV_ROWS;
    for (uint32_t i = 0; i < c->n_layer; i++)
        if (c->layers[i].n_kv_head)
            c->rows = max_u32(c->rows, kv_group(&c->layers[i])); /* as many tokens as fit into KV_ROWS, but one at least */
    for (size_t i = 0; i < n_streams(c); i++)
        if (c->streams[i].coder.ops && c->streams[i].coder.ops->levels)
            c->code_slots = !c->frame        ? 1
                            : c->stage_bytes ? KV_RANGE / KV_BLOCK /* eviction lets more frames meet */
                                             : min_u32(KV_RANGE / KV_BLOCK, KV_RANGE / c->frame + 2);
    for (uint32_t i = 0; i < c->n_layer; i++)
        grab_layer(cfg, c, i, &bad);
    grab_eviction(c, &bad);
    if (bad)
        st = kv_fail(err, KV_ENOMEM, "no memory for a cache of %u tokens: ask for a smaller context", c->n_ctx);
    else
        kv_cache_clear(c);
done:
    if (st)
        kv_cache_free(c);
    else
        *out = c;
    return st;
}

void kv_cache_free(kv_cache *c) {
    if (!c)
        return;
    for (size_t i = 0; c->streams && i < n_streams(c); i++)
        if (c->streams[i].coder.ops)
            kv_coder_free(&c->streams[i].coder);
    for (uint32_t i = 0; c->layers && i < c->n_layer; i++) {
        free(c->layers[i].ring);
        if (c->layers[i].borrows)
            continue;
        free(c->layers[i].body);
        free(c->layers[i].sink);
    }
    free(c->streams);
    free(c->heads);
    free(c->frames);
    free(c->queries);
    free(c->layers);
    free(c->rotations);
    free(c);
}

/* ---- length ---- */

uint32_t kv_cache_len(const kv_cache *c) {
    return c->len;
}

void kv_cache_commit(kv_cache *c, uint32_t n) {
    c->len += n;
}

/* Blocks need no wiping: one is zeroed when its first token is written. */
void kv_cache_clear(kv_cache *c) {
    c->len = 0;
    c->reads = 0;
    for (size_t i = 0; i < n_streams(c); i++)
        c->streams[i].n_base = 0;
    for (uint32_t i = 0; i < c->n_layer; i++) {
        c->layers[i].end = c->layers[i].body_lo = c->layers[i].ring_lo = 0;
        if (!c->layers[i].borrows)
            kv_evict_clear(c, &c->layers[i]);
    }
}

/* What is written to next, the block that holds position n, must not be of the base. */
static void leave_base(const kv_layer *l, kv_stream *stream, uint32_t n) {
    const uint32_t b = n / KV_BLOCK;
    if (b >= stream->n_base)
        return;
    const uint8_t *there = kv_body_block(l, stream, b);
    stream->n_base = b;
    memcpy(kv_body_block(l, stream, b), there, stream->coder.block_bytes);
}

/* The slots of stream's block that holds position n are zeroed from n on; later blocks are zeroed when they are reached. */
static void forget(const kv_layer *l, kv_stream *stream, const kv_head *h, uint32_t n) {
    leave_base(l, stream, n);
    if (n % KV_BLOCK && n / KV_BLOCK >= l->body_lo)
        kv_coder_clear(&stream->coder, kv_body_block(l, stream, (n - h->shift) / KV_BLOCK), n % KV_BLOCK);
}

void kv_layer_forget(kv_layer *l, uint32_t n) {
    for (uint32_t i = 0; !l->borrows && i < 2 * l->n_kv_head; i++)
        forget(l, &l->streams[i], &l->heads[i / 2], kv_lossy(&l->streams[i]) ? kv_encoded(l, n) : n);
}

/* Whether tokens from position n on were there when something was let go of, or have voted on what will be. Votes are for
 * encoded tokens. */
static bool had_a_part(const kv_cache *c, const kv_layer *l, uint32_t n) {
    if (!l->evicts || n < l->evicted)
        return l->evicts;
    for (uint32_t h = 0; h < l->n_kv_head; h++)
        if (kv_votes_from(c, &l->heads[h]) < l->end && kv_encoded(l, l->end) > l->sinks)
            return true;
    return false;
}

kv_status kv_layer_rewind(const kv_cache *c, kv_layer *l, uint32_t n, bool dry, kv_err *err) {
    if (n == l->end || !l->n_kv_head)
        return KV_OK;
    if (n > l->end)
        return kv_fail(err, KV_EINVAL, "cache: a layer holds %u tokens, not %u: it was left out of a batch", l->end, n);
    uint32_t encoded = kv_encoded(l, n), full = max_u32(encoded, l->sinks), seen = l->swa && n >= l->swa ? n + 1 - l->swa : 0;
    if ((l->ring_cap && full < n && full < l->ring_lo) || (n && min_u32(seen, n - 1) / KV_BLOCK < l->body_lo))
        return kv_fail(err, KV_EINVAL,
                       "cache: cannot go back from %u tokens to %u, the uncompressed copies of the last ones are gone: "
                       "clear the cache and feed them again",
                       l->end, n);
    if (had_a_part(c, l, n))
        return kv_fail(
            err, KV_EINVAL,
            "cache: cannot go back from %u tokens to %u: the last ones had a part in choosing what was kept; clear the "
            "cache and feed them again",
            l->end, n);
    if (dry)
        return KV_OK;
    kv_layer_forget(l, n);
    l->end = n;
    l->ring_lo = min_u32(l->ring_lo, n); /* all that there is may be sinks or encoded: then the ring begins anew */
    return KV_OK;
}

static kv_status check_cut(const kv_cache *c, uint32_t n, kv_err *err) {
    kv_status st = n > c->len ? kv_fail(err, KV_EINVAL, "cache: cannot cut %u tokens to %u", c->len, n) : KV_OK;
    for (uint32_t i = 0; n && !st && i < c->n_layer; i++)
        st = kv_layer_rewind(c, &c->layers[i], n, true, err);
    return st;
}

bool kv_cache_can_truncate(const kv_cache *c, uint32_t n) {
    return !check_cut(c, n, NULL);
}

bool kv_cache_cuts_anywhere(const kv_cache *c) {
    for (uint32_t i = 0; i < c->n_layer; i++)
        if (c->layers[i].n_kv_head && (c->layers[i].ring_cap || c->layers[i].swa || c->layers[i].evicts))
            return false;
    return true;
}

kv_status kv_cache_truncate(kv_cache *c, uint32_t n, kv_err *err) {
    kv_status st = check_cut(c, n, err);
    if (st)
        return st;
    if (!n) {
        kv_cache_clear(c);
        return KV_OK;
    }
    for (uint32_t i = 0; i < c->n_layer; i++)
        kv_layer_rewind(c, &c->layers[i], n, false, NULL);
    c->len = n;
    return KV_OK;
}

/* ---- sizes and digest ---- */

/* What an eviction leaves, by why it stays. */
static void tell_spending(const kv_cache *c, kv_cache_info *info) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->n_layer; i++) {
        const kv_layer *l = &c->layers[i];
        for (uint32_t j = 0; kv_stores(l) && j < l->n_kv_head; j++) {
            const kv_head *h = &l->heads[j];
            const uint32_t newest = max_u32(h->recent, l->window);
            if (!h->budget)
                continue;
            info->newest += newest;
            info->chosen += h->budget - kv_slack(h->budget) - c->sinks - newest;
            n++;
        }
    }
    info->sinks = n ? c->sinks : 0;
    info->newest /= n ? n : 1;
    info->chosen /= n ? n : 1;
}

kv_cache_info kv_cache_get_info(const kv_cache *c) {
    kv_cache_info info = {.fp_bytes = c->passing_bytes + c->stage_bytes};
    uint32_t n_full = 0, n_all = 0;
    for (uint32_t i = 0; i < c->n_layer; i++) {
        const kv_layer *l = &c->layers[i];
        info.fp_bytes += ((size_t)l->ring_cap * l->f16_elems + l->sink_elems) * sizeof *l->ring;
        if (!kv_stores(l))
            continue;
        n_all += l->n_kv_head;
        n_full += l->swa ? 0 : l->n_kv_head;
        info.body_bytes += l->body_bytes;
        info.bytes_f16 += min_u32(l->body_cap, kv_blocks(c->n_ctx)) * c->f16[0].block_bytes * 2 * l->n_kv_head;
        for (uint32_t h = 0; h < l->n_kv_head; h++) {
            info.held += l->swa ? 0 : kv_held(l, &l->heads[h], c->len);
            info.most += l->swa ? 0 : l->heads[h].budget ? l->heads[h].budget : c->n_ctx;
            info.bits_k += l->streams[2 * h].coder.bits;
            info.bits_v += l->streams[2 * h + 1].coder.bits;
        }
    }
    info.bits_k /= n_all ? n_all : 1;
    info.bits_v /= n_all ? n_all : 1;
    tell_spending(c, &info);
    info.held /= n_full ? n_full : 1;
    info.most /= n_full ? n_full : 1;
    info.reads = c->reads / (n_full ? n_full : 1);
    info.bytes = info.body_bytes + info.fp_bytes;
    return info;
}

kv_status kv_cache_size(const kv_cache_cfg *cfg, const uint32_t *n_ctx, uint32_t n, kv_cache_info *out, kv_err *err) {
    kv_cache *c = NULL;
    kv_coder *own = NULL;
    kv_cache_cfg each = *cfg;
    kv_status st = KV_OK;
    each.n_ctx = 0;
    for (uint32_t i = 0; i < n; i++)
        each.n_ctx = max_u32(each.n_ctx, n_ctx[i]);
    if ((st = new_coders(&each, &(rt_exec){0}, &c, err)))
        goto done;
    if (!(own = malloc(n_streams(c) * sizeof *own))) {
        st = kv_fail(err, KV_ENOMEM, "no memory for a cache of %u layers", c->n_layer);
        goto done;
    }
    for (size_t i = 0; i < n_streams(c); i++)
        own[i] = c->streams[i].coder;
    for (uint32_t s = 0; s < n; s++) {
        each.n_ctx = c->n_ctx = n_ctx[s];
        if ((st = check_cfg(&each, err)))
            break;
        for (size_t i = 0; i < n_streams(c); i++) {
            bool keeps = !own[i].ops || own[i].ops->exact || !covered(c, &each, (uint32_t)(i / 2 / c->n_kv_head));
            c->streams[i].coder = keeps ? own[i] : c->f16[i % 2];
        }
        if ((st = lay_out(c, &each, err)))
            break;
        out[s] = kv_cache_get_info(c);
    }
    for (size_t i = 0; i < n_streams(c); i++)
        c->streams[i].coder = own[i]; /* to be freed */
done:
    free(own);
    kv_cache_free(c);
    return st;
}

static void digest_stream(const kv_cache *c, const kv_layer *l, uint32_t stream_index, XXH3_state_t *state) {
    const kv_stream *stream = &l->streams[stream_index];
    const kv_head *head = &l->heads[stream_index / 2];
    uint32_t end = kv_lossy(stream) ? kv_encoded(l, c->len) : c->len;
    uint32_t seen = l->swa && c->len >= l->swa ? c->len + 1 - l->swa : 0;
    XXH3_64bits_update(state, &head->shift, sizeof head->shift);
    for (uint32_t b = seen / KV_BLOCK; b < kv_blocks(end - head->shift); b++)
        if (end > l->sinks || !kv_lossy(stream)) /* nothing but sinks: never encoded */
            XXH3_64bits_update(state, kv_body_block(l, stream, b), stream->coder.block_bytes);
    if (!kv_lossy(stream))
        return;
    if (l->sinks)
        XXH3_64bits_update(state, l->sink + stream->sink_off, (size_t)min_u32(l->sinks, c->len) * c->dim * sizeof(uint16_t));
    if (!l->ring_cap)
        return;
    for (uint32_t t = max_u32(end, l->sinks); t < c->len; t++) {
        uint16_t row[PROF_MAX_DIM];
        kv_f16_row(c, l, stream, t, row);
        XXH3_64bits_update(state, row, c->dim * sizeof *row);
    }
}

uint64_t kv_cache_digest(const kv_cache *c) {
    XXH3_state_t state;
    XXH3_INITSTATE(&state);
    XXH3_64bits_reset(&state);
    XXH3_64bits_update(&state, &c->len, sizeof c->len);
    for (uint32_t i = 0; i < c->n_layer; i++)
        for (uint32_t stream = 0; kv_stores(&c->layers[i]) && stream < 2 * c->layers[i].n_kv_head; stream++)
            digest_stream(c, &c->layers[i], stream, &state);
    return XXH3_64bits_digest(&state);
}
