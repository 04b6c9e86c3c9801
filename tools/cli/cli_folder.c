#include "cli/cli_folder.h"

#include "base/folder.h"

#include <stdio.h>
#include <stdlib.h>

/* Below what a variable says, or else below a folder of the home folder. */
static kv_status user_folder(const char *variable, const char *usual, const char *name, char path[CLI_FOLDER], kv_err *err) {
    const char *xdg = getenv(variable), *home = getenv("HOME");
    const bool own = xdg && *xdg == '/'; /* others do not count, says the standard */
    if (!own && (!home || !*home))
        return kv_fail(err, KV_EINVAL, "there is no home folder: set HOME or %s", variable);
    const int n =
        snprintf(path, CLI_FOLDER, "%s%s/kvcalib%s%s", own ? xdg : home, own ? "" : usual, name ? "/" : "", name ? name : "");
    if (n < 0 || n >= CLI_FOLDER)
        return kv_fail(err, KV_EINVAL, "the path of a folder is too long");
    return KV_OK;
}

kv_status cli_cache_path(const char *name, char path[CLI_FOLDER], kv_err *err) {
    return user_folder("XDG_CACHE_HOME", "/.cache", name, path, err);
}

kv_status cli_config_path(const char *name, char path[CLI_FOLDER], kv_err *err) {
    return user_folder("XDG_CONFIG_HOME", "/.config", name, path, err);
}

kv_status cli_cache_folder(const char *name, char path[CLI_FOLDER], kv_err *err) {
    kv_status st = cli_cache_path(name, path, err);
    return st ? st : folder_make(path, err);
}

kv_status cli_data_path(const char *name, char path[CLI_FOLDER], kv_err *err) {
    return user_folder("XDG_DATA_HOME", "/.local/share", name, path, err);
}

kv_status cli_data_folder(const char *name, char path[CLI_FOLDER], kv_err *err) {
    kv_status st = cli_data_path(name, path, err);
    return st ? st : folder_make(path, err);
}

kv_status cli_state_folder(const char *name, char path[CLI_FOLDER], kv_err *err) {
    kv_status st = user_folder("XDG_STATE_HOME", "/.local/state", name, path, err);
    return st ? st : folder_make(path, err);
}
