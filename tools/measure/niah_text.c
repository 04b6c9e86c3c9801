/* Facts: templates and the words that fill them. The filler is in niah_filler.c. */
#include "measure/niah_text.h"

#include "base/splitmix64.h"
#include "measure/niah_words.h"

#include <stdio.h>
#include <string.h>

enum { PLACES, PEOPLE, OFFICES };             /* keys */
enum { NUMBER5, FULL_NAME, PHRASE, NUMBER4 }; /* answers */

const niah_template niah_templates[NIAH_TEMPLATES] = {
    {.name = "number",
     .summary = "a number of five digits",
     .fact = "The secret number of the {key} is {answer}.",
     .question = "What is the secret number of the {key}?",
     .prime = "The secret number of the {key} is",
     .keys = PLACES,
     .answers = NUMBER5},
    {.name = "name",
     .summary = "a first and a last name",
     .fact = "The owner of the {key} is called {answer}.",
     .question = "What is the owner of the {key} called?",
     .prime = "The owner of the {key} is called",
     .keys = PLACES,
     .answers = FULL_NAME},
    {.name = "phrase",
     .summary = "a pass-phrase of three words that have nothing to do with each other",
     .fact = "The pass-phrase of the {key} is \"{answer}\".",
     .question = "What is the pass-phrase of the {key}?",
     .prime = "The pass-phrase of the {key} is \"",
     .keys = PLACES,
     .answers = PHRASE},
    {.name = "keys",
     .summary = "one of four facts that differ in whom they are about",
     .fact = "The locker code of {key} is {answer}.",
     .question = "What is the locker code of {key}?",
     .prime = "The locker code of {key} is",
     .others = 3,
     .keys = PEOPLE,
     .answers = NUMBER4},
    {.name = "near",
     .summary = "one fact among near misses: the same thing, other properties",
     .fact = "The room number of the {key} is {answer}.",
     .question = "What is the room number of the {key}?",
     .prime = "The room number of the {key} is",
     .near = {"The fax number of the {key} is {answer}.", "The budget number of the {key} is {answer}."},
     .keys = OFFICES,
     .answers = NUMBER4},
};

int niah_template_by_name(const char *name) {
    for (int i = 0; i < NIAH_TEMPLATES; i++)
        if (!strcmp(niah_templates[i].name, name))
            return i;
    return -1;
}

static const char *pick(const char *const *words, size_t n, uint64_t *rng) {
    return words[splitmix64(rng) % n];
}
#define PICK(words, rng) pick(words, sizeof(words) / sizeof *(words), rng)

static void draw_key(int kind, uint64_t *rng, char out[NIAH_KEY]) {
    const char *a = kind == PEOPLE    ? PICK(niah_first_names, rng)
                    : kind == OFFICES ? PICK(niah_fields, rng)
                                      : PICK(niah_marks, rng);
    const char *b = kind == PEOPLE    ? PICK(niah_last_names, rng)
                    : kind == OFFICES ? PICK(niah_bodies, rng)
                                      : PICK(niah_places, rng);
    snprintf(out, NIAH_KEY, "%s %s", a, b);
}

static void draw_answer(int kind, uint64_t *rng, char out[NIAH_ANSWER]) {
    const char *a = kind == PHRASE ? PICK(niah_marks, rng) : PICK(niah_first_names, rng);
    const char *b = kind == PHRASE ? PICK(niah_things, rng) : PICK(niah_last_names, rng), *c = b;
    while (c == b)
        c = PICK(niah_things, rng);
    const unsigned number = (unsigned)(splitmix64(rng) % 9000 + 1000), digit = (unsigned)(splitmix64(rng) % 10);
    if (kind == NUMBER5)
        snprintf(out, NIAH_ANSWER, "%u%u", number, digit);
    else if (kind == NUMBER4)
        snprintf(out, NIAH_ANSWER, "%u", number);
    else if (kind == PHRASE)
        snprintf(out, NIAH_ANSWER, "%s %s %s", a, b, c);
    else
        snprintf(out, NIAH_ANSWER, "%s %s", a, b);
}

/* Put key and answer into a text. What does not fit is cut. */
static void fill(const char *text, const niah_fact *f, char *out, size_t size) {
    static const char key[] = "{key}", answer[] = "{answer}";
    size_t n = 0;
    while (*text && n + 1 < size) {
        const char *with = NULL;
        if (!strncmp(text, key, sizeof key - 1)) {
            with = f->key;
            text += sizeof key - 1;
        } else if (!strncmp(text, answer, sizeof answer - 1)) {
            with = f->answer;
            text += sizeof answer - 1;
        }
        if (with)
            n += (size_t)snprintf(out + n, size - n, "%s", with);
        else
            out[n++] = *text++;
    }
    out[n < size ? n : size - 1] = '\0';
}

void niah_write_fact(const niah_template *t, niah_fact *f) {
    fill(t->fact, f, f->text, sizeof f->text);
    fill(t->question, f, f->question, sizeof f->question);
    fill(t->prime, f, f->prime, sizeof f->prime);
}

void niah_draw_fact(const niah_template *t, uint64_t *rng, niah_fact *out) {
    draw_key(t->keys, rng, out->key);
    draw_answer(t->answers, rng, out->answer);
    niah_write_fact(t, out);
}

void niah_draw_near(const niah_template *t, const niah_fact *fact, unsigned which, uint64_t *rng, niah_fact *out) {
    *out = *fact;
    draw_answer(t->answers, rng, out->answer);
    fill(t->near[which], out, out->text, sizeof out->text);
}
