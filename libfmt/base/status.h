/* Status codes and error details: the one error idiom of the project.
 *
 * Every function that can fail returns a kv_status and takes an optional last `kv_err *`. On failure the details (file, place,
 * fix) are written there; on success the kv_err is left alone. Libraries never print and never exit.
 */
#ifndef KV_STATUS_H
#define KV_STATUS_H

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
} kv_status;

typedef struct kv_err {
    kv_status code;
    char msg[1024]; /* one line, no newline at the end: "model.gguf: tensor 'x': offset 123 is not aligned to 32" */
} kv_err;

/* Fill `err` (may be NULL) printf-like and return `code`, so that a failing function can `return kv_fail(...)`. */
kv_status kv_fail(kv_err *err, kv_status code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#endif
