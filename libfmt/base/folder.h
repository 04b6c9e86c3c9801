/* Folders. */
#ifndef KV_FOLDER_H
#define KV_FOLDER_H

#include "base/status.h"

/* Make a folder and those above it that are missing, for the user alone (0700). KV_EIO names the one that cannot be made. */
kv_status folder_make(const char *path, kv_err *err);

#endif
