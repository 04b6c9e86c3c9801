/* The profile as text. */
#include "kvpack/pack_show.h"

#include "base/format.h"
#include "cli/message.h"

#include <stdio.h>
#include <string.h>

/* ---- what holds for all layers ---- */

enum { WINDOWS_TEXT = PROF_MAX_WINDOWS * 12 };

static void show_codec(const char *name, prof_head h) {
    cli_say(stdout, "%s %s", name, kv_codec_names[h.codec].name);
    if (h.bits > 0)
        cli_say(stdout, " (%.4g bits)", (double)h.bits);
}

/* What is kept of a long context. */
static void show_evict(const prof *p) {
    const prof_evict *e = &p->evict;
    char budget[KV_BUDGET_TEXT] = "as many as --budget says";
    if (e->policy == KV_EVICT_NONE)
        return;
    if (kv_budget_given(e->budget))
        kv_budget_format(e->budget, budget);
    cli_say(stdout, "eviction  keeps %s%s of a long context: %s%s\n", budget, e->budget.tokens ? " tokens" : "",
            kv_evict_names[e->policy].summary, e->ada ? "; the heads of a layer compete (AdaKV)" : "");
}

/* "128, 0" */
static const char *windows_text(const prof *p, char out[WINDOWS_TEXT]) {
    size_t len = 0;
    for (const prof *q = p; q; q = q->narrower)
        len += (size_t)snprintf(out + len, WINDOWS_TEXT - len, "%s%u", q == p ? "" : ", ", q->window);
    return out;
}

static void show_policy(const prof *p, const rt_hparams *hp) {
    char layers[PROF_RANGES_TEXT], heads[PROF_RANGES_TEXT], windows[WINDOWS_TEXT];
    cli_say(stdout, "policy    the first %u and the newest %u tokens stay f16, the others are encoded\n", p->sinks, p->window);
    if (p->narrower)
        cli_say(stdout,
                "windows   transforms for each of %s: those for the widest that is no wider than the cache's are taken\n",
                windows_text(p, windows));
    show_evict(p);
    if (p->layers)
        return;
    prof by_default = *p;
    by_default.n_override = 0;
    show_codec("codecs    K", pack_head(&by_default, hp, false, 0, 0));
    show_codec(", V", pack_head(&by_default, hp, true, 0, 0));
    printf(p->n_override ? ", but\n" : " in every layer\n");
    for (uint32_t i = 0; i < p->n_override; i++) {
        const prof_override *o = &p->overrides[i];
        prof_ranges_format(&o->layers, layers);
        prof_ranges_format(&o->heads, heads);
        cli_say(stdout, "          in %s%s%s%s:", o->layers.n ? "layers " : "every layer", layers,
                o->heads.n ? ", KV heads " : "", heads);
        if (o->k.set)
            cli_say(stdout, " K %s", kv_codec_names[o->k.codec].name);
        if (o->v.set)
            cli_say(stdout, "%s V %s", o->k.set ? "," : "", kv_codec_names[o->v.codec].name);
        putchar('\n');
    }
}

static void show_identity(const prof *p, const rt_hparams *hp, const char *where) {
    cli_say(stdout, "%s\n", where);
    if (p->model_name[0] || p->model_hash[0])
        cli_say(stdout, "model     %s (%s), hash %s\n", p->model_name[0] ? p->model_name : "unnamed",
                p->arch[0] ? p->arch : "?", p->model_hash[0] ? p->model_hash : "none");
    else
        cli_say(stdout, "model     any\n");
    const bool differ = hp ? rt_stored_heads(hp) != hp->n_layer * hp->n_kv_head : p->heads || p->kv_heads;
    const char *most = differ ? "up to " : "";
    if (hp)
        cli_say(stdout, "shape     %u layers, %s%u heads, %s%u KV heads of %u; trained for %u tokens\n", hp->n_layer, most,
                hp->n_head, most, hp->n_kv_head, hp->head_dim, hp->n_ctx_train);
    else if (p->n_layer && p->n_head)
        cli_say(stdout, "shape     %u layers, %s%u heads, %s%u KV heads of %u\n", p->n_layer, most, p->n_head, most,
                p->n_kv_head, p->head_dim);
    if (p->calib_tokens)
        cli_say(stdout, "made      by kvcalib %s from %u tokens in chunks of %u (text %.8s), target %g bits, seed %llu\n",
                p->tool_version, p->calib_tokens, p->calib_ctx, p->text_hash, p->target_bits, (unsigned long long)p->seed);
    else
        cli_say(stdout, "made      by hand\n");
    if (p->aim_bits > 0)
        cli_say(stdout, "aim       of kvcalib --preset: %g bits\n", p->aim_bits);
    if (p->aim_kld > 0)
        cli_say(stdout, "aim       of kvcalib --preset: KLD %g\n", p->aim_kld);
}

static void show_measured(const prof *p, bool several) {
    if (several)
        cli_say(stdout, "window    %u, target %g bits\n", p->window, p->target_bits);
    if (!p->n_measured)
        cli_say(stdout, "measured  nothing (kveval ppl measures)\n");
    for (uint32_t i = 0; i < p->n_measured; i++) {
        const prof_measured *m = &p->measured[i];
        cli_say(stdout, "measured  KLD %.5f +- %.5f, perplexity %+.2f %%, same top token %.1f %%; K %.2f, V %.2f bits\n",
                m->kld, m->kld_se, m->dppl_percent, m->top1, m->bits_k, m->bits_v);
        cli_say(stdout, "          on %u tokens, context %u, %s\n", m->tokens, m->ctx, m->text);
    }
    for (uint32_t i = 0; i < p->n_facts; i++) {
        const prof_facts *f = &p->facts[i];
        cli_say(stdout, "facts     %u of %u questions right, %u with an f16 cache: %+.1f points (%+.1f to %+.1f)\n", f->right,
                f->questions, f->right_f16, 100.0 * ((double)f->right - f->right_f16) / f->questions, f->low, f->high);
        cli_say(stdout, "          about %u generated documents of %u tokens, seed %llu\n", f->docs, f->ctx,
                (unsigned long long)f->seed);
    }
}

/* Scales that were folded into the model, or may be. */
static void show_folding(const prof *p, const rt_hparams *hp) {
    const bool folded = hp && *hp->folded_from;
    if (!folded && !prof_has_fold(p))
        return;
    cli_say(stdout,
            folded ? "folded    scales of keys are in the weights" : "scales    that kvpack --fold writes into the weights");
    if (*p->fold_for)
        cli_say(stdout, ", made for caches %s", p->fold_for);
    if (folded)
        cli_say(stdout, "; the model before has hash %s (--strip)", hp->folded_from);
    printf("\n");
    for (uint32_t i = 0; i < p->n_folding; i++) {
        const prof_folding *f = &p->folding[i];
        cli_say(stdout, "          keys and values in %-6s KLD %.5f +- %.5f, folded %.5f +- %.5f, on %u tokens, context %u\n",
                kv_codec_names[f->cache].name, f->before, f->before_se, f->after, f->after_se, f->tokens, f->ctx);
    }
}

/* ---- layer by layer ---- */

enum { BAR = 18 };

/* Bits that one mark of a bar stands for, so that the longest bar fits. */
static double mark_bits(const prof *p, const rt_hparams *hp) {
    double most = 0, mark = 0.25;
    for (uint32_t l = 0; l < pack_n_layers(p, hp); l++)
        for (int v = 0; v < 2; v++) {
            const double bits = pack_sum(p, hp, v, l).bits;
            most = bits > most ? bits : most;
        }
    while (most > mark * BAR)
        mark *= 2;
    return mark;
}

static void show_stream(pack_stream stream, double mark, bool last) {
    char bar[BAR + 1] = "", bits[16] = "?";
    memset(bar, '#', (size_t)(stream.bits / mark + 0.5));
    if (stream.bits > 0)
        snprintf(bits, sizeof bits, "%.2f", stream.bits);
    cli_say(stdout, "  %-7s%5s %-*s", stream.mixed ? "mixed" : kv_codec_names[stream.codec].name, bits, last ? 0 : BAR, bar);
}

static void show_entropy(const prof *p, uint32_t layer) {
    const prof_layer *l = &p->layers[layer];
    float least = l->entropy[0], most = l->entropy[0];
    double sum = 0;
    const uint32_t n = prof_heads(p, layer);
    for (uint32_t h = 0; h < n; h++) {
        least = l->entropy[h] < least ? l->entropy[h] : least;
        most = l->entropy[h] > most ? l->entropy[h] : most;
        sum += (double)l->entropy[h];
    }
    cli_say(stdout, "  %5.2f (%.2f..%.2f)", sum / n, (double)least, (double)most);
}

/* Tokens of a head, and the range of the heads where they differ. */
static void show_budget(const prof *p, uint32_t layer) {
    const prof_layer *l = &p->layers[layer];
    uint32_t least = l->budget, most = l->budget;
    for (uint32_t h = 0; l->budgets && h < prof_kv_heads(p, layer); h++) {
        least = l->budgets[h] < least ? l->budgets[h] : least;
        most = l->budgets[h] > most ? l->budgets[h] : most;
    }
    cli_say(stdout, "%*u", l->entropy ? 8 : 27, l->budget);
    if (least < most)
        cli_say(stdout, " (%u..%u)", least, most);
}

static void show_heads(const prof *p, const rt_hparams *hp, uint32_t layer, bool v, pack_stream stream) {
    cli_say(stdout, "       %s heads", v ? "V" : "K");
    for (uint32_t h = 0; h < pack_n_heads(p, hp, layer); h++) {
        const prof_head head = pack_head(p, hp, v, layer, h);
        cli_say(stdout, "%s %.2f", h ? "," : "", (double)head.bits);
        if (stream.mixed)
            cli_say(stdout, " %s", kv_codec_names[head.codec].name);
    }
    putchar('\n');
}

static void show_layers(const prof *p, const rt_hparams *hp) {
    const uint32_t n = pack_n_layers(p, hp);
    const double mark = mark_bits(p, hp);
    bool has_entropy = false;
    for (uint32_t i = 0; p->layers && i < n; i++)
        has_entropy |= p->layers[i].entropy != NULL;
    if (!n)
        return;
    cli_say(stdout, "\nlayer  K        bits %-*s  V        bits", BAR, "");
    if (has_entropy)
        cli_say(stdout, " %-*s  entropy, bits       budget", BAR, "");
    putchar('\n');
    for (uint32_t i = 0; i < n; i++) {
        const prof_layer *l = p->layers ? &p->layers[i] : NULL;
        cli_say(stdout, "%5u", i);
        if (!pack_n_heads(p, hp, i)) {
            cli_say(stdout, "  no keys and values of its own\n");
            continue;
        }
        for (int v = 0; v < 2; v++)
            show_stream(pack_sum(p, hp, v, i), mark, v && !(l && (l->entropy || l->budget)));
        if (l && l->entropy)
            show_entropy(p, i);
        if (l && l->budget)
            show_budget(p, i);
        putchar('\n');
        for (int v = 0; v < 2; v++) {
            const pack_stream stream = pack_sum(p, hp, v, i);
            if (stream.uneven)
                show_heads(p, hp, i, v, stream);
        }
    }
    cli_say(stdout, "# is %g bits", mark);
    if (has_entropy)
        cli_say(stdout, "; entropy: mean over heads (least..most)");
    if (prof_has_budgets(p))
        cli_say(stdout, "; budget: tokens of a KV head by %s, mean (least..most); %s", prof_budget_by_name(p->budget_by),
                prof_has_losses(p) ? "any other is shared out anew" : "only ratios count");
    putchar('\n');
}

/* ---- sizes ---- */

static kv_status show_sizes(const prof *p, const rt_hparams *hp, kv_err *err) {
    kv_cache_info info[PACK_SIZES];
    pack_token token;
    char a[24], b[24];
    kv_status st = pack_token_bytes(p, hp, &token, err);
    if (st)
        return st;
    putchar('\n');
    if (token.bytes > 0)
        cli_say(stdout, "an encoded token takes %.0f bytes, in f16 %.0f: %.2f times smaller\n", token.bytes, token.f16,
                token.f16 / token.bytes);
    if (!hp) {
        cli_say(stdout, "%scache sizes depend on the model: kvpack --show PROFILE MODEL, or pack it and show that\n",
                token.bytes > 0 ? "" : "bytes per token and ");
        return KV_OK;
    }
    if ((st = pack_sizes(p, hp, info, err)))
        return st;
    cli_say(stdout, "\ntokens          f16  this profile  times smaller\n");
    for (uint32_t i = 0; i < PACK_SIZES; i++)
        cli_say(stdout, "%5uK  %11s  %12s  %13.2f\n", pack_tokens[i] / 1024, format_bytes((double)info[i].bytes_f16, a),
                format_bytes((double)info[i].bytes, b), (double)info[i].bytes_f16 / (double)info[i].bytes);
    cli_say(stdout,
            "all that a context allocates for keys and values: encoded, window, first tokens, and what %d at once need\n",
            PACK_BATCH);
    if (hp->swa)
        cli_say(stdout, "%u of %u layers slide over %u tokens and hold no more than those, in f16 too\n",
                hp->n_layer - hp->n_layer / hp->swa_every, hp->n_layer, hp->swa);
    return KV_OK;
}

kv_status pack_show_text(const prof *p, const rt_hparams *hp, const char *where, kv_err *err) {
    show_identity(p, hp, where);
    show_policy(p, hp);
    for (const prof *q = p; q; q = q->narrower)
        show_measured(q, p->narrower);
    show_folding(p, hp);
    show_layers(p, hp);
    kv_status st = show_sizes(p, hp, err);
    return st ? st : fflush(stdout) ? kv_fail(err, KV_EIO, "cannot write to stdout") : KV_OK;
}
