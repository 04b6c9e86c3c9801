/* Profiles that are shipped: NAME.yaml in a directory is the profile NAME, models/ in it holds profiles for single models. */
#ifndef SHIPPED_H
#define SHIPPED_H

#include "profile/profile.h"

enum { SHIPPED_PATH = 4096, SHIPPED_KNOWN = 320 };

/* The directory that belongs to the program or library that this code is part of: where it was installed with it, found from
 * its own place, so that the installed tree may be moved; the source tree for what still lies where it was built; else where it
 * was to be installed. */
void shipped_directory(char out[SHIPPED_PATH]);

/* Directories that are not there, or not for us to read, hold no profiles; whatever else keeps one from being read is an error
 * (KV_EIO, KV_ENOMEM), as another profile, or none, would be taken in place of it. */

/* The profile of that name in the first of n directories that has one; *found false: in none, and known lists those that there
 * are, "balanced, small", "" if there are none. */
kv_status shipped_by_name(const char *const *dirs, size_t n, const char *name, bool *found, char path[SHIPPED_PATH],
                          char known[SHIPPED_KNOWN], kv_err *err);

/* Show the name of every profile of n directories; twice where two have it. */
typedef void shipped_name(void *user, const char *name);
kv_status shipped_names(const char *const *dirs, size_t n, shipped_name *show, void *user, kv_err *err);

/* Told of a profile that names the model, but is broken or does not fit: it is passed over. */
typedef void shipped_broken(void *user, const kv_err *why);

/* The profile whose model.hash is hash, in the models/ of n directories, to *out, or NULL; caller frees with prof_free. path:
 * where it was found. broken may be NULL. */
kv_status shipped_by_model(const char *const *dirs, size_t n, const char *hash, const prof_shape *shape, prof **out,
                           char path[SHIPPED_PATH], shipped_broken *broken, void *user, kv_err *err);

#endif
