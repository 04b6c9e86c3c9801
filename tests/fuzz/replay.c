/* Runs a fuzz target over files, without libFuzzer: what the committed corpora hold is part of every test run.
 * usage: fuzz_TARGET FILE_OR_FOLDER ...     ends with 0 when the target returned from every one of them
 */
#include "fuzz/fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define UNLIMITED
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define UNLIMITED
#endif

enum { SECONDS = 30, LARGEST = 1 << 24, MEMORY = 1 << 30 };

static char current[4096]; /* for the message of a crash */

static void crashed(int sig) {
    static const char said[] = "\nthe input is ";
    if (write(STDERR_FILENO, said, sizeof said - 1) < 0 || write(STDERR_FILENO, current, strlen(current)) < 0 ||
        write(STDERR_FILENO, "\n", 1) < 0)
        _exit(2);
    signal(sig, SIG_DFL);
    raise(sig);
}

static unsigned run_file(const char *path) {
    static uint8_t all[LARGEST];
    FILE *f = fopen(path, "rb");
    if (!f) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        exit(1);
    }
    const size_t n = fread(all, 1, sizeof all, f);
    fclose(f);
    uint8_t *exact = malloc(n ? n : 1); /* so that sanitizers see what reads past its end */
    FUZZ_MUST(exact);
    memcpy(exact, all, n);
    snprintf(current, sizeof current, "%s", path);
    alarm(SECONDS);
    LLVMFuzzerTestOneInput(exact, n);
    alarm(0);
    free(exact);
    return 1;
}

static unsigned run(const char *path) {
    struct dirent **files;
    struct stat info;
    unsigned count = 0;
    if (stat(path, &info) || !S_ISDIR(info.st_mode))
        return run_file(path);
    const int n = scandir(path, &files, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        char *inner = NULL;
        if (*files[i]->d_name != '.') {
            FUZZ_MUST(asprintf(&inner, "%s/%s", path, files[i]->d_name) > 0);
            count += run(inner);
        }
        free(inner);
        free(files[i]);
    }
    if (n >= 0)
        free(files);
    return count;
}

int main(int argc, char **argv) {
    static const int fatal[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGALRM};
    unsigned count = 0;
    struct rusage used;
    for (size_t i = 0; i < sizeof fatal / sizeof *fatal; i++)
        signal(fatal[i], crashed);
#ifndef UNLIMITED
    setrlimit(RLIMIT_AS, &(struct rlimit){MEMORY, MEMORY});
#endif
    for (int i = 1; i < argc; i++)
        count += run(argv[i]);
    getrusage(RUSAGE_SELF, &used);
    printf("%u inputs, peak memory %ld MiB\n", count, used.ru_maxrss >> 10);
    return count ? 0 : 1;
}
