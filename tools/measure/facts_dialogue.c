/* A long talk among friends who have not seen each other for a while. */
#include "measure/facts_text.h"

static const facts_rule rules[] = {
    {"speaker", "Ben|Clara|Dora|Edgar"},
    {"owner", "Sofie|Tobias|Mirjam|Anton|Lena|Oskar"},
    {"relative", "{owner}'s aunt|{owner}'s uncle|{owner}'s cousin|{owner}'s niece|{owner}'s godfather|{owner}'s stepsister|"
                 "{owner}'s brother-in-law|{owner}'s nephew"},
    {"trade", "baker|butcher|carpenter|gardener|journalist|librarian|midwife|nurse|painter|sailor|surgeon|teacher|waiter"},
    {"job",
     "dentist|piano teacher|plumber|tailor|locksmith|optician|notary|barber|florist|vet|bookbinder|clockmaker|upholsterer|"
     "glazier"},
    {"thing", "canoe|harp|telescope|caravan|loom|coffee machine|motorbike|vibraphone|sewing machine|greenhouse|billiard table|"
              "kayak|grand piano|tandem|pottery wheel|sauna"},
    {"event", "wedding|housewarming|school reunion|christening|poetry reading|farewell party|silver anniversary|quiz night|"
              "barbecue|sailing weekend|wine tasting|garden party"},
    {"hotel", "Golden Lion|Blue Boar|Old Anchor|White Hart|Three Crowns|Green Dragon|Black Swan|Red Ox|Silver Stag|Royal Oak|"
              "Brown Bear|Grey Goose"},
    {"pet", "parrot|poodle|tortoise|ferret|goldfish|dachshund|hamster|rabbit|Siamese cat|canary|greyhound|hedgehog"},
    {"petname", "Biscuit|Captain|Duchess|Figaro|Gizmo|Houdini|Marmalade|Nutmeg|Othello|Pickle|Rumba|Snowball|Truffle|Waffles|"
                "Bandit|Caramel"},
    {"book",
     "cookery book|atlas|detective novel|bird guide|comic book|photo album|grammar|travel diary|hymn book|chess manual"},
    {"locker", "gym|swimming pool|library|station|theatre|museum|ice rink|bowling alley|ski school|harbour office"},
    /* filler */
    {"opener",
     "Well|You know|Honestly|Oh dear|Anyway|Now that you say it|I must admit|Look|Listen|Of course|No, really|Hm|To tell "
     "the truth|I suppose|Funny"},
    {"weather", "this rain|the heat last week|that awful wind|the fog in the mornings|the first frost|such a mild evening|the "
                "thunder last night"},
    {"feel",
     "it always makes me sleepy|I rather like it|it reminds me of school|I could do without it|it puts me in a good mood|"
     "nobody asked me, of course|I have got used to it|it drives me up the wall|it is not as bad as they say"},
    {"food",
     "the soup|that lemon cake|the pickled beetroot|fresh bread|those dumplings|cold coffee|the onion tart|porridge|the "
     "plum jam|roast potatoes"},
    {"people",
     "the neighbours|my colleagues|the children upstairs|the people next door|our old teachers|my boss|everybody at the "
     "choir|the man at the kiosk|the couple downstairs"},
    {"do",
     "complain about everything|laugh at the same jokes|never close the gate|sing in the stairwell|talk about nothing but "
     "football|mean well|grow tomatoes on the roof|lend me their ladder|forget what day it is|get up before sunrise"},
    {"plan",
     "paint the kitchen|learn to dance|go to bed earlier|sort out the cellar|write more letters|give up sugar|plant some "
     "roses|take up running again|visit the mountains|mend the fence|throw away half of my clothes"},
    {"maybe",
     "one of these days|if I ever find the time|as soon as the weather allows|before the winter|when things calm down|next "
     "spring, I hope|not that I believe it myself"},
    {"agree",
     "I feel exactly the same|that is what I keep saying|you are quite right|I would not go that far|that surprises me|"
     "tell me about it|I never thought of it like that|we have been through this before"},
    {"show",
     "that film with the lighthouse|the concert on the radio|the new series everybody watches|the play at the school|that "
     "documentary about whales|the exhibition of old maps"},
    {"was",
     "far too long|better than I expected|rather sad|very funny in places|not really my taste|worth the money|beautifully "
     "made|a bit loud"},
    {"transport", "the bus|the tram|the early train|my old bicycle|the ferry|the night train"},
    {"late",
     "was late again|was so crowded that I walked|broke down on the bridge|smelled of wet dogs|was on time for once|did not "
     "come at all"},
    {0},
};

static const facts_family one[] = {
    {.key = "job",
     .answer = "person",
     .fact = {"By the way, if you need a good {k}, go to {a}.", "My new {k} is called {a}, and I am very pleased."},
     .question = "What is the name of the {k} that was mentioned?"},
    {.key = "thing",
     .answer = "amount",
     .fact = {"Guess what they asked for a used {k}: {a} crowns!", "Somebody offered me {a} crowns for the old {k}."},
     .question = "How many crowns was the {k} about?"},
    {.key = "event",
     .answer = "date",
     .fact = {"Do not forget, the {k} is on {a}.", "They have moved the {k} to {a}."},
     .question = "On which date is the {k}?"},
    {.key = "relative",
     .answer = "place",
     .fact = {"Imagine, {k} has moved to {a}, of all places.", "There was a card from {k}, who lives in {a} now."},
     .question = "In which town does {k} live now?"},
    {.key = "locker",
     .answer = "code",
     .fact = {"Write this down, the code for the locker at the {k} is {a}.",
              "The locker at the {k} opens with {a}, in case you "
              "need it."},
     .question = "What is the code for the locker at the {k}?"},
    {.key = "hotel",
     .answer = "count",
     .fact = {"We had room {a} at the {k}, with a view of the yard.", "At the {k} they gave us room {a}."},
     .question = "Which room did they have at the {k}?"},
    {.key = "pet",
     .answer = "petname",
     .fact = {"The {k} answers to the name of {a}.", "They have called the {k} {a}."},
     .question = "What is the name of the {k}?"},
    {.key = "book",
     .answer = "company",
     .fact = {"The {k} that I lent you was printed by {a}.", "It says in the {k} that {a} printed it."},
     .question = "Who printed the {k}?"},
    {0},
};

static const facts_family two[] = {
    {.key = "relative",
     .bridge = "trade",
     .answer = "place",
     .fact = {"Did you know that {k} works as a {b} now?", "They say that {k} earns a living as a {b}."},
     .second = {"So {k} has bought a flat in {a}.", "There is a flat in {a} that {k} has bought."},
     .question = "Where did the person who works as a {b} buy a flat?"},
    {.key = "person",
     .bridge = "pet",
     .answer = "count",
     .fact = {"{k} keeps a {b}, imagine that.", "Have you seen the {b} that {k} keeps?"},
     .second = {"{k} lives in flat {a} now.", "If you want to call on {k}, it is flat {a}."},
     .question = "In which flat lives the person who keeps a {b}?"},
    {.key = "hotel",
     .bridge = "event",
     .answer = "amount",
     .fact = {"The {b} will be at the {k}, it has been decided.", "They have booked the {k} for the {b}."},
     .second = {"The {k} wants {a} crowns for the evening.", "For one evening, the {k} charges {a} crowns."},
     .question = "How many crowns does the place charge where the {b} will be?"},
    {.key = "person",
     .bridge = "thing",
     .answer = "date",
     .fact = {"It was {k} who bought the {b}.", "{k} has bought a {b}, at last."},
     .second = {"{k} has a birthday on {a}, so think of a present.", "The birthday of {k} is on {a}."},
     .question = "When is the birthday of the person who bought the {b}?"},
    {0},
};

static const facts_subject subjects[] = {
    {"talk",
     {"{opener}, {weather}, {feel}.",
      "{opener}, {people} {do}, and {feel}.",
      "Have you tried {food}? {feel}.",
      "I want to {plan}, {maybe}.",
      "{opener}, {agree}.",
      "We saw {show}, and it was {was}.",
      "{transport} {late} this morning.",
      "{agree}, although {people} {do}.",
      "What do you think of {show}? I found it {was}.",
      "{opener}, I could eat {food} every day; {people} cannot stand it.",
      "Are you still going to {plan}?",
      "As for {weather}, {feel}.",
      "{opener}, I promised to {plan} and then {transport} {late}.",
      "Somebody told me that {people} {do}, but {agree}.",
      "Let me get you some more of {food}.",
      "{opener}, when {transport} {late}, I simply went home.",
      "I was about to {plan}, but with {weather}?",
      "{people} said that {show} was {was}.",
      "{opener}, do you remember how {people} used to {do}? {feel}.",
      "Sorry, I was thinking of {food}. What did you say?"}},
    {"more talk",
     {"{opener}, some day I shall {plan}, and {people} can watch.", "First {transport} {late}, and then {weather}.",
      "I have never understood why {people} {do}.", "{opener}, {food} again, {feel}.", "You should {plan}, {maybe}.",
      "I hear {show} was {was}; {agree}.", "Whoever wants to {plan} should start with {food}.",
      "It is not so much {weather}; {people} {do}, that is what it is.", "{opener}, no more of {food} for me, thank you.",
      "Last night I dreamt that {people} {do}.", "{opener}, let us {plan} together, {maybe}.",
      "With {weather} outside, {show} is just the thing.", "Since {transport} {late}, I had time to look around.",
      "When I told {people}, they only said that {feel}."}},
    {0},
};

const facts_style facts_style_dialogue = {
    .name = "dialogue",
    .summary = "a talk among four friends",
    .layout = FACTS_TURNS,
    .opening = "Four friends sit around a table and talk: Ben, Clara, Dora and Edgar.",
    .heading = "",
    .sentences = {1, 3},
    .paragraphs = {6, 12},
    .entries = 3,
    .rules = rules,
    .subjects = subjects,
    .one = one,
    .two = two,
};
