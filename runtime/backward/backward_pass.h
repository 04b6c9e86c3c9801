/* A pass forward and backward: what backward.c, backward_steps.c, backward_output.c and backward_experts.c share. */
#ifndef RT_BACKWARD_PASS_H
#define RT_BACKWARD_PASS_H

#include "backward/backward.h"
#include "backward/backward_internal.h"
#include "model/experts.h"

enum { BACK_GRAIN = 8 /* rows of a thread at a time */ };

/* Of a layer whose keys and values later ones read, too: those, and the gradients that come from these, (n, n_kv_head,
 * head_dim) each. */
enum { SHARED_K, SHARED_V, SHARED_DK, SHARED_DV, SHARED_FAR_K, SHARED_FAR_V, SHARED_PARTS };
typedef struct shared_kv {
    float *part[SHARED_PARTS]; /* NULL: nobody else reads them */
} shared_kv;

typedef struct pass {
    const rt_model *m;
    const rt_backward_cfg *cfg;
    rt_exec exec; /* the model's, with threads of its own */
    uint32_t n;
    rt_act *act;
    attn_seq attn;
    rt_rope rope, rope_back, frame_back; /* the latter two rotate the other way */
    float *scratch;                      /* one allocation for all that follow */
    float *in;                           /* (n_layer, n, n_embd) inputs of the layers */
    float *x, *h, *a, *f, *g;            /* (n, n_embd): stream, normed stream, what blocks add, gradient of the stream */
    float *q, *q_raw, *o, *d_q, *d_o;    /* (n, n_head, head_dim); raw: before norm and RoPE */
    float *k, *k_raw, *v, *d_k, *d_v, *far_k, *far_v; /* (n, n_kv_head, head_dim) */
    float *gate, *up, *d_act;                         /* (n, width of the FFN) */
    rt_moe moe;
    float *d_routes;         /* (n, n_expert) gradient of the logits of the router */
    float *d_weights, *dots; /* (n, n_expert_used) of their weights; (n) */
    float *d_expert[3];      /* (n, n_embd) gradients of what experts read; of one's answer; of what it reads */
    float *entropy;          /* (n, n_head) */
    float *cut;              /* (n, n_head, n_cut) */
    shared_kv shared[PROF_MAX_LAYERS];
    float *both;        /* (n, n_embd) gradient of what attention and FFN both read */
    float *mat_t;       /* of mat_mul_t */
    size_t steps, step; /* of progress */
} pass;

/* ---- backward_steps.c ---- */

/* g += norm^T(d): gradient through out = norm of x, for rows of dim; row t has weights w + t % n_weights * dim. RMS: y = x w r,
 * r = 1/sqrt(mean x^2 + eps): g_i += r (w_i d_i - x_i r^2 mean(w d x)). A layer norm takes the mean of x off before that, and
 * the mean of what comes back after it. With `add` false g is overwritten; it may be d then. */
void back_norm(const pass *p, const float *x, const float *w, size_t n_weights, const float *d, size_t n, size_t dim, bool add,
               float *g);
/* y (n, cols of w) = x W, or += with `add`; x (n, rows of w). */
void back_through(const pass *p, const rt_mat *w, const float *x, float *y, bool add);
/* Gradients of p->gate and p->up (n, width), which hold what went into act(gate) * up, in their place; from p->d_act. */
void back_gate(pass *p, uint32_t n, size_t width);
/* What comes back into a block whose output x was normed (norm->w) and scaled, into x; g of the stream stays. Returns x, or g
 * where that is it. */
const float *back_block(const pass *p, float *x, const rt_norm *norm);
/* g += norm^T(d) of a norm of the stream x; without weights it is no norm. */
void back_stream(const pass *p, const float *x, const rt_norm *norm, const float *d, float *g);

/* So many more steps are done: tell, and look whether to go on. KV_ECANCEL; KV_EIO: the file has changed. */
static inline kv_status back_advance(pass *p, size_t steps, kv_err *err) {
    p->step += steps;
    if (p->cfg->progress && !p->cfg->progress(p->cfg->progress_user, (double)p->step / (double)p->steps))
        return kv_fail(err, KV_ECANCEL, "cancelled");
    return gguf_unchanged(p->m->file, err);
}

/* ---- backward_output.c ---- */

/* From the stream behind all layers, in x, to the gradient of it, in g: of the sum of log p of what is drawn, or given.
 * KV_ENOMEM */
kv_status back_output(pass *p, kv_err *err);

/* ---- backward_experts.c ---- */

/* From g behind the experts of layer y to g before them; p->h is what they read. */
void back_experts(pass *p, const rt_layer *y);

#endif
