/* What routes lead to; each as sv_route's handle. */
#ifndef SERVE_HANDLERS_H
#define SERVE_HANDLERS_H

#include "serve/server.h"

/* ---- ask.c: whatever a dialect asks ---- */
kv_status handle_ask(sv_exchange *x, kv_err *err);

/* ---- about.c: what is served ---- */
kv_status handle_models(sv_exchange *x, kv_err *err);
kv_status handle_model(sv_exchange *x, kv_err *err);
kv_status handle_tags(sv_exchange *x, kv_err *err);
kv_status handle_show(sv_exchange *x, kv_err *err);
kv_status handle_ps(sv_exchange *x, kv_err *err);
kv_status handle_version(sv_exchange *x, kv_err *err);
kv_status handle_props(sv_exchange *x, kv_err *err);

/* ---- page.c: the page for people ---- */
kv_status handle_page(sv_exchange *x, kv_err *err);

/* ---- state.c: how the server is ---- */
kv_status handle_health(sv_exchange *x, kv_err *err);
kv_status handle_metrics(sv_exchange *x, kv_err *err);
kv_status handle_slots(sv_exchange *x, kv_err *err);

/* ---- ask.c: texts and tokens ---- */
kv_status handle_tokenize(sv_exchange *x, kv_err *err);
kv_status handle_detokenize(sv_exchange *x, kv_err *err);
kv_status handle_template(sv_exchange *x, kv_err *err);

/* ---- stored.c: contexts by name ---- */
kv_status handle_contexts(sv_exchange *x, kv_err *err);
kv_status handle_context_new(sv_exchange *x, kv_err *err);
kv_status handle_context_put(sv_exchange *x, kv_err *err);
kv_status handle_context_delete(sv_exchange *x, kv_err *err);

#endif
