/* Finding profiles: by name or file, and those shipped for a model. They are looked for in, one after the other,
 *   $KVCALIB_PROFILES                  directories separated by ':'
 *   $XDG_DATA_HOME/kvcalib/profiles    (~/.local/share without that variable)
 *   where kvcalib was installed; for programs that lie where they were built, the source tree
 * NAME.yaml in such a directory is the profile NAME, models/ in it holds profiles for single models. */
#ifndef CLI_PROFILE_H
#define CLI_PROFILE_H

#include "model/model.h"
#include "profile/profile.h"
#include "shipped/shipped.h"

#include <stdio.h>

enum { CLI_PROFILE_PATH = SHIPPED_PATH };

/* Where the profile is that a name or path stands for, as cli_find_profile takes it; a path need not exist. path
 * CLI_PROFILE_PATH bytes. KV_EINVAL: no such name (lists those there are); KV_ENOMEM, KV_EIO: it could not be looked for. */
kv_status cli_profile_path(const char *name_or_path, char *path, kv_err *err);

/* The names of those that are shipped, one a line, in the order in which they are found; twice where two directories have it.
 */
void cli_profile_names(FILE *to);

/* Load the profile that --profile and --preset name: "small" is a shipped one; what has a '/' in it or ends with .yaml is a
 * file. path  CLI_PROFILE_PATH bytes: where it was found; or NULL. *out: caller frees with prof_free. Errors of
 * cli_profile_path and prof_load. */
kv_status cli_find_profile(const char *name_or_path, prof **out, char *path, kv_err *err);

/* The shipped profile whose model.hash is hash, or NULL, to *out; caller frees with prof_free. Those that are broken or do not
 * fit the model are passed over, with a note on stderr that names them. path: CLI_PROFILE_PATH bytes, where it was found. */
kv_status cli_shipped_profile(const char *tool, const char *hash, const rt_hparams *hp, prof **out, char *path, kv_err *err);

/* What folding its scales is worth, measured (prof_folding): a list of objects. */
struct json_t *cli_profile_folding(const prof *p);

#endif
