/* What all headers of libkv share: errors, the callback of long work, memory that the library hands out, and how structures
 * grow.
 *
 * Errors. Every function that can fail returns a kv_status and takes, last, a kv_err that may be NULL. On failure the sentence
 * that says what is wrong goes there; on success it is left alone. The library never prints, exits, reads the environment or
 * touches signals, unless it is asked to (kv_guard_model_files).
 *
 * Structures. Options and facts begin with their size, and later versions add members at the end; so a program that was built
 * with older headers goes on working with a newer library, and the other way round. Initialise them with the macro of their
 * name, kv_session_options o = KV_SESSION_OPTIONS_INIT; and change what matters. A shorter structure than the library's is
 * completed with defaults. A longer one is taken as long as all bytes that the library does not know are 0 (KV_EINVAL
 * otherwise); of facts, those are set to 0.
 */
#ifndef KV_PUBLIC_STATUS_H
#define KV_PUBLIC_STATUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What the library exports. KV_STATIC: for programs that link the static library on Windows; KV_BUILDING: the library itself.
 */
#if defined(_WIN32) && !defined(KV_STATIC)
#ifdef KV_BUILDING
#define KV_API __declspec(dllexport)
#else
#define KV_API __declspec(dllimport)
#endif
#elif defined(__GNUC__) && !defined(_WIN32)
#define KV_API __attribute__((visibility("default")))
#else
#define KV_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef enum kv_status {
    KV_OK = 0,
    KV_EINVAL,    /* an argument makes no sense */
    KV_EIO,       /* the operating system refused: open, read, write, rename */
    KV_EFORMAT,   /* the bytes of a file do not mean what they must */
    KV_ENOMEM,    /* out of memory, or a size that cannot be right */
    KV_ERANGE,    /* a number outside its range, NaN or Inf where none may be */
    KV_EUNSUPP,   /* well-formed, but not supported here: architecture, tensor type, codec */
    KV_EMISMATCH, /* two things that do not belong together: profile and model, say */
    KV_ECANCEL,   /* the caller asked to stop */
    KV_EBUSY,     /* not now: as many are at work or wait as may; later it may be done */
} kv_status;

typedef struct kv_err {
    kv_status code;
    char msg[1024]; /* one line, no newline at the end: "model.gguf: tensor 'x': offset 123 is not aligned to 32" */
} kv_err;

/* "KV_EINVAL"; of a number that is no status "unknown". */
KV_API const char *kv_status_name(kv_status status);

/* How far a long piece of work is, and the way to stop it. All callbacks of the library are of this kind: they are given what
 * the caller set as `user`, run in the thread that called the library, never two at once, and return whether to go on. What
 * was stopped so returns KV_ECANCEL, unless its description says otherwise. A callback may not use the session or other object
 * that calls it.
 * done: 0..1. NULL in place of the function: nobody wants to know. */
typedef bool (*kv_progress)(void *user, double done);

/* Frees what a function says is to be freed with it; NULL is fine. */
KV_API void kv_free(void *memory);

#ifdef __cplusplus
}
#endif

#endif
