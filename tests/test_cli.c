/* The command line: every kind of option, every complaint, the help page, progress, Ctrl-C. */
#include "cli/cli_cache.h"
#include "machine/cpu.h"
#include "profile/codec_id.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* Everything a small tool could ask for. */
typedef struct fixture {
    bool json;
    int64_t ctx;
    double bits;
    const char *out, *report;
    cli_strs text, each;
    int ctk;
    const char *cpu, *order;
    const char *positional[2];
    int code;
    char said[16384]; /* what went to the captured stream */
} fixture;

/* A stream that goes into a file for a while. */
typedef struct captured {
    int fd, saved;
    FILE *to;
} captured;

static captured capture(int fd) {
    captured c = {.fd = fd, .to = tmpfile()};
    assert_non_null(c.to);
    fflush(fd == STDOUT_FILENO ? stdout : stderr);
    c.saved = dup(fd);
    dup2(fileno(c.to), fd);
    return c;
}

static void release(captured *c, char *said, size_t size) {
    fflush(c->fd == STDOUT_FILENO ? stdout : stderr);
    dup2(c->saved, c->fd);
    close(c->saved);
    rewind(c->to);
    said[fread(said, 1, size - 1, c->to)] = '\0';
    fclose(c->to);
}

static void run(fixture *f, int fd, int argc, char **argv) {
    f->ctx = 512;
    f->bits = 4;
    f->ctk = -1;
    const cli_opt opts[] = {
        {.kind = CLI_HEADING, .help = "What to read"},
        {"--ctx", "-c", CLI_INT, "N", &f->ctx, 1, 1048576, "tokens of context"},
        {"--text", NULL, CLI_INS, "FILE...", &f->text, 0, 0, "text to read"},
        {"--nickname", NULL, CLI_EACH, "WORD", &f->each, 0, 0, "a word, several times"},
        {.kind = CLI_HEADING, .help = "What to make of it"},
        {"--bits", NULL, CLI_REAL, "B", &f->bits, 1, 16, "bits per element"},
        {"--out", "-o", CLI_OUT, "FILE", &f->out, 0, 0, "where to write"},
        {"--report", NULL, CLI_OUT_OR_STDOUT, "[FILE]", &f->report, 0, 0, "a report, or on stdout"},
        {"--cache-type-k", "-ctk", CLI_CODEC, "TYPE", &f->ctk, 0, 0, "type of the keys"},
        {"--cpu", NULL, CLI_CPU, "ISA", &f->cpu, 0, 0, "instruction set"},
        {"--order", NULL, CLI_CHOICE, "up|down", &f->order, 0, 0, "which end first"},
        {.name = "--bits-each", .kind = CLI_OLD_NAME, .arg = "--bits"},
        {"--json", NULL, CLI_FLAG, NULL, &f->json, 0, 0,
         "a help text that is so long that it cannot possibly fit on the line where it began but has to go on below"},
        {0},
    };
    const cli_spec spec = {
        .tool = "probe",
        .usage = "MODEL [TEXT] [options]",
        .summary = "Probes.",
        .examples = "  probe model.gguf\n",
        .opts = opts,
        .args = (const cli_arg[]){{"MODEL", CLI_IN, &f->positional[0]}, {"TEXT", CLI_IN, &f->positional[1]}, {0}},
        .n_required = 1};
    captured c = capture(fd);
    f->code = cli_parse(&spec, argc, argv);
    release(&c, f->said, sizeof f->said);
}

static void done(fixture *f) {
    free(f->text.v);
    free(f->each.v);
}

#define ARGS(...)                                                                                                              \
    (int)(sizeof((char *[]){"probe", __VA_ARGS__}) / sizeof(char *)), (char *[]) {                                             \
        "probe", __VA_ARGS__                                                                                                   \
    }

/* Parse, expect CLI_USAGE and exactly this on stderr. */
#define COMPLAINS(text, ...)                                                                                                   \
    do {                                                                                                                       \
        fixture f_ = {0};                                                                                                      \
        run(&f_, STDERR_FILENO, ARGS(__VA_ARGS__));                                                                            \
        assert_string_equal(f_.said, text);                                                                                    \
        assert_int_equal(f_.code, CLI_USAGE);                                                                                  \
        done(&f_);                                                                                                             \
    } while (0)

static void cli_fills_every_kind(void **state) {
    (void)state;
    fixture f = {0};
    run(&f, STDERR_FILENO,
        ARGS("m.gguf", "-c", "64", "--text", "a", "b", "--bits=3.5", "-ctk", "q4_0", "--text", "c", "--json", "-o", "./-",
             "more"));
    assert_string_equal(f.said, "");
    assert_int_equal(f.code, -1);
    assert_string_equal(f.positional[0], "m.gguf");
    assert_string_equal(f.positional[1], "more");
    assert_int_equal(f.ctx, 64);
    assert_true(f.bits == 3.5);
    assert_int_equal(f.ctk, KV_Q4_0);
    assert_string_equal(f.out, "./-");
    assert_true(f.json);
    assert_int_equal(f.text.n, 3);
    assert_string_equal(f.text.v[0], "a");
    assert_string_equal(f.text.v[2], "c");
    done(&f);
}

static void cli_each_takes_one_value_each_time(void **state) {
    (void)state;
    fixture f = {0};
    run(&f, STDERR_FILENO, ARGS("--nickname", "a", "m.gguf", "--nickname", "-b", "more", "--nickname=c"));
    assert_string_equal(f.said, "");
    assert_int_equal(f.code, -1);
    assert_string_equal(f.positional[0], "m.gguf");
    assert_string_equal(f.positional[1], "more");
    assert_int_equal(f.each.n, 3);
    assert_string_equal(f.each.v[0], "a");
    assert_string_equal(f.each.v[1], "-b");
    assert_string_equal(f.each.v[2], "c");
    done(&f);
    f = (fixture){0};
    run(&f, STDERR_FILENO, ARGS("m.gguf", "--nickname", "a", "--nickname"));
    assert_string_equal(f.said, "probe: error: --nickname needs a value (WORD)\n");
    assert_null(f.each.v);
    done(&f);
}

static void cli_keeps_defaults(void **state) {
    (void)state;
    fixture f = {0};
    run(&f, STDERR_FILENO, ARGS("m.gguf"));
    assert_int_equal(f.code, -1);
    assert_int_equal(f.ctx, 512);
    assert_int_equal(f.ctk, -1);
    assert_null(f.positional[1]);
    assert_null(f.out);
    assert_false(f.json);
}

static void cli_double_dash_ends_options(void **state) {
    (void)state;
    fixture f = {0};
    run(&f, STDERR_FILENO, ARGS("--", "--ctx", "--help"));
    assert_int_equal(f.code, -1);
    assert_string_equal(f.positional[0], "--ctx");
    assert_string_equal(f.positional[1], "--help");
}

static void cli_text_may_begin_with_a_dash(void **state) {
    (void)state;
    fixture f = {0};
    run(&f, STDERR_FILENO, ARGS("m", "--out", "-5 degrees", "--text=--json"));
    assert_int_equal(f.code, -1);
    assert_string_equal(f.out, "-5 degrees");
    assert_string_equal(f.text.v[0], "--json");
    assert_false(f.json);
    done(&f);
}

static void cli_refuses_numbers_out_of_range(void **state) {
    (void)state;
    COMPLAINS("probe: error: --ctx: 'abc' is not a whole number in 1..1048576\n", "m", "-c", "abc");
    COMPLAINS("probe: error: --ctx: '0' is not a whole number in 1..1048576\n", "m", "--ctx", "0");
    COMPLAINS("probe: error: --ctx: '1048577' is not a whole number in 1..1048576\n", "m", "--ctx=1048577");
    COMPLAINS("probe: error: --ctx: '12x' is not a whole number in 1..1048576\n", "m", "-c", "12x");
    COMPLAINS("probe: error: --ctx: '' is not a whole number in 1..1048576\n", "m", "--ctx=");
    COMPLAINS("probe: error: --ctx: '99999999999999999999' is not a whole number in 1..1048576\n", "m", "-c",
              "99999999999999999999");
    COMPLAINS("probe: error: --bits: 'nan' is not a number in 1..16\n", "m", "--bits", "nan");
    COMPLAINS("probe: error: --bits: '17' is not a number in 1..16\n", "m", "--bits", "17");
}

static void cli_refuses_unknown_cache_types(void **state) {
    (void)state;
    COMPLAINS(
        "probe: error: --cache-type-k: 'q7' is not a cache type; known are f32, f16, q8_0, q4_0, q4_1, q5_0, q5_1, iq4_nl, "
        "q8_0h, q4_0h, q4_1h, q5_0h, q5_1h, iq4_nlh, turbo2, turbo3, turbo4, turbo3q, "
        "polar4, kivi2, kivi4, tc\n",
        "m", "-ctk", "q7");
}

static const char *report_of(int argc, char **argv) {
    fixture f = {0};
    run(&f, STDERR_FILENO, argc, argv);
    assert_int_equal(f.code, -1);
    assert_string_equal(f.positional[0], "m");
    free(f.text.v);
    return f.report;
}

static void cli_takes_one_of_several_words(void **state) {
    (void)state;
    fixture f = {0};
    run(&f, STDERR_FILENO, ARGS("m", "--cpu", "auto", "--order=down"));
    assert_int_equal(f.code, -1);
    assert_string_equal(f.cpu, "auto");
    assert_string_equal(f.order, "down");
    COMPLAINS("probe: error: --order: 'u' is not possible here; known are up, down\n", "m", "--order", "u");
    COMPLAINS("probe: error: --order: 'up|down' is not possible here; known are up, down\n", "m", "--order", "up|down");
    COMPLAINS("probe: error: --cpu: 'sse' is not an instruction set; known are auto, " RT_CPU_NAMES "\n", "m", "--cpu", "sse");
}

static void cli_understands_old_names(void **state) {
    (void)state;
    fixture f = {0};
    run(&f, STDERR_FILENO, ARGS("m", "--bits-each", "3"));
    assert_int_equal(f.code, -1);
    assert_true(f.bits == 3);
    run(&f, STDERR_FILENO, ARGS("m", "--bits-each=5"));
    assert_true(f.bits == 5);
    COMPLAINS("probe: error: --bits: 'x' is not a number in 1..16\n", "m", "--bits-each", "x");
    COMPLAINS("probe: error: unknown option --bits-eac; did you mean --bits? ('probe --help' lists all)\n", "m", "--bits-eac");
    run(&f, STDOUT_FILENO, ARGS("--help"));
    assert_null(strstr(f.said, "--bits-each"));
}

static void cli_rows_differ_by_value(void **state) {
    (void)state;
    cli_cache given = CLI_CACHE_DEFAULT;
    given.profile = "p.yaml";
    assert_false(cli_cache_given(&given));
    given.window = 0;
    assert_true(cli_cache_given(&given));
    given = CLI_CACHE_DEFAULT;
    given.budget.share = 0.5f;
    assert_true(cli_cache_given(&given));
    given = CLI_CACHE_DEFAULT;
    given.equal_budgets = true;
    assert_true(cli_cache_given(&given));
    given = CLI_CACHE_DEFAULT;
    given.ctv = KV_F32;
    assert_true(cli_cache_given(&given));
}

static void cli_file_may_be_left_out(void **state) {
    (void)state;
    assert_null(report_of(ARGS("m")));
    assert_string_equal(report_of(ARGS("m", "--report", "r.json")), "r.json");
    assert_string_equal(report_of(ARGS("m", "--report=r.json")), "r.json");
    assert_string_equal(report_of(ARGS("m", "--report", "-")), "-");
    assert_string_equal(report_of(ARGS("m", "--report")), "-");
    assert_string_equal(report_of(ARGS("--report", "--json", "m")), "-");
    assert_string_equal(report_of(ARGS("--report", "-c", "5", "m")), "-");
}

static void cli_suggests_the_nearest_option(void **state) {
    (void)state;
    COMPLAINS("probe: error: unknown option --ctz; did you mean --ctx? ('probe --help' lists all)\n", "m", "--ctz", "5");
    COMPLAINS("probe: error: unknown option --jsno; did you mean --json? ('probe --help' lists all)\n", "--jsno");
    COMPLAINS("probe: error: unknown option --cache; did you mean --cache-type-k? ('probe --help' lists all)\n", "--cache",
              "f16");
    COMPLAINS("probe: error: unknown option --zzzzzz ('probe --help' lists all)\n", "m", "--zzzzzz");
}

static void cli_names_what_others_call_differently(void **state) {
    (void)state;
    COMPLAINS("probe: error: unknown option --ctx-size; here it is called --ctx ('probe --help' lists all)\n", "m",
              "--ctx-size", "4096");
    COMPLAINS("probe: error: unknown option --ctx-size=4096; here it is called --ctx ('probe --help' lists all)\n", "m",
              "--ctx-size=4096");
    COMPLAINS("probe: error: unknown option -ngl; leave it out: everything runs on the processor\n", "m", "-ngl", "99");
    COMPLAINS("probe: error: unknown option -fa; leave it out: attention never builds the whole matrix of scores\n", "m",
              "-fa");
    /* what this tool has nothing of is as unknown as ever */
    COMPLAINS("probe: error: unknown option --n-predict ('probe --help' lists all)\n", "m", "--n-predict", "3");
    fixture f = {0};
    run(&f, STDERR_FILENO, ARGS("m", "-ctk", "bf16"));
    assert_non_null(strstr(f.said, "--cache-type-k: 'bf16' is not a cache type, the nearest one is f16; known are f32, f16"));
    assert_int_equal(f.code, CLI_USAGE);
}

static void cli_refuses_stdout_where_it_cannot_be(void **state) {
    (void)state;
    COMPLAINS("probe: error: --out: '-' does not stand for standard output here; name a file (./- for one that is called so)\n",
              "m", "--out", "-");
    COMPLAINS("probe: error: --out: '-' does not stand for standard output here; name a file (./- for one that is called so)\n",
              "m", "--out=-");
}

static void cli_wants_values_where_needed(void **state) {
    (void)state;
    COMPLAINS("probe: error: --out needs a value (FILE)\n", "m", "--out");
    COMPLAINS("probe: error: --out needs a value (FILE), but is followed by --json\n", "m", "--out", "--json");
    COMPLAINS("probe: error: --json takes no value (given: 'yes')\n", "m", "--json=yes");
}

static void cli_counts_arguments(void **state) {
    (void)state;
    COMPLAINS("probe: error: nothing to work on\nusage: probe MODEL [TEXT] [options]\n('probe --help' explains)\n", "--json");
    COMPLAINS("probe: error: unexpected argument 'c'\nusage: probe MODEL [TEXT] [options]\n", "a", "b", "c");
}

static void cli_refuses_an_output_that_is_an_input(void **state) {
    (void)state;
    COMPLAINS(
        "probe: error: --out ./m and MODEL m are the same file, and an output may not be an input; choose another name for "
        "--out\n",
        "m", "-o", "./m");
    COMPLAINS("probe: error: --report b and --text b are the same file, and an output may not be an input; choose another name "
              "for --report\n",
              "m", "--text", "a", "b", "--report=b");
}

static void cli_help_shows_every_row_and_default(void **state) {
    (void)state;
    fixture f = {0};
    run(&f, STDOUT_FILENO, ARGS("m", "--nonsense", "--help"));
    assert_int_equal(f.code, CLI_OK);
    static const char *const expect[] = {"usage: probe MODEL [TEXT] [options]\n",
                                         "\nWhat to read\n",
                                         "  -c, --ctx N                tokens of context [512]\n",
                                         "  --bits B                   bits per element [4]\n",
                                         "  -ctk, --cache-type-k TYPE  f32, f16, q8_0, q4_0, q4_1, q5_0, q5_1, iq4_nl,\n"
                                         "                             q8_0h, q4_0h, q4_1h, q5_0h, q5_1h, iq4_nlh, turbo2,\n"
                                         "                             turbo3, turbo4, turbo3q, polar4, kivi2, kivi4, tc:\n"
                                         "                             type of the keys\n",
                                         "\nWhat to make of it\n",
                                         "  -h, --help                 this page\n",
                                         "  probe model.gguf\n",
                                         "Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.\n"};
    for (size_t i = 0; i < sizeof expect / sizeof *expect; i++)
        if (!strstr(f.said, expect[i]))
            fail_msg("the help page lacks:\n%sbut says:\n%s", expect[i], f.said);
    for (const char *line = f.said; *line; line += strcspn(line, "\n") + 1)
        assert_true(strcspn(line, "\n") <= 80);
}

static void cli_version_names_tool_and_version(void **state) {
    (void)state;
    fixture f = {0};
    run(&f, STDOUT_FILENO, ARGS("--version"));
    assert_int_equal(f.code, CLI_OK);
    char isa[32];
    assert_int_equal(sscanf(f.said, "probe " KV_TOOL_VERSION " (%31[a-z0-9]; ", isa), 1);
    assert_string_equal(isa, rt_cpu_name(rt_cpu_detect()));
    const char *sets = strstr(f.said, "\ninstruction sets: scalar");
    assert_non_null(sets);
    assert_non_null(strstr(sets, isa));
}

static int say_seven(int argc, char **argv) {
    return argc == 2 && !strcmp(argv[0], "seven") && !strcmp(argv[1], "--x") ? 7 : 70;
}

static void cli_dispatch_runs_the_subcommand(void **state) {
    (void)state;
    const cli_command commands[] = {{"seven", "says seven", say_seven}, {0}};
    assert_int_equal(cli_dispatch("probe", "Probes.", commands, 3, (char *[]){"probe", "seven", "--x"}), 7);
}

/* What a tool with subcommands does without one; says on the captured stream how its command line was taken. */
static int say_file(const cli_command *commands, int argc, char **argv) {
    const char *file = "no file";
    const cli_opt opts[] = {{.kind = CLI_HEADING, .help = "What to read"}, {0}};
    const int code = cli_parse(&(cli_spec){.tool = "probe",
                                           .usage = "FILE",
                                           .summary = "Probes a file.",
                                           .opts = opts,
                                           .args = (const cli_arg[]){{"FILE", CLI_STR, &file}, {0}},
                                           .commands = commands},
                               argc, argv);
    if (code < 0)
        fprintf(stderr, "file %s\n", file);
    return code;
}

/* Run by cli_dispatch_or, with what it says on fd in f->said. */
static void dispatch(fixture *f, int fd, int argc, char **argv) {
    const cli_command commands[] = {{"seven", "says seven", say_seven}, {0}};
    captured c = capture(fd);
    f->code = cli_dispatch_or(commands, say_file, argc, argv);
    release(&c, f->said, sizeof f->said);
}

static void cli_dispatch_or_falls_back(void **state) {
    (void)state;
    const struct {
        char *word, *more; /* NULL: there is none */
        int code;
        const char *said;
    } cases[] = {
        {"seven", "--x", 7, ""},
        {"./seven", NULL, -1, "file ./seven\n"},
        {"--", "seven", -1, "file seven\n"},
        {NULL, NULL, -1, "file no file\n"},
        {"sevn", "x", CLI_USAGE,
         "probe: error: unexpected argument 'x'; did you mean 'probe seven'? (a subcommand comes first)\nusage: probe FILE\n"},
        {"other.txt", "x", CLI_USAGE, "probe: error: unexpected argument 'x'\nusage: probe FILE\n"},
        {"-x", "seven", CLI_USAGE, "probe: error: unknown option -x ('probe --help' lists all)\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fixture f = {0};
        dispatch(&f, STDERR_FILENO,
                 cases[i].more   ? 3
                 : cases[i].word ? 2
                                 : 1,
                 (char *[]){"probe", cases[i].word, cases[i].more, NULL});
        assert_string_equal(f.said, cases[i].said);
        assert_int_equal(f.code, cases[i].code);
    }
}

static void cli_dispatch_or_lists_subcommands_before_options(void **state) {
    (void)state;
    fixture f = {0};
    dispatch(&f, STDOUT_FILENO, ARGS("--help"));
    assert_int_equal(f.code, CLI_OK);
    const char *rows = strstr(f.said, "\nSubcommands\n  seven  says seven\n'probe SUBCOMMAND --help' explains each.\n");
    assert_non_null(rows);
    assert_non_null(strstr(rows, "\nWhat to read\n"));
}

static void cli_report_maps_status_to_exit_code(void **state) {
    (void)state;
    /* Its message goes to the log of the test; only the code matters here. */
    assert_int_equal(cli_report("probe", &(kv_err){.code = KV_ECANCEL, .msg = "stopped"}), CLI_INTERRUPTED);
    assert_int_equal(cli_report("probe", &(kv_err){.code = KV_EINVAL, .msg = "wrong"}), CLI_USAGE);
    assert_int_equal(cli_report("probe", &(kv_err){.code = KV_EFORMAT, .msg = "broken"}), CLI_FAIL);
}

/* In a child, because the second signal ends it. */
static int signalled(cli_interrupt how, int first, int second) {
    pid_t pid = fork();
    if (!pid) {
        cli_catch_signals(how);
        raise(first);
        if (!cli_interrupted())
            _exit(99);
        cli_clear_interrupt();
        if (cli_interrupted())
            _exit(98);
        raise(first);
        raise(second);
        _exit(97);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void cli_second_interrupt_ends_the_process(void **state) {
    (void)state;
    assert_int_equal(signalled(CLI_PATIENT, SIGINT, SIGINT), CLI_INTERRUPTED);
    assert_int_equal(signalled(CLI_PATIENT, SIGINT, SIGTERM), CLI_INTERRUPTED);
    assert_int_equal(signalled(CLI_SOON, SIGINT, SIGHUP), CLI_INTERRUPTED);
    assert_int_equal(signalled(CLI_AT_ONCE, SIGINT, SIGINT), CLI_INTERRUPTED);
}

/* Work that never asks whether to go on. */
static int stubborn(cli_interrupt how) {
    pid_t pid = fork();
    if (!pid) {
        cli_catch_signals(how);
        raise(SIGINT);
        for (int i = 0; i < 100; i++)
            usleep(100000); /* far longer than anybody waits */
        _exit(0);
    }
    int status = 0;
    usleep(400000);
    if (how == CLI_PATIENT)
        kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void cli_interrupt_does_not_wait_for_work_that_does_not_ask(void **state) {
    (void)state;
    assert_int_equal(stubborn(CLI_SOON), CLI_INTERRUPTED);
    assert_int_equal(stubborn(CLI_PATIENT), -1); /* was still there */
}

static void cli_finds_out_first_what_can_be_read_and_written(void **state) {
    (void)state;
    const struct {
        char *option, *path, *said;
    } cases[] = {
        {"--text", "none.txt", "probe: error: --text none.txt: cannot open: No such file or directory\n"},
        {"--out", "none/out", "probe: error: none/out: cannot create a temporary file beside it: No such file or directory\n"},
        {"--report", ".", "probe: error: .: is a directory (name a file in it)\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fixture f = {0};
        run(&f, STDERR_FILENO, ARGS("m", cases[i].option, cases[i].path));
        assert_string_equal(f.said, cases[i].said);
        assert_int_equal(f.code, CLI_FAIL);
        done(&f);
    }
    fixture f = {0};
    run(&f, STDERR_FILENO, ARGS("m", "--out", "a", "--report", "fresh"));
    assert_int_equal(f.code, -1);
    assert_int_not_equal(access("fresh", F_OK), 0);
}

/* A folder with the files that the tests name. */
static char dir[4096];

static int setup(void **state) {
    (void)state;
    static const char *const names[] = {"a", "b", "c", "--json"};
    const char *tmp = getenv("TMPDIR");
    snprintf(dir, sizeof dir, "%s/kv-test-cli-XXXXXX", tmp ? tmp : P_tmpdir);
    if (!mkdtemp(dir) || chdir(dir))
        return -1;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        FILE *f = fopen(names[i], "w");
        if (!f || fclose(f))
            return -1;
    }
    return 0;
}

static int teardown(void **state) {
    (void)state;
    char command[5000];
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    return chdir("/") || system(command);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cli_fills_every_kind),
        cmocka_unit_test(cli_file_may_be_left_out),
        cmocka_unit_test(cli_each_takes_one_value_each_time),
        cmocka_unit_test(cli_keeps_defaults),
        cmocka_unit_test(cli_takes_one_of_several_words),
        cmocka_unit_test(cli_understands_old_names),
        cmocka_unit_test(cli_rows_differ_by_value),
        cmocka_unit_test(cli_double_dash_ends_options),
        cmocka_unit_test(cli_text_may_begin_with_a_dash),
        cmocka_unit_test(cli_refuses_numbers_out_of_range),
        cmocka_unit_test(cli_refuses_unknown_cache_types),
        cmocka_unit_test(cli_suggests_the_nearest_option),
        cmocka_unit_test(cli_names_what_others_call_differently),
        cmocka_unit_test(cli_refuses_stdout_where_it_cannot_be),
        cmocka_unit_test(cli_wants_values_where_needed),
        cmocka_unit_test(cli_counts_arguments),
        cmocka_unit_test(cli_refuses_an_output_that_is_an_input),
        cmocka_unit_test(cli_finds_out_first_what_can_be_read_and_written),
        cmocka_unit_test(cli_help_shows_every_row_and_default),
        cmocka_unit_test(cli_version_names_tool_and_version),
        cmocka_unit_test(cli_dispatch_runs_the_subcommand),
        cmocka_unit_test(cli_dispatch_or_falls_back),
        cmocka_unit_test(cli_dispatch_or_lists_subcommands_before_options),
        cmocka_unit_test(cli_report_maps_status_to_exit_code),
        cmocka_unit_test(cli_second_interrupt_ends_the_process),
        cmocka_unit_test(cli_interrupt_does_not_wait_for_work_that_does_not_ask),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
