/* Catalogues of models; and the same bytes as an address. */
#include "fuzz/fuzz.h"

#include "fetch/fetch.h"
#include "models/catalogue.h"

/* What an entry says may become a path of a folder of the user's, and an address. */
static void entry_is_safe(const catalogue_entry *e, bool named) {
    char address[CATALOGUE_ADDRESS];
    kv_err err;
    const size_t n = strlen(e->file);
    FUZZ_MUST(!named || (*e->name && strlen(e->name) < CATALOGUE_NAME && !strpbrk(e->name, "/\\ \n")));
    FUZZ_MUST(n > 5 && *e->file != '.' && !strchr(e->file, '/') && !strcasecmp(e->file + n - 5, ".gguf"));
    FUZZ_MUST(e->n_files >= 1 && (!named || e->n_files <= CATALOGUE_SUMS) && (!e->n_sums || e->n_sums == e->n_files));
    FUZZ_MUST((e->repo != NULL) != (e->n_urls > 0));
    for (uint32_t i = 0; i < e->n_sums; i++)
        FUZZ_MUST(strlen(e->sums[i]) == FETCH_SUM - 1);
    for (uint32_t i = 0; i < e->n_urls; i++)
        FUZZ_MUST(!strncasecmp(e->urls[i], "http", 4));
    for (uint32_t no = 1; e->repo && no <= e->n_files; no += 7)
        if (!catalogue_address(e, "https://h/", no, address, &err))
            FUZZ_MUST(!strncmp(address, "https://h/", 10) && !strstr(address, "/../") && !strpbrk(address + 10, " \n?#:"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char path[64], name[FETCH_NAME], *text = malloc(size + 1);
    const int fd = fuzz_file(data, size, path);
    catalogue_entry of_path;
    catalogue *c;
    kv_err err;
    const kv_status st = catalogue_open((const char *[]){path, path}, 2, &c, &err);
    fuzz_said(st, &err, path);
    for (size_t i = 0; !st && i < catalogue_size(c); i++) {
        const catalogue_entry *e = catalogue_at(c, i);
        entry_is_safe(e, true);
        FUZZ_MUST(catalogue_find(c, e->name) == e);
    }
    if (!st)
        catalogue_free(c);
    FUZZ_MUST(text);
    memcpy(text, data, size);
    text[size] = '\0';
    if (!fetch_name(text, name, &err))
        FUZZ_MUST(*name && *name != '.' && !strpbrk(name, "/\\\n\r\x7f") && strlen(name) < FETCH_NAME - 8);
    if (catalogue_of_path(text, &of_path))
        entry_is_safe(&of_path, false);
    free(text);
    close(fd);
    return 0;
}
