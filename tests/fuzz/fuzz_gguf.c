/* A model file, from its first byte to the tokens that come of it. */
#include "fuzz/fuzz.h"

#include "model/fold.h"
#include "model/model.h"
#include "profile/profile.h"
#include "text/chat.h"

enum { READ = 3, CTX = 128 };

static void walk_key(const gguf *g, const gguf_kv *kv) {
    size_t cursor = 0;
    uint64_t n = 0;
    gguf_str s;
    double sum = 0;
    while (gguf_next_str(kv, &cursor, &s))
        n += s.len ? 1 + !s.s[s.len - 1] : 1;
    if (kv->type == GGUF_ARRAY && kv->elem_type != GGUF_STRING)
        for (uint64_t i = 0; i < kv->count && i < 1000; i++)
            sum += gguf_array_f64(kv, i) + (double)gguf_array_i64(kv, i);
    FUZZ_MUST(sum != 1e-300 && n < UINT64_MAX); /* the loops are not for nothing */
    const gguf_kv *found = gguf_find(g, "general.architecture");
    FUZZ_MUST(!found || found->type < GGUF_TYPE_COUNT);
}

static void walk(const gguf *g) {
    char hash[33];
    uint64_t bytes = 0;
    for (size_t i = 0; i < gguf_n_kv(g); i++)
        walk_key(g, gguf_kv_at(g, i));
    for (size_t i = 0; i < gguf_n_tensors(g); i++)
        bytes += gguf_tensor_at(g, i)->nbytes;
    FUZZ_MUST(bytes <= gguf_file_bytes(g));
    gguf_model_hash(g, hash, NULL);
}

/* Everything that looks into a file without loading the model. */
static void look(const char *path) {
    gguf *g;
    kv_err err;
    rt_hparams hp;
    prof *p;
    kv_status st = gguf_open(path, &g, &err);
    fuzz_said(st, &err, path);
    if (st)
        return;
    walk(g);
    fuzz_said(rt_hparams_read(g, &hp, &err), &err, path);
    fuzz_said(prof_from_gguf(g, NULL, &p, &err), &err, path);
    prof_free(p);
    if (rt_folded(g) && !rt_hparams_read(g, &hp, NULL))
        fuzz_said(rt_fold_take_back(g, &hp, &err), &err, path);
    chat_format *chat = NULL;
    if (chat_open(g, NULL, NULL, &chat, &err))
        FUZZ_MUST(*err.msg);
    chat_free(chat);
    gguf_close(g);
}

static void run(rt_model *m, size_t size) {
    rt_ctx_cfg cfg = RT_CTX_CFG_DEFAULT;
    rt_ctx *c;
    kv_err err;
    const uint32_t n_vocab = rt_model_hparams(m)->n_vocab;
    int32_t tokens[READ];
    float *logits = malloc(n_vocab * sizeof *logits);
    FUZZ_MUST(logits);
    cfg.n_ctx = CTX;
    cfg.n_batch = READ;
    cfg.ctk = (int)(size % KV_CODEC_COUNT);
    cfg.ctv = (int)(size / KV_CODEC_COUNT % KV_CODEC_COUNT);
    for (int i = 0; i < READ; i++)
        tokens[i] = (int32_t)((size_t)i * 7 % n_vocab);
    if (!rt_ctx_new(m, &cfg, &c, &err)) {
        kv_status st = rt_forward(c, tokens, READ, 1, logits, &err);
        if (!st)
            st = rt_forward(c, tokens, 1, 1, logits, &err);
        for (uint32_t i = 0; !st && i < n_vocab; i++)
            FUZZ_MUST(logits[i] - logits[i] == 0); /* neither NaN nor Inf */
        FUZZ_MUST(!st || *err.msg);
        rt_ctx_free(c);
    }
    free(logits);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char path[64];
    const int fd = fuzz_file(data, size, path);
    rt_exec e;
    rt_model *m;
    kv_err err;
    look(path);
    FUZZ_MUST(!rt_exec_init(&e, size & 2 ? "scalar" : NULL, 1, false, &err));
    e.in_place = size % 2;
    kv_status st = rt_model_load(path, &e, &m, &err);
    fuzz_said(st, &err, path);
    if (!st) {
        run(m, size);
        rt_model_free(m);
    }
    close(fd);
    return 0;
}
