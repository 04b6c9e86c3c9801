/* Which version this is. The numbers mean: major, what breaks programs; minor, what is new (and, while major is 0, may break
 * them, too); patch, what is repaired. CMake reads them from here. */
#ifndef KV_PUBLIC_VERSION_H
#define KV_PUBLIC_VERSION_H

#include <kv/status.h>

#define KV_VERSION_MAJOR 0
#define KV_VERSION_MINOR 2
#define KV_VERSION_PATCH 0

#define KV_VERSION_TEXT_(x)                  #x
#define KV_VERSION_TEXT(major, minor, patch) KV_VERSION_TEXT_(major) "." KV_VERSION_TEXT_(minor) "." KV_VERSION_TEXT_(patch)
#define KV_VERSION_STRING                    KV_VERSION_TEXT(KV_VERSION_MAJOR, KV_VERSION_MINOR, KV_VERSION_PATCH)
#define KV_VERSION                           (KV_VERSION_MAJOR * 1000000 + KV_VERSION_MINOR * 1000 + KV_VERSION_PATCH)

#ifdef __cplusplus
extern "C" {
#endif

/* Of the library that runs, which may be a later one than the headers that a program was built with. */
KV_API const char *kv_version(void);    /* KV_VERSION_STRING */
KV_API int32_t kv_version_number(void); /* KV_VERSION */

#ifdef __cplusplus
}
#endif

#endif
