/* Filler: a small grammar of sentences on life in a village where nothing much happens. Each subject has its own sentences;
 * words in braces are drawn from lists. */
#include "measure/niah_text.h"

#include "base/splitmix64.h"

#include <stdio.h>
#include <string.h>

/* ---- words ---- */

static const char *const who[] = {"the baker",      "the old teacher",  "the carpenter", "a neighbour",     "the postman",
                                  "the shepherd",   "the miller",       "my aunt",       "the gardener",    "the choir leader",
                                  "the ferryman",   "the youngest boy", "the librarian", "a visitor",       "the beekeeper",
                                  "the blacksmith", "the doctor",       "the tailor",    "her grandfather", "the innkeeper"};
static const char *const when[] = {"in the early morning",    "before lunch",
                                   "late in the afternoon",   "after the rain",
                                   "on most evenings",        "at the end of autumn",
                                   "during the dry weeks",    "when the wind turned",
                                   "towards midnight",        "once the snow was gone",
                                   "in the middle of spring", "as the bells rang",
                                   "on the longest day",      "while the soup was cooking"};
static const char *const where[] = {
    "near the bridge",    "behind the barn",   "at the edge of the woods", "by the well",        "along the stone wall",
    "under the chestnut", "beside the pond",   "across the meadow",        "in the narrow lane", "on the far bank",
    "at the crossroads",  "above the orchard", "next to the stable",       "between the hedges"};
static const char *const mood[] = {"without any hurry", "with great care",   "as quietly as possible", "rather slowly",
                                   "in good spirits",   "half asleep",       "with a patient smile",   "for no clear reason",
                                   "as usual",          "with some trouble", "almost by accident",     "humming a tune"};
static const char *const thing[] = {"a basket of plums", "an empty crate",  "the wooden ladder", "a bundle of twigs",
                                    "a worn blanket",    "the brown jug",   "a box of candles",  "a roll of string",
                                    "two loaves",        "a sack of flour", "the broken chair",  "a jar of honey",
                                    "a heap of straw",   "the heavy bucket"};
static const char *const sky[] = {"pale and clear",  "grey from end to end", "full of slow clouds", "bright after the storm",
                                  "heavy with rain", "as still as glass",    "streaked with pink",  "low over the roofs"};

static const struct {
    const char *name;
    const char *const *words;
    size_t n;
} lists[] = {
    {"who", who, sizeof who / sizeof *who},         {"when", when, sizeof when / sizeof *when},
    {"where", where, sizeof where / sizeof *where}, {"mood", mood, sizeof mood / sizeof *mood},
    {"thing", thing, sizeof thing / sizeof *thing}, {"sky", sky, sizeof sky / sizeof *sky},
};

/* ---- sentences ---- */

enum { SENTENCES = 10 };
static const char *const subjects[][SENTENCES] = {
    /* the garden */
    {"{when}, {who} watered the beans {where} and pulled up the weeds {mood}.",
     "The cabbages had been planted too close together, and {who} moved every second one {where}.",
     "Not even {who} could say why the roses {where} did so much better than the others.",
     "{who} carried {thing} to the compost heap and stood there for a while.",
     "Slugs had eaten most of the lettuce, which {who} accepted {mood}.",
     "A row of sunflowers was growing {where}, taller than {who}.",
     "The soil {where} was dry on top but still dark and cool a hand's breadth below.",
     "{when}, the smell of mint and wet earth drifted through the open window.",
     "It was {who} who said {when} that onions should never be hurried.",
     "By then the pumpkins had spread {where}, and the path could hardly be seen."},
    /* the weather */
    {"The sky was {sky}, and {who} took the washing in {mood}.",
     "{when}, a cold wind came down from the hills and rattled the shutters.",
     "Fog lay {where} until the church clock could be heard but not seen.",
     "It rained for so long that the ducks walked {where} as if they owned the place.",
     "{who} looked up, found the sky {sky}, and decided to stay at home.",
     "The thermometer had been broken for years, so {who} guessed, and the sky was {sky}.",
     "There was frost {where}, thin as paper, and {who} walked around it {mood}.",
     "Thunder rolled far away {when}, and the dog hid behind {thing}.",
     "{when}, the light turned yellow and the swallows flew very low.",
     "{who} was sure that such weather {when} could not be a good sign."},
    /* the river */
    {"{who} rowed across {mood} and tied the boat {where}.",
     "The water was high {when}, brown and fast, with branches turning in it.",
     "Somebody had left {thing} on the landing stage, and it stayed there all week.",
     "A heron stood {where}, so still that {who} took it for a post.",
     "The children threw flat stones {where} and counted how often they jumped.",
     "{when}, trout rose to the surface and left rings that slowly widened.",
     "The ferry rope was mended {when}, so often that little of the first one was left.",
     "{who} claimed {mood} that the river spoke differently before a flood.",
     "Reeds were cut {where} and laid out to dry in long rows.", "In the shallows {where} lay {thing}, half covered by sand."},
    /* bread and cooking */
    {"{who} kneaded the dough {mood} and left it to rise under a cloth.",
     "The oven was lit {when}, and the whole lane smelled of rye.",
     "There was never enough salt in the soup, whatever {who} said {when}.",
     "{who} put {thing} on the table and asked who wanted to help.",
     "Apples were sliced, threaded on string and hung up {where}.",
     "The recipe called for patience, butter and, as {who} insisted, a cool cellar.",
     "{when}, a pot of lentils simmered on the stove, and no one lifted the lid.",
     "The second batch came out darker than the first, but {who} ate it {mood}.",
     "{who} kept the good plates on the top shelf and used them only at weddings.",
     "Cheese was turned every few days and wiped {mood} with a damp rag."},
    /* the school and the library */
    {"{who} read aloud {when}, and even the restless ones listened.",
     "The shelves in the back room bent under atlases that only {who} ever borrowed.",
     "A window had been left open {when}, and leaves lay between the pages.",
     "{who} returned a book that had been missing for years and apologised {mood}.",
     "The map on the wall showed roads {where} that had never been built.",
     "Chalk dust hung in the sun, and next door {who} was practising scales {mood}.",
     "{when}, the older pupils helped the younger ones with their sums.",
     "{who} had a habit of pressing flowers in the dictionary {when}.",
     "The stove in the classroom smoked whenever the sky was {sky}.",
     "They wrote short essays about what could be seen {where}."},
    /* animals */
    {"The goats got out again and were found {where}, chewing {mood}.",
     "{who} counted the sheep {when} and arrived at a different result each time.",
     "An owl had moved in {where} and complained about the bells {when}.",
     "The grey cat slept on {thing} {where} and would not be moved.",
     "Bees were busy {where}, and {who} walked around them in a wide circle.",
     "A hen had laid her eggs {where}, where {who} almost stepped on them.",
     "{when}, the horses were led to the smithy, one after the other.",
     "The old dog lay {where}, knew every cart by its sound and barked only at strangers.",
     "Swans came down {where}, and work stopped until they had settled.",
     "{who} swore {mood} that the donkey understood more than it let on."},
    /* repairs */
    {"{who} mended the roof {mood} and came down before the sky was {sky}.",
     "A board was loose {where}, and everyone had learned to step over it.",
     "The gate squeaked {when}, although it had been oiled more than once.",
     "{who} borrowed {thing}, promised to return it, and forgot.",
     "New posts were driven into the ground {where} and painted white.",
     "The pump gave only a cough of water, so {who} took it apart {mood}.",
     "Nails were straightened {when} and sorted by length, as {who} always had use for them.",
     "{when}, the sound of a saw could be heard from the workshop.",
     "The wall {where} leaned a little more each year, and it was propped up with beams.",
     "There was a long talk with {who} about which shade of green the shutters should have."},
    /* the market and feasts */
    {"{who} sold {thing} {where} and went home content.", "The stalls were put up {when}, under a sky that was {sky}.",
     "Two fiddlers played {where}, and the smaller children danced {mood}.",
     "There was an argument with {who} about the price of wool, and it ended in laughter.",
     "{who} won {thing} in the raffle and did not know what to do with it.",
     "Lanterns were hung {where}, and moths gathered around them.",
     "{when}, the last carts left and only straw remained on the square.",
     "Someone told the story of the lost bell, and {who} corrected every detail.",
     "The long tables were carried {where} by whoever had a free hand.",
     "{who} gave a short speech {mood}, and then the dancing went on."},
};
enum { SUBJECTS = sizeof subjects / sizeof *subjects, LEAST = 4, MOST = 7 };

/* A word from the list that the braces at s name; *s moves behind them. */
static const char *word(const char **s, uint64_t *rng) {
    const size_t len = strcspn(*s + 1, "}");
    const char *name = *s + 1;
    *s = name + len + 1;
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        if (strlen(lists[i].name) == len && !memcmp(lists[i].name, name, len))
            return lists[i].words[splitmix64(rng) % lists[i].n];
    return "";
}

static void write_sentence(const char *s, uint64_t *rng, char out[NIAH_SENTENCE]) {
    size_t n = 0;
    while (*s && n + 1 < NIAH_SENTENCE) {
        if (*s == '{') {
            const int len = snprintf(out + n, NIAH_SENTENCE - n, "%s", word(&s, rng));
            n += (size_t)len < NIAH_SENTENCE - n ? (size_t)len : NIAH_SENTENCE - n - 1;
        } else
            out[n++] = *s++;
    }
    out[n] = '\0';
    if (out[0] >= 'a' && out[0] <= 'z')
        out[0] = (char)(out[0] - 'a' + 'A');
}

void niah_draw_filler(niah_filler *f, uint64_t *rng, char out[NIAH_SENTENCE], bool *begins) {
    *begins = !f->left;
    if (!f->left) {
        /* Any subject but the one before. */
        f->subject = (f->subject + 1 + (unsigned)(splitmix64(rng) % (SUBJECTS - 1))) % SUBJECTS;
        f->left = LEAST + (unsigned)(splitmix64(rng) % (MOST - LEAST + 1));
        f->used = 0;
    }
    unsigned i;
    do
        i = (unsigned)(splitmix64(rng) % SENTENCES);
    while (f->used >> i & 1);
    f->used |= 1u << i;
    f->left--;
    write_sentence(subjects[f->subject][i], rng, out);
}
