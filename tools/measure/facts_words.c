/* Templates filled, values drawn, filler drawn; and the words that all kinds of documents share. */
#include "measure/facts_text.h"

#include "base/splitmix64.h"

#include <stdio.h>
#include <string.h>

const facts_style *const facts_styles[FACTS_STYLES] = {&facts_style_report, &facts_style_minutes, &facts_style_code,
                                                       &facts_style_table, &facts_style_dialogue};

/* ---- words ---- */

static const facts_rule common[] = {
    {"first",
     "Adaline|Bertil|Corazon|Dimitar|Eleni|Fergus|Giulia|Henrik|Ilona|Jasper|Kalina|Ludovic|Marisol|Niamh|Otakar|Petra|"
     "Quentin|Rosalind|Stefan|Tamsin|Ulrike|Vasco|Wilhelmina|Xavier|Yusuf|Zelda|Anselm|Bronwyn|Casimir|Delphine|"
     "Emeric|Fabiola|Gregor|Hedvig|Ignacio|Jolanta|Kasper|Leonor|Matthias|Noemi|Oriana|Pascal|Radka|Severin|Tiberiu|"
     "Urszula|Valentina|Wendel"},
    {"last", "Abernathy|Brannigan|Castellan|Drummond|Eskildsen|Farquhar|Gallardo|Hollander|Ivarsson|Jablonski|Kowalczyk|"
             "Lindqvist|Marchetti|Northcote|Okonkwo|Pemberton|Quillfeather|Rasmussen|Szabo|Thornquist|Underhill|Valverde|"
             "Whitlock|Yamamoto|Zielinski|Ashdown|Blackwood|Cavendish|Dellarosa|Engstrom|Fairweather|Grimaldi|Haverkamp|"
             "Iglesias|Jorgensen|Kettering|Lombardi|Mirzoyan|Novak|Oberholtz|Prendergast|Rutherford|Sinclair|Tedesco|Uchida|"
             "Vandermeer|Wojcik|Yarrow|Zamora|Achterberg|Boncourt|Cernigoi|Dragomir|Ettinger"},
    {"place", "Ardenholt|Brackwater|Calverston|Dunmarrow|Elderby|Fallowmere|Greyford|Harrowgate|Inverlaith|Jedwick|Kestwick|"
              "Lorrington|Maplestead|Northaven|Oakhampton|Penharrow|Quillborough|Ravensholm|Silverdale|Tarnbrook|Ulverley|"
              "Vintersund|Westerlo|Yarmford|Zellenburg|Aldmoor|Birchfield|Corvale|Drystone|Eskmouth|Fernhurst|Glenrothan|"
              "Highcastle|Ironbridge|Kilbrannan|Larkhill|Mossgate|Nethercote|Orrinsay|Pinewold|Redcliffe|Saltmarsh|Thornbury|"
              "Upwey|Vallorby|Wexcombe"},
    {"month", "January|February|March|April|May|June|July|August|September|October|November|December"},
    {"company", "Tarvik Marine|Osprey Freight|Hallam Optics|Brightwell Paper|Corvus Electric|Dunlin Textiles|Egret Software|"
                "Falmark Steel|Gannet Foods|Helvig Turbines|Ibex Timber|Jackdaw Printing|Kestrel Glass|Linnet Chemicals|"
                "Merlin Cables|Noctua Security|Oriole Plastics|Plover Shipping|Quarrymen Stone|Redstart Motors|Siskin Dairy|"
                "Tanager Airlines|Umbra Lighting|Vireo Medical|Wagtail Express"},
    {"project", "Amber Heron|Blue Lantern|Copper Finch|Distant Harbour|Early Frost|Folded Map|Glass Anchor|Hollow Oak|Iron "
                "Meadow|Jade Compass|Kindled Torch|Lost Ferry|Marble Staircase|Narrow Gate|Open Sesame|Paper Crown|Quiet "
                "Thunder|Red Umbrella|Silver Thread|Tall Chimney|Upper Deck|Velvet Hammer|White Pepper|Yellow Kite"},
    {0},
};

static const facts_rule *find(const facts_rule *r, const char *name, size_t len) {
    for (; r && r->name; r++)
        if (strlen(r->name) == len && !memcmp(r->name, name, len))
            return r;
    return NULL;
}

/* One of the alternatives in the first n bytes of s, which `between` separates; of *len bytes. */
static const char *pick(const char *s, size_t n, char between, uint64_t *rng, size_t *len) {
    size_t count = 1;
    for (size_t i = 0; i < n; i++)
        count += s[i] == between;
    const char *const end = s + n;
    for (size_t skip = (size_t)(splitmix64(rng) % count); skip; skip--)
        s = (const char *)memchr(s, between, (size_t)(end - s)) + 1;
    const char *last = memchr(s, between, (size_t)(end - s));
    *len = (size_t)((last ? last : end) - s);
    return s;
}

/* ---- templates ---- */

typedef struct output {
    char *text;
    size_t n;
} output;

static void put(output *o, const char *s, size_t len) {
    for (size_t i = 0; i < len && o->n + 1 < FACTS_PIECE; i++)
        o->text[o->n++] = s[i];
}

static const char *slot(const facts_slots *slots, const char *name, size_t len) {
    const struct {
        const char *name, *value;
    } known[] = {{"k", slots->k}, {"b", slots->b}, {"a", slots->a}, {"title", slots->title}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strlen(known[i].name) == len && !memcmp(known[i].name, name, len))
            return known[i].value;
    return NULL;
}

typedef struct expander {
    const facts_style *style;
    const facts_slots *slots;
    uint64_t *rng;
    output out;
} expander;

static void expand(expander *x, const char *text, size_t len, unsigned depth);

static void expand_one(expander *x, const char *text, size_t len, char between, unsigned depth) {
    size_t n;
    const char *one = pick(text, len, between, x->rng, &n);
    expand(x, one, n, depth + 1);
}

static void expand_name(expander *x, const char *name, size_t len, unsigned depth) {
    const char *value = slot(x->slots, name, len);
    const facts_rule *r = find(x->style->rules, name, len);
    r = r ? r : find(common, name, len);
    if (value)
        put(&x->out, value, strlen(value));
    else if (r)
        expand_one(x, r->alternatives, strlen(r->alternatives), '|', depth);
    else
        put(&x->out, name - 1, len + 2); /* braces of its own */
}

static void expand(expander *x, const char *text, size_t len, unsigned depth) {
    enum { DEEPEST = 8 };
    const bool brackets = x->style->layout != FACTS_BLOCKS;
    for (const char *end = text + len; text < end && depth < DEEPEST;) {
        const char closing = *text == '{' ? '}' : *text == '[' && brackets ? ']' : '\0';
        const char *close = closing ? memchr(text, closing, (size_t)(end - text)) : NULL;
        if (!close)
            put(&x->out, text++, 1);
        else {
            if (closing == '}')
                expand_name(x, text + 1, (size_t)(close - text - 1), depth);
            else
                expand_one(x, text + 1, (size_t)(close - text - 1), '/', depth);
            text = close + 1;
        }
    }
}

void facts_expand(const facts_style *s, const char *text, const facts_slots *slots, uint64_t *rng, char out[FACTS_PIECE]) {
    static const facts_slots none;
    expander x = {.style = s, .slots = slots ? slots : &none, .rng = rng, .out = {.text = out}};
    expand(&x, text, strlen(text), 0);
    out[x.out.n] = '\0';
    for (size_t i = 0; s->layout != FACTS_BLOCKS && i < x.out.n; i++)
        if (out[i] >= 'a' && out[i] <= 'z' && (!i || (i > 1 && out[i - 1] == ' ' && strchr(".?!", out[i - 2]))))
            out[i] = (char)(out[i] - 'a' + 'A');
}

/* ---- values ---- */

static unsigned below(uint64_t *rng, unsigned n) {
    return (unsigned)(splitmix64(rng) % n);
}

static void draw_person(const facts_style *s, uint64_t *rng, facts_value *v) {
    char first[FACTS_PIECE], last[FACTS_PIECE];
    facts_expand(s, "{first}", NULL, rng, first);
    facts_expand(s, "{last}", NULL, rng, last);
    snprintf(v->shown, sizeof v->shown, "%.30s %.30s", first, last);
    snprintf(v->wanted, sizeof v->wanted, "%.30s %.30s|%.30s", first, last, last);
}

static void draw_date(const facts_style *s, uint64_t *rng, facts_value *v) {
    static const char *const ordinal[] = {"th", "st", "nd", "rd", "th", "th", "th", "th", "th", "th"};
    char month[FACTS_PIECE];
    const unsigned day = below(rng, 28) + 1;
    facts_expand(s, "{month}", NULL, rng, month);
    const char *th = day / 10 == 1 ? "th" : ordinal[day % 10];
    snprintf(v->shown, sizeof v->shown, "%u %.20s", day, month);
    snprintf(v->wanted, sizeof v->wanted, "%u %.20s|%.20s %u|%u%s of %.20s|%u%s %.20s|%.20s %u%s", day, month, month, day, day,
             th, month, day, th, month, month, day, th);
}

static void draw_code(const facts_style *s, uint64_t *rng, facts_value *v) {
    (void)s;
    static const char letters[] = "BCDFGHJKLMNPQRTVWXZ";
    const unsigned n = sizeof letters - 1;
    const char a = letters[below(rng, n)], b = letters[below(rng, n)];
    snprintf(v->shown, sizeof v->shown, "%c%c-%u", a, b, 1000 + below(rng, 9000));
}

static void draw_amount(const facts_style *s, uint64_t *rng, facts_value *v) {
    (void)s;
    const unsigned thousands = 11 + below(rng, 88), rest = below(rng, 99) + 1;
    snprintf(v->shown, sizeof v->shown, "%u,%03u", thousands, 10 * rest);
}

static void draw_count(const facts_style *s, uint64_t *rng, facts_value *v) {
    (void)s;
    snprintf(v->shown, sizeof v->shown, "%u", 101 + below(rng, 898));
}

static void draw_integer(const facts_style *s, uint64_t *rng, facts_value *v) {
    (void)s;
    snprintf(v->shown, sizeof v->shown, "%u", 2049 + below(rng, 7950));
}

static void draw_decimal(const facts_style *s, uint64_t *rng, facts_value *v) {
    (void)s;
    const unsigned whole = 11 + below(rng, 88), tenth = below(rng, 9) + 1;
    snprintf(v->shown, sizeof v->shown, "%u.%u", whole, tenth);
}

void facts_draw_value(const facts_style *s, const char *kind, uint64_t *rng, facts_value *out) {
    static const struct {
        const char *kind;
        void (*draw)(const facts_style *, uint64_t *, facts_value *);
    } kinds[] = {{"person", draw_person}, {"amount", draw_amount},   {"count", draw_count},    {"date", draw_date},
                 {"code", draw_code},     {"decimal", draw_decimal}, {"integer", draw_integer}};
    *out = (facts_value){0};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (!strcmp(kinds[i].kind, kind))
            kinds[i].draw(s, rng, out);
    if (!*out->shown) {
        char rule[FACTS_VALUE], text[FACTS_PIECE];
        snprintf(rule, sizeof rule, "{%s}", kind);
        const facts_style plain = {.layout = FACTS_BLOCKS, .rules = s->rules}; /* no capitals */
        facts_expand(&plain, rule, NULL, rng, text);
        snprintf(out->shown, sizeof out->shown, "%.*s", FACTS_VALUE - 1, text);
    }
    if (!*out->wanted)
        strcpy(out->wanted, out->shown);
}

/* ---- filler ---- */

static unsigned between(const unsigned range[2], uint64_t *rng) {
    return range[0] + below(rng, range[1] - range[0] + 1);
}

/* A sentence of the subject that was not there yet; when all were, from the beginning. */
static const char *draw_sentence(facts_filler *f, uint64_t *rng) {
    const char *const *sentence = f->style->subjects[f->subject].sentence;
    unsigned n = 0, i;
    while (n < FACTS_SENTENCES && sentence[n])
        n++;
    if (f->used[f->subject] == (1u << n) - 1)
        f->used[f->subject] = 0;
    do
        i = below(rng, n);
    while (f->used[f->subject] >> i & 1);
    f->used[f->subject] |= 1u << i;
    return sentence[i];
}

/* Whether the text is among the last ones; it is from now on. The hash is FNV-1a. */
static bool seen_before(facts_filler *f, const char *text) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (const char *c = text; *c; c++)
        hash = (hash ^ (unsigned char)*c) * 0x100000001b3u;
    for (unsigned i = 0; i < f->n_seen && i < FACTS_SEEN; i++)
        if (f->seen[i] == hash)
            return true;
    f->seen[f->n_seen++ % FACTS_SEEN] = hash;
    return false;
}

static void begin_section(facts_filler *f, uint64_t *rng, char out[FACTS_PIECE]) {
    const facts_style *s = f->style;
    unsigned n = 0;
    while (s->subjects[n].title)
        n++;
    f->subject = f->section ? (f->subject + 1 + below(rng, n - 1)) % n : below(rng, n);
    f->section++;
    f->paragraphs = between(s->paragraphs, rng);
    char text[FACTS_VALUE * 2], title[FACTS_PIECE], numbered[FACTS_PIECE + 16];
    size_t len;
    const char *one = pick(s->subjects[f->subject].title, strlen(s->subjects[f->subject].title), '|', rng, &len);
    snprintf(text, sizeof text, "%.*s", (int)len, one);
    facts_expand(s, text, NULL, rng, title);
    snprintf(numbered, sizeof numbered, "%u. %s", f->section, title);
    const facts_slots slots = {.title = s->layout == FACTS_BLOCKS ? title : numbered};
    facts_expand(s, s->heading, &slots, rng, out);
}

facts_break facts_draw_filler(facts_filler *f, uint64_t *rng, char out[FACTS_PIECE]) {
    enum { TRIES = 20 };
    const bool begins = !f->sentences;
    if (begins) {
        if (!f->paragraphs) {
            begin_section(f, rng, out);
            if (f->style->heading[0])
                return FACTS_HEADING;
        }
        f->paragraphs--;
        f->sentences = between(f->style->sentences, rng);
    }
    f->sentences--;
    for (int tries = 0; tries < TRIES; tries++) {
        facts_expand(f->style, draw_sentence(f, rng), NULL, rng, out);
        if (!seen_before(f, out))
            break;
    }
    return begins ? FACTS_PARAGRAPH : FACTS_SPACE;
}
