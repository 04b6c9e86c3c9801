/* A library in a folder of its own for each test. */
#ifndef LIBRARY_FIXTURE_H
#define LIBRARY_FIXTURE_H

#include "base/atomic_file.h"
#include "library/library.h"

#include <dirent.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* In place of the C library's, for SQLite as well: tests kill processes and not the machine, and disks are slow. What would
 * have been synced is noted. */
static char synced[1 << 16];
static inline int note_sync(int fd) {
    char link[64], path[512];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    const ssize_t n = readlink(link, path, sizeof path - 1);
    path[n > 0 ? n : 0] = '\0';
    if (strlen(synced) + strlen(path) + 2 < sizeof synced)
        strcat(strcat(synced, path), "\n");
    return 0;
}
__attribute__((visibility("default"))) int sync_nothing(int fd) __asm__("fsync");
int sync_nothing(int fd) {
    return note_sync(fd);
}
__attribute__((visibility("default"))) int sync_no_data(int fd) __asm__("fdatasync");
int sync_no_data(int fd) {
    return note_sync(fd);
}

static char dir[200], folder[300]; /* folder: of the library, in dir; nothing makes it but the library */

static int setup(void **state) {
    (void)state;
    const char *tmp = getenv("TMPDIR");
    snprintf(dir, sizeof dir, "%s/kv-test-library-XXXXXX", tmp ? tmp : P_tmpdir);
    if (!mkdtemp(dir))
        return -1;
    snprintf(folder, sizeof folder, "%s/library", dir);
    return 0;
}

static int remove_it(const char *path, const struct stat *there, int kind, struct FTW *at) {
    (void)there, (void)kind, (void)at;
    return remove(path);
}

static int teardown(void **state) {
    (void)state;
    return nftw(dir, remove_it, 16, FTW_DEPTH | FTW_PHYS);
}

#define in_new_folder(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

static inline library *open_library(library_use use) {
    kv_err err = {0};
    library *l = NULL;
    if (library_open(folder, use, &l, &err))
        fail_msg("%s", err.msg);
    return l;
}

/* A path in the library's folder; good until the next call. */
static inline const char *in_folder(const char *name) {
    static char path[600];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static inline int count_files(const char *name) {
    int n = 0;
    DIR *d = opendir(in_folder(name));
    assert_non_null(d);
    for (const struct dirent *e; (e = readdir(d));)
        n += strcmp(e->d_name, ".") && strcmp(e->d_name, "..");
    closedir(d);
    return n;
}

static inline void put_file(const char *path, const char *text) {
    kv_err err = {0};
    if (file_write(path, text, strlen(text), &err))
        fail_msg("%s", err.msg);
}

static inline void assert_file(const char *path, const char *text) {
    kv_err err = {0};
    char *found = NULL;
    size_t len;
    if (file_read(path, 1 << 30, &found, &len, &err))
        fail_msg("%s", err.msg);
    assert_string_equal(found, text);
    free(found);
}

/* A document whose payload is "NAME of MODEL". */
static inline kv_status try_add(library *l, const char *name, const char *model, const char *text, kv_err *err) {
    char payload[1024];
    library_adding *a = NULL;
    const library_entry e = {.name = name, .model_hash = model, .model_name = "M", .text = text, .text_len = strlen(text)};
    kv_status st = library_add_begin(l, &e, &a, err);
    if (st)
        return st;
    snprintf(payload, sizeof payload, "%.900s of %.100s", name, model);
    if ((st = file_write(library_adding_path(a), payload, strlen(payload), err)))
        library_add_abandon(a);
    return st ? st : library_add_commit(a, 1, NULL, err);
}

static inline void add(library *l, const char *name, const char *model, const char *text) {
    kv_err err = {0};
    if (try_add(l, name, model, text, &err))
        fail_msg("%s", err.msg);
}

/* One that takes so many bytes. */
static inline void add_sized(library *l, const char *name, const char *model, size_t size, library_list *gone) {
    kv_err err = {0};
    library_adding *a = NULL;
    assert_int_equal(library_add_begin(l, &(library_entry){.name = name, .model_hash = model}, &a, &err), KV_OK);
    char *bytes = calloc(1, size);
    assert_int_equal(file_write(library_adding_path(a), bytes, size, &err), KV_OK);
    free(bytes);
    if (library_add_commit(a, 1, gone, &err))
        fail_msg("%s", err.msg);
}

static inline int64_t id_of(library *l, const char *name, const char *model) {
    kv_err err = {0};
    library_list found;
    if (library_find(l, name, model, &found, &err))
        fail_msg("%s", err.msg);
    const int64_t id = found.v[0].id;
    library_list_free(&found);
    return id;
}

#endif
