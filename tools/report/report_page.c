/* The frame of a report: style, title, sections, foot. */
#include "report/report_parts.h"

#include "base/atomic_file.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <utf8proc.h>

/* Light or dark, as the reader has it; paper is light. */
#define PALETTE                                                                                                                \
    ":root{--bg:#fff;--ink:#1c2127;--soft:#56616d;--line:#d9dee4;--panel:#f6f8fa;--accent:#0072b2;color-scheme:light dark}\n"  \
    "@media (prefers-color-scheme:dark){:root{--bg:#15181c;--ink:#e7eaee;--soft:#a5afba;--line:#3a424b;--panel:#1d2228;"       \
    "--accent:#56b4e9}}\n"
#define FONTS "system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,'Liberation Sans',sans-serif"
/* Charts, in a page or alone. */
#define CHARTS                                                                                                                 \
    "svg text{fill:var(--ink);font-size:13px}\n"                                                                               \
    "svg .soft{fill:var(--soft)}\n"                                                                                            \
    "svg .small{font-size:11.5px}\n"                                                                                           \
    "svg .axis{stroke:var(--ink);stroke-width:1;fill:none}\n"                                                                  \
    "svg .grid{stroke:var(--line);stroke-width:1;fill:none}\n"                                                                 \
    "svg .halo{paint-order:stroke;stroke:var(--bg);stroke-width:4px;stroke-linejoin:round}\n"                                  \
    "svg .strong{font-weight:650}\n"

static const char style[] = PALETTE
    "*{box-sizing:border-box}\n"
    "body{margin:0;background:var(--bg);color:var(--ink);font:16px/1.55 " FONTS "}\n"
    "main{max-width:1080px;margin:0 auto;padding:56px 40px 40px}\n"
    "h1{font-size:31px;line-height:1.2;font-weight:650;letter-spacing:-.01em;margin:0 0 10px}\n"
    "h2{font-size:21px;line-height:1.3;font-weight:650;margin:0 0 6px}\n"
    ".lead{font-size:17px;color:var(--soft);margin:0;max-width:48em}\n"
    "section{margin:56px 0 0;break-inside:avoid}\n"
    ".caption{color:var(--soft);margin:0 0 18px;max-width:52em}\n"
    "svg{display:block;width:100%;height:auto;overflow:visible}\n" CHARTS
    ".cards{display:flex;flex-wrap:wrap;gap:14px;margin:32px 0 0;padding:0;list-style:none}\n"
    ".cards li{flex:1 1 160px;background:var(--panel);border-radius:10px;padding:14px 18px 16px}\n"
    ".cards "
    "b{display:block;white-space:nowrap;font-size:23px;line-height:1.25;font-weight:650;font-variant-numeric:tabular-nums}\n"
    ".cards span{display:block;color:var(--soft);font-size:14px;line-height:1.4}\n"
    ".legend{display:flex;flex-wrap:wrap;gap:4px 24px;margin:0 0 20px;padding:0;list-style:none;font-size:14px}\n"
    ".legend svg{display:inline-block;width:17px;height:17px;vertical-align:-3px;margin-right:7px}\n"
    ".note{color:var(--soft);font-size:14px;margin:12px 0 0}\n"
    ".wide{overflow-x:auto}\n"
    "table{border-collapse:collapse;width:100%;font-size:14px;font-variant-numeric:tabular-nums;line-height:1.35}\n"
    "th,td{padding:7px 0 7px 16px;text-align:right;white-space:nowrap;border-bottom:1px solid var(--line)}\n"
    "th{font-weight:600;color:var(--soft);vertical-align:bottom;border-bottom:1.5px solid var(--ink)}\n"
    "th:first-child,td:first-child{text-align:left;padding-left:0;white-space:normal}\n"
    "td.text,th.text{text-align:left}\n"
    "td svg{display:inline-block;width:15px;height:15px;vertical-align:-2px;margin-right:9px}\n"
    "footer{margin:64px 0 0;padding:22px 0 0;border-top:1px solid var(--line);color:var(--soft);font-size:13.5px}\n"
    "footer dl{display:grid;grid-template-columns:max-content 1fr;gap:3px 20px;margin:0}\n"
    "footer dt{font-weight:600}\n"
    "footer dd{margin:0;overflow-wrap:anywhere}\n"
    "code{font:12.5px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,'Liberation Mono',monospace}\n"
    "th:first-child,td:first-child{min-width:8.5em}\n"
    "@media print{:root{--bg:#fff;--ink:#000;--soft:#444;--line:#ddd;--panel:#fff;--accent:#0072b2}\n"
    "@page{margin:13mm}main{max-width:none;padding:0}body{font-size:10.5pt}h1{font-size:20pt}h2{font-size:14pt}.lead{font-size:"
    "11pt}"
    "section{margin-top:26px}.cards li{border:1px solid #bbb}table{font-size:7.5pt}.wide{overflow:visible}th,td{padding:4px 0 "
    "4px "
    "9px}td svg{width:11px;height:11px;margin-right:5px}*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}\n";

static void put_text(FILE *f, const char *s, size_t len) {
    utf8proc_int32_t c;
    const char *end = s + len;
    for (utf8proc_ssize_t n; s<end; s += n> 0 ? n : 1) {
        n = utf8proc_iterate((const utf8proc_uint8_t *)s, end - s, &c);
        if (n <= 0 || c < ' ' || c == 0x7f || c == 0xfffe || c == 0xffff)
            fputs("\xef\xbf\xbd", f);
        else if (c == '<' || c == '>' || c == '&' || c == '"' || c == '\'')
            fprintf(f, "&#%d;", (int)c);
        else
            fwrite(s, 1, (size_t)n, f);
    }
}

void rep_text(FILE *f, const char *s) {
    put_text(f, s, strlen(s));
}

void rep_page_begin(FILE *f, const char *title, const char *lead) {
    fputs("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
          "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n<title>",
          f);
    rep_text(f, title);
    fprintf(f, "</title>\n<style>\n%s</style>\n</head>\n<body>\n<main>\n<header>\n<h1>", style);
    rep_text(f, title);
    fputs("</h1>\n<p class=\"lead\">", f);
    rep_text(f, lead);
    fputs("</p>\n</header>\n", f);
}

void rep_section_begin(FILE *f, const char *title, const char *caption) {
    fprintf(f, "<section>\n<h2>%s</h2>\n<p class=\"caption\">%s</p>\n", title, caption);
}

void rep_section_end(FILE *f) {
    fputs("</section>\n", f);
}

void rep_svg_begin(FILE *f, double height, const char *label) {
    fprintf(f, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %.0f\" role=\"img\" aria-label=\"%s\">\n",
            REPORT_WIDTH, height, label);
}

void rep_picture_begin(FILE *f, double height, const char *title) {
    enum { MARGIN = 24 };
    const double wide = REPORT_WIDTH + 2 * MARGIN, high = height + 2 * MARGIN;
    fprintf(
        f,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" viewBox=\"%d %d %.0f %.0f\" role=\"img\">\n"
        "<title>",
        wide, high, -MARGIN, -MARGIN, wide, high);
    rep_text(f, title);
    fprintf(f,
            "</title>\n<style>\n" PALETTE CHARTS "text{font-family:" FONTS
            "}\nsvg .title{font-size:20px;font-weight:650}\n</style>\n"
            "<rect x=\"%d\" y=\"%d\" width=\"%.0f\" height=\"%.0f\" style=\"fill:var(--bg)\"/>\n",
            -MARGIN, -MARGIN, wide, high);
}

char *report_date(char buf[REPORT_DATE]) {
    const char *fixed = getenv("SOURCE_DATE_EPOCH");
    time_t now = fixed && *fixed ? (time_t)strtoll(fixed, NULL, 10) : time(NULL);
    struct tm tm;
    if (!gmtime_r(&now, &tm) || !strftime(buf, REPORT_DATE, "%Y-%m-%d %H:%M UTC", &tm))
        snprintf(buf, REPORT_DATE, "unknown");
    return buf;
}

static bool needs_quotes(const char *s) {
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:=@%+,-";
    return !*s || s[strspn(s, plain)];
}

typedef void put_piece(void *user, const char *s, size_t len);

static void spell_word(const char *s, put_piece *put, void *user) {
    if (!needs_quotes(s)) {
        put(user, s, strlen(s));
        return;
    }
    put(user, "'", 1);
    for (const char *quote; (quote = strchr(s, '\'')); s = quote + 1) {
        put(user, s, (size_t)(quote - s));
        put(user, "'\\''", 4);
    }
    put(user, s, strlen(s));
    put(user, "'", 1);
}

/* The command line as a shell takes it. */
static void spell_command(const report_origin *o, put_piece *put, void *user) {
    if (o->tool)
        put(user, o->tool, strlen(o->tool));
    for (int i = 1; i < o->argc; i++) {
        put(user, " ", 1);
        spell_word(o->argv[i], put, user);
    }
}

static void count_piece(void *user, const char *s, size_t len) {
    (void)s;
    *(size_t *)user += len;
}

static void append_piece(void *user, const char *s, size_t len) {
    char **end = user;
    memcpy(*end, s, len);
    *end += len;
}

static void page_piece(void *user, const char *s, size_t len) {
    put_text(user, s, len);
}

char *report_command(const report_origin *o) {
    size_t len = 0;
    spell_command(o, count_piece, &len);
    char *text = malloc(len + 1), *end = text;
    if (text) {
        spell_command(o, append_piece, &end);
        *end = '\0';
    }
    return text;
}

/* A line of the foot: what, and up to two texts. */
static void fact(FILE *f, const char *what, const char *text, const char *code) {
    if ((!text || !*text) && (!code || !*code))
        return;
    fprintf(f, "<dt>%s</dt><dd>", what);
    rep_text(f, text ? text : "");
    if (code && *code) {
        fputs(text && *text ? " <code>" : "<code>", f);
        rep_text(f, code);
        fputs("</code>", f);
    }
    fputs("</dd>\n", f);
}

void rep_page_end(FILE *f, const report_origin *o, const prof *p) {
    char date[REPORT_DATE], made[160];
    fputs("<footer>\n<dl>\n", f);
    fact(f, "Model",
         o->model_name ? o->model_name
         : p           ? p->model_name
                       : NULL,
         o->model_hash ? o->model_hash
         : p           ? p->model_hash
                       : NULL);
    fact(f, "Model file", o->model_path, NULL);
    fact(f, "Text", o->text, o->text_hash);
    if (p && p->calib_tokens) {
        snprintf(made, sizeof made, "kvcalib %s, %u tokens in chunks of %u, seed %llu, text", p->tool_version, p->calib_tokens,
                 p->calib_ctx, (unsigned long long)p->seed);
        fact(f, "Calibration", made, p->text_hash);
    }
    fputs("<dt>Command</dt><dd> <code>", f); /* as it is spelled, which takes no memory */
    spell_command(o, page_piece, f);
    fputs("</code></dd>\n", f);
    fact(f, "Version", "kvcalib " KV_TOOL_VERSION, NULL);
    fact(f, "Date", report_date(date), NULL);
    fputs("</dl>\n</footer>\n</main>\n</body>\n</html>\n", f);
}
