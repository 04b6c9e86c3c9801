/* libkv: language models whose KV cache is compressed by measuring them first. All headers in one; docs/api.md is the manual.
 *
 *     model    = weights, vocabulary        kv_model_load
 *     session  = a sequence and its cache   kv_session_new, kv_session_prefill, kv_session_decode
 *     pool     = a workspace that sessions share, for steps of many  kv_pool_new, kv_pool_step
 *     context  = what a session has read, in a file  kv_context_save, kv_context_open
 *     profile  = how caches are compressed  kv_calibrate, kv_profile_load, kv_profile_pack
 */
#ifndef KV_PUBLIC_KV_H
#define KV_PUBLIC_KV_H

#include <kv/calibrate.h>
#include <kv/context.h>
#include <kv/model.h>
#include <kv/pool.h>
#include <kv/profile.h>
#include <kv/session.h>
#include <kv/status.h>
#include <kv/text.h>
#include <kv/version.h>

#endif
