/* The tokens of what a request asks. */
#ifndef SERVE_PROMPTS_H
#define SERVE_PROMPTS_H

#include "serve/request.h"
#include "serve/speech.h"

typedef struct sv_prompt {
    int32_t *ids; /* (n) */
    size_t n;
} sv_prompt;

typedef struct sv_prompts {
    sv_prompt *p; /* (n) */
    size_t n;
    bool thinking; /* the prompt ends inside a thought */
} sv_prompts;      /* free with prompts_free */

/* onward: they go on from a stored context, which has begun the text already. KV_EUNSUPP: a chat, but the model has no chat
 * format; KV_ERANGE: one does not fit, with n_prompt_tokens and n_ctx; errors of chat_render_request and tok_encode. */
kv_status prompts_of(const sv_engine *e, const sv_request *q, bool onward, sv_prompts *out, kv_err *err);
void prompts_free(sv_prompts *p);
/* The chat as text, as the model's template writes it. out: free with tpl_text_free. */
kv_status prompts_render(const sv_engine *e, const sv_request *q, tpl_text *out, bool *thinking, kv_err *err);

#endif
