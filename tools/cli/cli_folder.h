/* Folders of the user's. */
#ifndef CLI_FOLDER_H
#define CLI_FOLDER_H

#include "base/status.h"

enum { CLI_FOLDER = 4096 };

/* $XDG_CACHE_HOME/kvcalib/NAME, else ~/.cache/kvcalib/NAME, to path; it is made if it is not there, for the user alone. name
 * NULL: the folder above. KV_EINVAL: there is no home folder; KV_EIO. */
kv_status cli_cache_folder(const char *name, char path[CLI_FOLDER], kv_err *err);
kv_status cli_cache_path(const char *name, char path[CLI_FOLDER], kv_err *err); /* the same, and it is not made */
/* $XDG_CONFIG_HOME/kvcalib/NAME, else ~/.config/kvcalib/NAME: likewise. */
kv_status cli_config_path(const char *name, char path[CLI_FOLDER], kv_err *err);
/* The same in $XDG_DATA_HOME/kvcalib, else in ~/.local/share/kvcalib. */
kv_status cli_data_folder(const char *name, char path[CLI_FOLDER], kv_err *err);
kv_status cli_data_path(const char *name, char path[CLI_FOLDER], kv_err *err);
/* The same in $XDG_STATE_HOME/kvcalib, else in ~/.local/state/kvcalib. */
kv_status cli_state_folder(const char *name, char path[CLI_FOLDER], kv_err *err);

#endif
