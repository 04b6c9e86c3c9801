/* The library of documents when several processes use it, when they are killed, and when its files are not what they should be.
 */
#include "library/library.h"
#include "library_fixture.h"

#include "base/splitmix64.h"

#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include <sqlite3.h>

/* ---- several processes ---- */

/* A child that does this, and leaves with the number of what went wrong; it says what. */
typedef int work(int which, kv_err *err);
static pid_t start(work *what, int which) {
    fflush(NULL);
    const pid_t child = fork();
    if (child)
        return child;
    kv_err err = {0};
    const int wrong = what(which, &err);
    if (wrong)
        fprintf(stderr, "child %d: %d: %s\n", which, wrong, err.msg);
    _exit(wrong);
}

static void assert_went_well(pid_t child) {
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* The payload that add() writes is that of this document. 1: it is another's, or not whole; -1: it has gone meanwhile. */
static int is_wrong(const library_document *d) {
    char wanted[1024], *found = NULL;
    size_t len;
    snprintf(wanted, sizeof wanted, "%s of %s", d->name, d->model_hash);
    if (file_read(d->payload_path, 1 << 20, &found, &len, NULL))
        return access(d->payload_path, F_OK) ? -1 : 1;
    const int wrong = strcmp(wanted, found) != 0;
    free(found);
    return wrong;
}

enum { EACH = 50 };

static int add_many(int which, kv_err *err) {
    library *l;
    char name[32];
    if (library_open(folder, LIBRARY_WRITE, &l, err))
        return 1;
    for (int i = 0; i < EACH; i++) {
        snprintf(name, sizeof name, "%d-%d", which, i);
        if (try_add(l, name, "m", name, err) || try_add(l, "both", "m", name, err))
            return 2;
    }
    library_close(l);
    return 0;
}

/* Those of the first whose numbers are even, as soon as they are there. */
static int remove_some(int which, kv_err *err) {
    library *l;
    char name[32];
    (void)which;
    if (library_open(folder, LIBRARY_WRITE, &l, err))
        return 1;
    for (int i = 0; i < EACH; i += 2) {
        library_list found;
        snprintf(name, sizeof name, "1-%d", i);
        kv_status st;
        while ((st = library_find(l, name, "m", &found, err)) == KV_EINVAL || (!st && strcmp(found.v[0].name, name))) {
            library_list_free(&found);
            usleep(1000);
        }
        if (st || library_remove(l, found.v[0].id, err))
            return 2;
        library_list_free(&found);
    }
    library_close(l);
    return 0;
}

static atomic_bool *stop; /* shared */

/* Whatever is there is whole. */
static int read_all(int which, kv_err *err) {
    library *l;
    (void)which;
    do {
        library_list all;
        if (library_open(folder, LIBRARY_READ, &l, err))
            return 1;
        if (library_all(l, LIBRARY_BY_USE, &all, err))
            return 2;
        for (size_t i = 0; i < all.n; i++) {
            library_list again = {0};
            const int wrong = is_wrong(&all.v[i]);
            if (wrong > 0)
                return 3;
            if (wrong < 0 && !library_find(l, all.v[i].name, "m", &again, NULL) && again.v[0].id == all.v[i].id)
                return 4; /* it went, but its row did not */
            library_list_free(&again);
        }
        library_list_free(&all);
        library_close(l);
    } while (!atomic_load(stop));
    return 0;
}

static void library_serves_several_processes(void **state) {
    (void)state;
    library_list all;
    stop = mmap(NULL, sizeof *stop, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(stop, MAP_FAILED);
    const pid_t reader = start(read_all, 0), first = start(add_many, 1), second = start(add_many, 2),
                remover = start(remove_some, 3);
    assert_went_well(first);
    assert_went_well(second);
    assert_went_well(remover);
    atomic_store(stop, true);
    assert_went_well(reader);
    munmap(stop, sizeof *stop);

    library *l = open_library(LIBRARY_READ);
    assert_int_equal(library_all(l, LIBRARY_BY_NAME, &all, NULL), KV_OK);
    assert_int_equal(all.n, 2 * EACH - EACH / 2 + 1);
    for (size_t i = 0; i < all.n; i++)
        assert_int_equal(is_wrong(&all.v[i]), 0);
    assert_int_equal(count_files("payload"), 2 * all.n);
    library_list_free(&all);
    assert_int_equal(library_check(l, NULL), KV_OK);
    library_close(l);
}

static int add_one(int which, kv_err *err) {
    library *l;
    char name[32];
    snprintf(name, sizeof name, "%d", which);
    if (library_open(folder, LIBRARY_WRITE, &l, err) || try_add(l, name, "m", name, err))
        return 1;
    library_close(l);
    return 0;
}

static int read_once(int which, kv_err *err) {
    library *l;
    library_list all;
    (void)which;
    if (library_open(folder, LIBRARY_READ, &l, err) || library_all(l, LIBRARY_BY_NAME, &all, err))
        return 1;
    library_list_free(&all);
    library_close(l);
    return 0;
}

static void library_opens_while_it_is_made(void **state) {
    (void)state;
    enum { PROCESSES = 8 };
    pid_t children[PROCESSES];
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < PROCESSES; i++)
            children[i] = start(i % 2 ? read_once : add_one, i);
        for (int i = 0; i < PROCESSES; i++)
            assert_went_well(children[i]);
        library_list all;
        library *l = open_library(LIBRARY_READ);
        assert_int_equal(library_all(l, LIBRARY_BY_NAME, &all, NULL), KV_OK);
        assert_int_equal(all.n, PROCESSES / 2);
        library_list_free(&all);
        library_close(l);
        assert_int_equal(nftw(folder, remove_it, 16, FTW_DEPTH | FTW_PHYS), 0);
    }
}

/* ---- killed ---- */

/* Adds, replaces, evicts and removes until it is killed. */
static int write_for_ever(int seed, kv_err *err) {
    uint64_t random = (uint64_t)seed;
    char name[32];
    library *l;
    if (library_open(folder, LIBRARY_WRITE, &l, err))
        return 1;
    for (;;) {
        library_list all;
        snprintf(name, sizeof name, "n%d", (int)(splitmix64(&random) % 12));
        if (try_add(l, name, "m", "some words of it", err))
            return 2;
        if (library_all(l, LIBRARY_BY_USE, &all, err) || (all.n > 3 && library_remove(l, all.v[all.n - 1].id, err)))
            return 3;
        library_list_free(&all);
        if (splitmix64(&random) % 4 == 0 && library_set_limit(l, 50 + splitmix64(&random) % 100, NULL, err))
            return 4;
    }
}

static void library_survives_killed_writers(void **state) {
    (void)state;
    enum { ROUNDS = 100, LONGEST = 12000 }; /* microseconds */
    uint64_t random = 1;
    library *own = open_library(LIBRARY_WRITE); /* all the time */
    add(own, "kept", "another model", "words");
    for (int round = 0; round < ROUNDS; round++) {
        library_list all;
        kv_err err = {0};
        int status;
        const pid_t child = start(write_for_ever, round);
        usleep((useconds_t)(splitmix64(&random) % LONGEST));
        kill(child, SIGKILL);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status)); /* it had not failed before */
        library *l = open_library(LIBRARY_WRITE);
        assert_int_equal(library_all(l, LIBRARY_BY_USE, &all, &err), KV_OK);
        for (size_t i = 0; i < all.n; i++)
            assert_int_equal(is_wrong(&all.v[i]), 0);
        assert_int_equal(count_files("payload"), 2 * all.n);
        library_list_free(&all);
        if (library_check(l, &err))
            fail_msg("%s", err.msg);
        library_close(l);
    }
    library_close(own);
}

/* ---- what nobody has ---- */

static void library_sweeps_what_nobody_has(void **state) {
    (void)state;
    static const char *const nobodys[] = {"payload/77.kv", "payload/77.txt", "payload/new-abcdefgh.kv",
                                          "payload/.new-abcdefgh.kv.aaaaaa.tmp", "payload/new-hgfedcba.lock"};
    static const char *const others[] = {"payload/notes.txt", "payload/77.bak", "payload/new-short.kv", "library.db.bak"};
    enum { NOBODYS = sizeof nobodys / sizeof *nobodys, OTHERS = sizeof others / sizeof *others };
    library_adding *a = NULL;
    kv_err err = {0};
    library *l = open_library(LIBRARY_WRITE);
    add(l, "a", "m", "text");
    assert_int_equal(library_add_begin(l, &(library_entry){.name = "b", .model_hash = "m"}, &a, &err), KV_OK);
    put_file(library_adding_path(a), "b of m");
    for (int i = 0; i < NOBODYS; i++)
        put_file(in_folder(nobodys[i]), "x");
    for (int i = 0; i < OTHERS; i++)
        put_file(in_folder(others[i]), "x");
    library_close(open_library(LIBRARY_READ)); /* who reads removes nothing */
    assert_int_equal(access(in_folder(nobodys[0]), F_OK), 0);
    library_close(open_library(LIBRARY_WRITE));
    for (int i = 0; i < NOBODYS; i++)
        assert_int_equal(access(in_folder(nobodys[i]), F_OK), -1);
    for (int i = 0; i < OTHERS; i++)
        assert_int_equal(access(in_folder(others[i]), F_OK), 0);
    if (library_add_commit(a, 1, NULL, &err)) /* it was being written all the time */
        fail_msg("%s", err.msg);
    assert_int_equal(id_of(l, "b", "m"), 2);
    library_close(l);
}

/* ---- damage ---- */

/* Opening fails so, and leaves library.db as it is. */
static void assert_refused(library_use use, kv_status status, const char *says) {
    kv_err err = {0};
    library *l = NULL;
    char *before = NULL, *after = NULL;
    size_t len = 0, len_after = 0;
    const bool there = !file_read(in_folder("library.db"), 1 << 30, &before, &len, NULL);
    kv_status st = library_open(folder, use, &l, &err);
    if (!st) { /* the first page is whole */
        library_list all;
        st = library_search(l, "words", NULL, 10, &all, &err);
        library_list_free(&all);
        if (!st)
            st = library_check(l, &err);
        library_close(l);
    }
    assert_int_equal(st, status);
    if (!strstr(err.msg, says) || !strstr(err.msg, "library.db"))
        fail_msg("'%s' lacks '%s' or the name of the file", err.msg, says);
    assert_int_equal(!file_read(in_folder("library.db"), 1 << 30, &after, &len_after, NULL), there);
    assert_int_equal(len, len_after);
    if (there)
        assert_memory_equal(before, after, len);
    free(before);
    free(after);
}

static void fill_library(void) {
    library *l = open_library(LIBRARY_WRITE);
    for (int i = 0; i < 30; i++) {
        char name[16];
        snprintf(name, sizeof name, "d%d", i);
        add(l, name, "m", "some words of a text, which are the same in all of them");
    }
    library_close(l);
}

static void overwrite(long at, const char *with, size_t n) {
    FILE *f = fopen(in_folder("library.db"), "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, at, SEEK_SET), 0);
    assert_int_equal(fwrite(with, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static void library_names_what_is_damaged(void **state) {
    (void)state;
    static char noise[4096];
    memset(noise, 0xa5, sizeof noise);
    fill_library();
    for (library_use use = LIBRARY_READ; use <= LIBRARY_WRITE; use++) {
        char *whole = NULL;
        size_t len;
        assert_int_equal(file_read(in_folder("library.db"), 1 << 30, &whole, &len, NULL), KV_OK);
        overwrite(0, noise, 100);
        assert_refused(use, KV_EFORMAT, "is no database");
        overwrite(0, whole, len);
        for (long page = 1; page * 4096 < (long)len; page++) {
            overwrite(page * 4096, noise, sizeof noise);
            assert_refused(use, KV_EFORMAT, "damaged");
            overwrite(page * 4096, whole + page * 4096, sizeof noise);
        }
        free(whole);
        library_close(open_library(use)); /* as it was */
    }
}

static void change(const char *sql) {
    sqlite3 *db;
    assert_int_equal(sqlite3_open(in_folder("library.db"), &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static void library_leaves_what_is_not_its_own(void **state) {
    (void)state;
    fill_library();
    for (library_use use = LIBRARY_READ; use <= LIBRARY_WRITE; use++) {
        change("PRAGMA user_version = 2");
        assert_refused(use, KV_EFORMAT, "a later kvcalib");
        change("PRAGMA user_version = -1");
        assert_refused(use, KV_EFORMAT, "which there is not");
        change("PRAGMA user_version = 1; PRAGMA application_id = 7");
        assert_refused(use, KV_EFORMAT, "another program's");
        change("PRAGMA application_id = 1802914914");
        library_close(open_library(use));
    }
}

static void library_is_not_made_anew(void **state) {
    (void)state;
    fill_library();
    for (library_use use = LIBRARY_READ; use <= LIBRARY_WRITE; use++) {
        char aside[400];
        snprintf(aside, sizeof aside, "%s/aside", dir);
        assert_int_equal(rename(in_folder("library.db"), aside), 0);
        assert_refused(use, KV_EFORMAT, "60 files of documents");
        put_file(in_folder("library.db"), "");
        assert_refused(use, KV_EFORMAT, "60 files of documents");
        assert_int_equal(rename(aside, in_folder("library.db")), 0);
        assert_int_equal(count_files("payload"), 60);
        library_close(open_library(use));
    }
}

static void library_says_what_the_system_refuses(void **state) {
    (void)state;
    kv_err err = {0};
    library *l = NULL;
    put_file(folder, "a file");
    assert_int_equal(library_open(folder, LIBRARY_WRITE, &l, &err), KV_EIO);
    assert_non_null(strstr(err.msg, "cannot make the folder"));
    assert_int_equal(library_open("", LIBRARY_WRITE, &l, &err), KV_EINVAL);
    unlink(folder);
    mkdir(folder, 0700);
    mkdir(in_folder("library.db"), 0700); /* that is no file */
    assert_int_equal(library_open(folder, LIBRARY_WRITE, &l, &err), KV_EIO);
    assert_non_null(strstr(err.msg, "library.db"));
    assert_int_equal(library_open(folder, LIBRARY_READ, &l, &err), KV_EIO);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        in_new_folder(library_serves_several_processes), in_new_folder(library_opens_while_it_is_made),
        in_new_folder(library_survives_killed_writers),  in_new_folder(library_sweeps_what_nobody_has),
        in_new_folder(library_names_what_is_damaged),    in_new_folder(library_leaves_what_is_not_its_own),
        in_new_folder(library_is_not_made_anew),         in_new_folder(library_says_what_the_system_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
