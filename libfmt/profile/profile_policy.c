/* The policy of a hand-written profile: codecs for ranges of layers and heads. */
#include "profile/profile_internal.h"

#include <stdio.h>
#include <string.h>

/* ---- ranges ---- */

bool prof_ranges_parse(const char *text, uint32_t most, prof_ranges *out) {
    uint32_t next = 0; /* the least number that may come */
    *out = (prof_ranges){0};
    for (;; text++) {
        prof_range r;
        if (out->n == PROF_MAX_RANGES || !prof_digits(&text, most, &r.from) || r.from < next)
            return false;
        r.to = r.from;
        if (*text == '-' && !*++text)
            r.to = UINT32_MAX;
        else if (text[-1] == '-' && (!prof_digits(&text, most, &r.to) || r.to < r.from))
            return false;
        out->r[out->n++] = r;
        if (*text != ',' || r.to == UINT32_MAX)
            return !*text;
        next = r.to + 1;
    }
}

void prof_ranges_format(const prof_ranges *r, char out[PROF_RANGES_TEXT]) {
    size_t len = 0;
    out[0] = '\0';
    for (uint32_t i = 0; i < r->n; i++) {
        const char *comma = i ? "," : "";
        char *at = out + len;
        const size_t room = PROF_RANGES_TEXT - len;
        if (r->r[i].to == UINT32_MAX)
            len += (size_t)snprintf(at, room, "%s%u-", comma, r->r[i].from);
        else if (r->r[i].to == r->r[i].from)
            len += (size_t)snprintf(at, room, "%s%u", comma, r->r[i].from);
        else
            len += (size_t)snprintf(at, room, "%s%u-%u", comma, r->r[i].from, r->r[i].to);
    }
}

static bool names(const prof_ranges *r, uint32_t i) {
    for (uint32_t j = 0; j < r->n; j++)
        if (i >= r->r[j].from && i <= r->r[j].to)
            return true;
    return r->n == 0;
}

/* The greatest number that is named. */
static uint32_t top(const prof_ranges *r) {
    if (!r->n)
        return 0;
    const prof_range *last = &r->r[r->n - 1];
    return last->to == UINT32_MAX ? last->from : last->to;
}

kv_status prof_check_overrides(const prof *p, uint32_t n_layer, uint32_t n_kv_head, const char *where, kv_err *err) {
    for (uint32_t i = 0; i < p->n_override; i++) {
        const prof_override *o = &p->overrides[i];
        const uint32_t layer = top(&o->layers), head = top(&o->heads);
        if (n_layer && layer >= n_layer)
            return kv_fail(err, KV_EMISMATCH, "%s: policy.overrides[%u].layers: names layer %u, but the model has %u (0-%u)",
                           where, i, layer, n_layer, n_layer - 1);
        if (n_kv_head && head >= n_kv_head)
            return kv_fail(err, KV_EMISMATCH, "%s: policy.overrides[%u].heads: names KV head %u, but the model has %u (0-%u)",
                           where, i, head, n_kv_head, n_kv_head - 1);
    }
    return KV_OK;
}

/* ---- which codec ---- */

static prof_head by_policy(const prof *p, bool v, uint32_t layer, uint32_t head) {
    kv_codec_id codec = v ? p->default_v : p->default_k;
    for (uint32_t i = 0; i < p->n_override; i++) {
        const prof_override *o = &p->overrides[i];
        const prof_choice *c = v ? &o->v : &o->k;
        if (c->set && names(&o->layers, layer) && names(&o->heads, head))
            codec = c->codec;
    }
    return (prof_head){.codec = codec, .bits = prof_codec_bits(codec, !v, p->head_dim)};
}

prof_head prof_head_k(const prof *p, uint32_t layer, uint32_t head) {
    return p->layers ? prof_kv_head(&p->layers[layer].k, head) : by_policy(p, false, layer, head);
}

prof_head prof_head_v(const prof *p, uint32_t layer, uint32_t head) {
    return p->layers ? prof_kv_head(&p->layers[layer].v, head) : by_policy(p, true, layer, head);
}
