/* Models by name: what is in the folder of models, what catalogues know, and which file a word of the command line means.
 *
 *   $KV_MODEL_DIR, else $XDG_CACHE_HOME/kvcalib/models (~/.cache without that variable)   the folder
 *   models/catalogue.yaml where kvcalib was installed                                      the catalogue
 *   $XDG_CONFIG_HOME/kvcalib/models.yaml (~/.config)                                       the user's, which stands before it
 */
#ifndef CLI_MODELS_H
#define CLI_MODELS_H

#include "cli/cli_folder.h"
#include "models/catalogue.h"
#include "models/store.h"

#include <stdio.h>

/* The folder; it need not be there. KV_EINVAL: there is no home folder. */
kv_status cli_models_folder(char path[CLI_FOLDER], kv_err *err);

typedef struct cli_models {
    char folder[CLI_FOLDER];
    store_list here;
    catalogue *known;
} cli_models;

/* Read all of it. To be closed in every case. Errors of store_read and catalogue_open. */
kv_status cli_models_open(cli_models *m, kv_err *err);
void cli_models_close(cli_models *m);

/* The model that a word means, among those in the folder: its name or its file; its name in a catalogue; the beginning of
 * either, if only one begins so. Letters may be small or capital. *out: borrowed; NULL: there is none, and no error.
 * KV_EINVAL: several begin so; the message lists them. */
kv_status cli_models_find(const cli_models *m, const char *word, const store_row **out, kv_err *err);
/* An error that says that there is no such model, what was perhaps meant, and what could be done. */
kv_status cli_models_unknown(const cli_models *m, const char *word, kv_err *err);
/* The entry of the catalogues for a model that is here; or NULL. */
const catalogue_entry *cli_models_entry(const cli_models *m, const store_row *row);

/* The names of models that are here, and what catalogues call them, one a line; what cannot be read is passed over. */
void cli_models_names(FILE *to);

/* The file that a word means: what is there under this name, or looks like a path, is taken as it is. path: CLI_FOLDER bytes.
 * *found false: it means nothing; path is the word. KV_EIO: likewise, as an error of cli_models_unknown, where found is NULL.
 * Errors of the others. */
kv_status cli_model_path(const char *word, char path[CLI_FOLDER], bool *found, kv_err *err);

#endif
