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
    {"opener", "Well|You know|Honestly|Oh dear|Anyway|Now that you say it|I must admit|Look|Listen|Of course|No, really|Hm|To "
               "tell the truth|I suppose|Funny|Between ourselves|If you ask me|Good heavens|By the by|Fair enough"},
    {"weather", "this rain|the heat last week|that awful wind|the fog in the mornings|the first frost|the mild evening we "
                "had|the thunder last night|this grey sky|all that slush|the dry spell"},
    {"feel", "it always makes me sleepy|I rather like it|it reminds me of school|I could do without it|it puts me in a good "
             "mood|nobody asked me, of course|I have got used to it|it drives me up the wall|it is not as bad as they say|it "
             "makes me hungry|I try not to think about it|there are worse things|it does me good"},
    {"food", "the soup|that lemon cake|the pickled beetroot|the fresh bread|the dumplings|the cold coffee|the onion tart|the "
             "porridge|the plum jam|the roast potatoes|the cheese from the market|the stew|the ginger biscuits|the lentils"},
    {"people", "the neighbours|my colleagues|the children upstairs|the people next door|our old teachers|the folks at the "
               "choir|the men at the kiosk|the couple downstairs|the students across the yard|the regulars at the bar|the "
               "women from the bakery|the new tenants"},
    {"do", "complain about everything|laugh at the same jokes|never close the gate|sing in the stairwell|talk about nothing "
           "but football|mean well|grow tomatoes on the roof|lend me their ladder|forget what day it is|get up before "
           "sunrise|argue about parking|keep odd hours|water the plants for everybody|play cards till morning|feed the "
           "pigeons|borrow my newspaper"},
    {"plan", "paint the kitchen|learn to dance|go to bed earlier|sort out the cellar|write more letters|give up sugar|plant "
             "some roses|take up running again|visit the mountains|mend the fence|throw away half of my clothes|read the "
             "classics|bake my own bread|answer the post|repair the radio|tidy the balcony"},
    {"maybe",
     "one of these days|if I ever find the time|as soon as the weather allows|before the winter|when things calm down|next "
     "spring, I hope|not that I believe it myself|after the holidays|unless somebody stops me|in another life"},
    {"agree", "I feel exactly the same|that is what I keep saying|you are quite right|I would not go that far|that surprises "
              "me|I never thought of it like that|we have been through this before|I can see your point|there is something in "
              "that|I beg to differ"},
    {"show", "that film with the lighthouse|the concert on the radio|the new series that everybody watches|the play at the "
             "school|the documentary about whales|the exhibition of old maps|the puppet theatre|the thing about the bank "
             "robbers|the talk on volcanoes|the slide show at the club"},
    {"was", "far too long|better than I expected|rather sad|very funny in places|not really my taste|worth the "
            "money|beautifully made|a bit loud|over before I knew it|just what I needed|spoiled by the ending"},
    {"transport", "the bus|the tram|the early train|my old bicycle|the ferry|the night train|the lift|the moped"},
    {"late", "was late again|was so crowded that I walked|broke down on the bridge|smelled of wet dogs|was on time for "
             "once|did not come at all|stopped in the middle of nowhere|made such a noise|nearly left without me"},
    {"body", "my knee|my back|my left ear|my stomach|this cold|my shoulder"},
    {"lost", "my glasses|the good scissors|my umbrella|the key to the cellar|that blue scarf|the corkscrew|my address book|the "
             "other sock"},
    {0},
};

static const facts_family one[] = {
    {.key = "job",
     .answer = "person",
     .fact = {"By the way, my new {k} is called {a}.", "Did I tell you that my new {k} is called {a}?"},
     .question = "What is the new {k} called?"},
    {.key = "thing",
     .answer = "amount",
     .fact = {"Guess what they asked for the {k}: {a} crowns!", "For the {k} they asked {a} crowns, if you please."},
     .question = "How many crowns did they ask for the {k}?"},
    {.key = "event",
     .answer = "date",
     .fact = {"Do not forget, the {k} is on {a}.", "It has been settled that the {k} is on {a}."},
     .question = "On which date is the {k}?"},
    {.key = "relative",
     .answer = "place",
     .fact = {"Imagine, {k} lives in {a} now.", "They say that {k} lives in {a} now."},
     .question = "In which town does {k} live now?"},
    {.key = "locker",
     .answer = "code",
     .fact = {"Write this down, the locker at the {k} has the code {a}.",
              "In case you need it, the locker at the {k} has the code {a}."},
     .question = "Which code does the locker at the {k} have?"},
    {.key = "hotel",
     .answer = "count",
     .fact = {"At the {k} we had room {a}.", "When we stayed at the {k}, we had room {a}."},
     .question = "Which room did they have at the {k}?"},
    {.key = "pet",
     .answer = "petname",
     .fact = {"The {k} is called {a} now.", "They tell me that the {k} is called {a}."},
     .question = "What is the {k} called?"},
    {.key = "book",
     .answer = "company",
     .fact = {"The {k} was printed by {a}.", "It says inside that the {k} was printed by {a}."},
     .question = "Which company was the {k} printed by?"},
    {0},
};

static const facts_family two[] = {
    {.key = "relative",
     .bridge = "trade",
     .answer = "place",
     .fact = {"Did you know that {k} works as a {b} now?", "They say that {k} works as a {b}."},
     .second = {"So {k} has bought a flat in {a}.", "It is true, {k} has bought a flat in {a}."},
     .question = "Who works as a {b}, and in which town did they buy a flat?"},
    {.key = "person",
     .bridge = "pet",
     .answer = "count",
     .fact = {"Imagine, {k} keeps a {b}.", "Have you seen the {b} that {k} keeps?"},
     .second = {"The flat of {k} is number {a}.", "If you want to call, the flat of {k} is number {a}."},
     .question = "Who keeps a {b}, and what is the number of their flat?"},
    {.key = "hotel",
     .bridge = "event",
     .answer = "amount",
     .fact = {"The {b} will be at the {k}.", "They have decided that the {b} will be at the {k}."},
     .second = {"For one evening, the {k} charges {a} crowns.", "I asked, and the {k} charges {a} crowns."},
     .question = "Where will the {b} be, and how many crowns does the place charge?"},
    {.key = "person",
     .bridge = "thing",
     .answer = "date",
     .fact = {"It was {k} who bought the {b}.", "At last {k} has bought the {b}."},
     .second = {"The birthday of {k} is on {a}.", "Mind you, the birthday of {k} is on {a}."},
     .question = "Who bought the {b}, and on which date is their birthday?"},
    {0},
};

static const facts_subject subjects[] = {
    {"food and weather",
     {"{opener}, {weather}, {feel}.", "Have you tried {food}? {feel}.",
      "{opener}, I could eat {food} every day; {people} cannot stand it.", "As for {weather}, {feel}.",
      "Let me get you some more of {food}[/; there is plenty/, before {people} come].",
      "I was about to {plan}, but with {weather}?", "Sorry, I was thinking of {food}. What did you say?",
      "{opener}, {food} again, {feel}.", "With {weather} outside, {show} is just the thing.",
      "{opener}, no more of {food} for me, [thank you/please/I am full].",
      "It is not so much {weather}; {people} {do}, that is what it is.",
      "Who made {food}? [Not bad at all/It needs salt/It tastes like the sea].",
      "My grandmother used to say that {food} helps against {weather}.",
      "[Close/Open] the window, will you? {weather}, {feel}.",
      "The recipe for {food} [is a secret/comes from a calendar/calls for patience], so do not ask.",
      "{opener}, after {weather} I went to bed with a hot-water bottle."}},
    {"neighbours",
     {"{opener}, {people} {do}, and {feel}.", "I have never understood why {people} {do}.",
      "Somebody told me that {people} {do}, but {agree}.", "{opener}, do you remember how {people} used to {do}? {feel}.",
      "When I told {people}, they only [laughed/shrugged/said that they had known it all along].",
      "Last night I dreamt that {people} {do}.", "{agree}, although {people} {do}.", "{people} said that {show} was {was}.",
      "If {people} {do} once more, I shall [move/write to the landlord/join them].",
      "The trouble with {people} is that they {do}.", "{opener}, {people} left a note on my door about {lost}, and {feel}.",
      "You would not believe what {people} [keep in the cellar/named their cat/hang from the balcony].",
      "At least {people} {do}; mine only {do}.", "I like {people}, I really do. {feel}."}},
    {"plans",
     {"I want to {plan}, {maybe}.", "Are you still going to {plan}?",
      "{opener}, I promised to {plan} and then {transport} {late}.", "You should {plan}, {maybe}.",
      "Whoever wants to {plan} should start with {food}.", "{opener}, let us {plan} together, {maybe}.",
      "{opener}, some day I shall {plan}, and {people} can watch.", "{opener}, {agree}.",
      "I have been meaning to {plan} for [years/weeks/as long as I can think], and {feel}.",
      "They say that those who {plan} live longer. {agree}.", "Why {plan} when one can [sit here/sleep/watch others do it]?",
      "First I {plan}, then I {plan}, and in the evening I am too tired for {show}.", "Remind me to {plan}, {maybe}.",
      "What about you, do you ever {plan}? [I thought not/Me neither/Good for you]."}},
    {"out and about",
     {"We saw {show}, and it was {was}.", "{transport} {late} this morning.", "What do you think of {show}? I found it {was}.",
      "{opener}, when {transport} {late}, I simply went home.", "First {transport} {late}, and then {weather}.",
      "Since {transport} {late}, I had time to [look around/finish my book/talk to {people}].",
      "I hear {show} was {was}; {agree}.", "{opener}, I fell asleep during {show}, {feel}.",
      "There was a queue for {show}, so I had [an ice cream/a waffle/a long talk with {people}].",
      "Never again: {transport} {late}, and I missed {show}.", "The [park/library/market hall] is closed, what a pity.",
      "I met {people} on the way, and we talked about {show}.",
      "If {transport} {late}, you can always [walk/take the other line/blame {weather}]."}},
    {"aches and losses",
     {"{opener}, {body} [hurts/bothers me/is playing up] again; it must be {weather}.",
      "Has anybody seen {lost}? I had it [a minute ago/on the table/in my hand].",
      "I found {lost} [in the oven/behind the sofa/in the garden], of all places, and {feel}.",
      "For {body} they recommend {food}, [would you believe it/imagine that/no joke].",
      "{opener}, I have given up looking for {lost}.", "{body} is much better, thank you[/, since I began to {plan}].",
      "Somebody must have borrowed {lost}; perhaps {people}.", "The doctor says I should {plan}. {agree}.",
      "It began with {body}, and then {transport} {late}.", "You look tired. Is it {weather}, or do {people} {do}?",
      "I put {lost} in a safe place, and that was the last I saw of it."}},
    {0},
};

const facts_style facts_style_dialogue = {
    .name = "dialogue",
    .summary = "a talk among four friends",
    .layout = FACTS_TURNS,
    .opening = "Four friends sit around a table and talk: Ben, Clara, Dora and Edgar.",
    .heading = "",
    .sentences = {1, 3},
    .paragraphs = {3, 6},
    .entries = 2,
    .rules = rules,
    .subjects = subjects,
    .one = one,
    .two = two,
};
