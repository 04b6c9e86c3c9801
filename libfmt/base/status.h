/* Status codes and error details, as <kv/status.h> has them for everybody, and the way to fill them in: the one error idiom of
 * the project. Libraries never print and never exit, and what they say of a number does not name the option that set it.
 */
#ifndef KV_STATUS_H
#define KV_STATUS_H

#include <kv/status.h>

/* Fill `err` (may be NULL) printf-like and return `code`, so that a failing function can `return kv_fail(...)`. Whatever names
 * and texts of files are in it, the message is one line that can be shown anywhere (base/printable.h). err->msg may be among
 * what is printed. */
kv_status kv_fail(kv_err *err, kv_status code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
#ifdef __clang_analyzer__ /* does not look into other files, and would take a failure for a success */
#define kv_fail(err, code, ...) ((void)(kv_fail)(err, code, __VA_ARGS__), (code))
#endif

#endif
