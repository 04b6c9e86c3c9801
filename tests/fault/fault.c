/* Faults on demand: a library to be preloaded into a program, in which the N-th call of one kind then fails.
 *
 *   KV_FAULT="KIND N HOW"   KIND  alloc    malloc and its kin
 *                                 map      mmap, as the program calls it
 *                                 thread   pthread_create
 *                                 open, read, write, stat, sync, name (rename and link), list (of a folder), random
 *                           N     from 1; "N+": that one and all after it
 *                           HOW   the number of an errno; or of system calls
 *                                 short    half of what was asked is done
 *                                 kill     the process gets SIGKILL in front of the call
 *                                 int      ... SIGINT, and the call is made
 *   KV_FAULT_COUNTS=FILE    how many calls of every kind there were, written when main returns
 *
 * Calls count while main runs. System calls are caught by a filter (seccomp) that sends SIGSYS for all but those that this
 * library makes itself, so that none is missed that the C library makes within; those on stderr pass, as there would be nobody
 * to tell of it. On other machines than x86-64 only the first three kinds are there.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef enum kind { ALLOC, MAP, THREAD, OPEN, READ, WRITE, STAT, SYNC, NAME, LIST, RANDOM, KINDS } kind;
static const char *const names[KINDS] = {"alloc", "map",  "thread", "open", "read",  "write",
                                         "stat",  "sync", "name",   "list", "random"};

enum { SHORT = -1, KILL = -2, INTERRUPT = -3 };

static atomic_bool armed;
static atomic_size_t counts[KINDS];
static kind which = KINDS; /* KINDS: none fails */
static size_t nth;
static bool from_then_on;
static int how; /* an errno, or one of the above */

/* Counts a call; whether it is to fail. */
static bool fails(kind k) {
    if (!atomic_load_explicit(&armed, memory_order_relaxed))
        return false;
    const size_t n = atomic_fetch_add(&counts[k], 1) + 1;
    return k == which && (n == nth || (from_then_on && n > nth));
}

/* ---- memory ---- */

extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t n);
extern void *__libc_memalign(size_t alignment, size_t n);

static void *refuse(void) {
    errno = ENOMEM;
    return NULL;
}

void *malloc(size_t n) {
    return fails(ALLOC) ? refuse() : __libc_malloc(n);
}
void *calloc(size_t n, size_t size) {
    return fails(ALLOC) ? refuse() : __libc_calloc(n, size);
}
void *realloc(void *p, size_t n) {
    return fails(ALLOC) ? refuse() : __libc_realloc(p, n);
}
void *aligned_alloc(size_t alignment, size_t n) {
    return fails(ALLOC) ? refuse() : __libc_memalign(alignment, n);
}
void *memalign(size_t alignment, size_t n);
void *memalign(size_t alignment, size_t n) {
    return fails(ALLOC) ? refuse() : __libc_memalign(alignment, n);
}
int posix_memalign(void **out, size_t alignment, size_t n) {
    void *p = fails(ALLOC) ? NULL : __libc_memalign(alignment, n);
    if (!p)
        return ENOMEM;
    *out = p;
    return 0;
}

/* The next definition of a function behind ours. */
static void next(const char *name, void *out) {
    void *found = dlsym(RTLD_NEXT, name);
    memcpy(out, &found, sizeof found);
}

void *mmap(void *at, size_t n, int prot, int flags, int fd, off_t offset) {
    static void *(*real)(void *, size_t, int, int, int, off_t);
    if (!real)
        next("mmap", &real);
    if (!fails(MAP))
        return real(at, n, prot, flags, fd, offset);
    errno = ENOMEM;
    return MAP_FAILED;
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg) {
    static int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    if (!real)
        next("pthread_create", &real);
    return fails(THREAD) ? EAGAIN : real(thread, attr, run, arg);
}

/* ---- system calls ---- */

#if defined(__x86_64__)
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>

static const struct {
    int number;
    kind kind;
} caught[] = {
    {SYS_open, OPEN},       {SYS_openat, OPEN},      {SYS_read, READ},       {SYS_pread64, READ}, {SYS_readv, READ},
    {SYS_write, WRITE},     {SYS_writev, WRITE},     {SYS_pwrite64, WRITE},  {SYS_stat, STAT},    {SYS_fstat, STAT},
    {SYS_lstat, STAT},      {SYS_statx, STAT},       {SYS_newfstatat, STAT}, {SYS_fsync, SYNC},   {SYS_fdatasync, SYNC},
    {SYS_rename, NAME},     {SYS_renameat, NAME},    {SYS_renameat2, NAME},  {SYS_link, NAME},    {SYS_linkat, NAME},
    {SYS_getdents64, LIST}, {SYS_getrandom, RANDOM},
};
enum { CAUGHT = sizeof caught / sizeof *caught };

/* (number, six arguments): a system call from the one place that the filter lets pass. */
long fault_call(long number, long a, long b, long c, long d, long e, long f) __attribute__((visibility("hidden")));
extern const char fault_called[] __attribute__((visibility("hidden")));
__asm__(".text\n.hidden fault_call\n.globl fault_call\n.type fault_call, @function\n"
        "fault_call:\n mov %rdi, %rax\n mov %rsi, %rdi\n mov %rdx, %rsi\n mov %rcx, %rdx\n mov %r8, %r10\n mov %r9, %r8\n"
        " mov 8(%rsp), %r9\n syscall\n"
        ".hidden fault_called\n.globl fault_called\n"
        "fault_called:\n ret\n.size fault_call, . - fault_call\n");

static kind kind_of(int number) {
    for (int i = 0; i < CAUGHT; i++)
        if (caught[i].number == number)
            return caught[i].kind;
    return KINDS;
}

static void on_call(int sig, siginfo_t *info, void *context) {
    (void)sig;
    greg_t *r = ((ucontext_t *)context)->uc_mcontext.gregs;
    const kind k = kind_of(info->si_syscall);
    const bool stderr_itself = k == WRITE && r[REG_RDI] == STDERR_FILENO;
    long count = r[REG_RDX];
    if (!stderr_itself && fails(k)) {
        if (how > 0) {
            r[REG_RAX] = -how;
            return;
        }
        if (how == KILL || how == INTERRUPT)
            fault_call(SYS_kill, fault_call(SYS_getpid, 0, 0, 0, 0, 0, 0), how == KILL ? SIGKILL : SIGINT, 0, 0, 0, 0);
        else if (count > 1)
            count /= 2;
    }
    r[REG_RAX] = fault_call(info->si_syscall, r[REG_RDI], r[REG_RSI], count, r[REG_R10], r[REG_R8], r[REG_R9]);
}

static void catch_calls(void) {
    const uint64_t ours = (uint64_t)(uintptr_t)fault_called;
    struct sock_filter code[8 + 2 * CAUGHT];
    unsigned short n = 0;
    code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, instruction_pointer));
    code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)ours, 0, 3);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, instruction_pointer) + 4);
    code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(ours >> 32), 0, 1);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (int i = 0; i < CAUGHT; i++) {
        code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)caught[i].number, 0, 1);
        code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP);
    }
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    const struct sock_fprog filter = {n, code};
    struct sigaction sa = {.sa_sigaction = on_call, .sa_flags = SA_SIGINFO | SA_RESTART | SA_NODEFER};
    sigemptyset(&sa.sa_mask);
    if (sigaction(SIGSYS, &sa, NULL) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0)) {
        dprintf(STDERR_FILENO, "fault: system calls cannot be caught here: %s\n", strerror(errno));
        _exit(99);
    }
}
#else
static void catch_calls(void) {
    if (which > THREAD && which < KINDS) {
        dprintf(STDERR_FILENO, "fault: system calls can be caught on x86-64 only\n");
        _exit(99);
    }
}
#endif

/* ---- main ---- */

static void read_orders(void) {
    const char *said = getenv("KV_FAULT");
    char kind_name[16], number[24], what[16];
    if (!said || sscanf(said, "%15s %23s %15s", kind_name, number, what) != 3)
        return;
    for (which = 0; which < KINDS && strcmp(names[which], kind_name); which++)
        ;
    nth = strtoul(number, NULL, 10);
    from_then_on = strchr(number, '+');
    how = !strcmp(what, "short") ? SHORT : !strcmp(what, "kill") ? KILL : !strcmp(what, "int") ? INTERRUPT : atoi(what);
}

static void write_counts(void) {
    const char *path = getenv("KV_FAULT_COUNTS");
    const int fd = path ? open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666) : -1;
    for (int k = 0; fd >= 0 && k < KINDS; k++)
        dprintf(fd, "%s %zu\n", names[k], atomic_load(&counts[k]));
    if (fd >= 0)
        close(fd);
}

typedef int main_function(int argc, char **argv, char **env);
static main_function *true_main;

static int our_main(int argc, char **argv, char **env) {
    read_orders();
    catch_calls();
    atomic_store(&armed, true);
    const int code = true_main(argc, argv, env);
    atomic_store(&armed, false);
    write_counts();
    return code;
}

int __libc_start_main(main_function *program, int argc, char **argv, void (*init)(void), void (*fini)(void),
                      void (*rtld_fini)(void), void *stack_end);
int __libc_start_main(main_function *program, int argc, char **argv, void (*init)(void), void (*fini)(void),
                      void (*rtld_fini)(void), void *stack_end) {
    int (*real)(main_function *, int, char **, void (*)(void), void (*)(void), void (*)(void), void *);
    next("__libc_start_main", &real);
    true_main = program;
    return real(our_main, argc, argv, init, fini, rtld_fini, stack_end);
}
