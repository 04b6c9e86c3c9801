/* kvrun text: what is read of a document. */
#include "cli/cli.h"
#include "document/document.h"
#include "kvrun/cmd.h"

#include <stdio.h>
#include <unistd.h>

static const char tool[] = "kvrun text";

/* To a file, byte by byte as it is; on a terminal, what could act on that is escaped. */
static kv_status print(const document *d, kv_err *err) {
    if (isatty(STDOUT_FILENO))
        cli_say(stdout, "%s", d->text);
    else
        fwrite(d->text, 1, d->len, stdout);
    if (d->len && d->text[d->len - 1] != '\n')
        fputc('\n', stdout);
    return fflush(stdout) || ferror(stdout) ? kv_fail(err, KV_EIO, "cannot write the text: %m") : KV_OK;
}

int cmd_text(int argc, char **argv) {
    const char *path = NULL, *as = NULL;
    const cli_opt opts[] = {
        {"--as", NULL, CLI_CHOICE, DOCUMENT_KIND_NAMES, &as, 0, 0,
         "read it as this kind of document, however it is called and begins"},
        {0},
    };
    cli_catch_signals(CLI_SOON);
    int code = cli_parse(&(cli_spec){.tool = tool,
                                     .usage = "FILE [--as KIND]",
                                     .summary = "Prints the text that is read of a document; - is standard input.",
                                     .examples = "  kvrun text notes.md | less\n",
                                     .opts = opts,
                                     .args = (const cli_arg[]){{"FILE", CLI_IN, &path}, {0}},
                                     .n_required = 1},
                         argc, argv);
    if (code >= 0)
        return code;
    kv_err err = {0};
    document d;
    kv_status st = document_read(path, as, cli_go_on, NULL, &d, &err);
    if (!st)
        st = print(&d, &err);
    document_free(&d);
    return st ? cli_report(tool, &err) : CLI_OK;
}
