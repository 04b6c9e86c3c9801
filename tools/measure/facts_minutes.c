/* Minutes of a town council's long meeting. */
#include "measure/facts_text.h"

static const facts_rule rules[] = {
    {"work", "repaving of the market square|dredging of the mill pond|new roof of the town hall|extension of the "
             "cemetery|cycle path along the canal|rebuilding of the weir|lighting of the castle hill|second sports "
             "hall|footbridge over the railway|restoration of the old granary|heating of the swimming baths|playground in the "
             "park|noise barrier at the ring road|lift in the library"},
    {"committee",
     "housing|parks|traffic|culture|schools|budget|market|heritage|waterworks|youth|fire brigade|twin towns|trade|allotments"},
    {"club", "rowing club|chess club|brass band|mountain rescue|theatre group|sailing school|beekeepers' union|model railway "
             "society|fencing club|women's choir|history society|astronomy circle|judo club|film club"},
    {"permit", "funfair|night market|open-air cinema|marathon|fireworks|street music festival|flea market|regatta|book "
               "fair|carnival parade|ice rink|harvest fair|classic car rally|lantern procession"},
    {"building", "old customs house|former barracks|water tower|tram depot|corn exchange|girls' school|abattoir|gas "
                 "holder|post office|ropewalk|malt house|tollhouse|signal box|bathhouse"},
    {"street", "Almond Street|Bakers' Row|Chapel Lane|Dyers' Alley|Elm Avenue|Fountain Street|Glovers' Lane|Hazel Walk|Inner "
               "Moat|Joiners' Court|King's Parade|Lime Avenue|Minster Yard|Nettle Path"},
    {"fund", "flood relief|scholarship|monument|orchard|sister city|music school|bell tower|street art|winter aid|bridge "
             "toll|archive|youth travel"},
    /* filler */
    {"speaker", "the chair|the treasurer|the town clerk|a councillor|the deputy mayor|the head of planning|a resident|the "
                "opposition leader|the legal adviser|a visitor in the gallery|the secretary|the youngest member|the oldest "
                "member|the building inspector|the spokesman of the shopkeepers|a former mayor|the librarian|the forester|the "
                "head gardener|a delegate of the parents"},
    {"said", "pointed out|recalled|objected|explained|asked to have it recorded|repeated|doubted|was of the "
             "opinion|conceded|warned|maintained|let it be known|remarked"},
    {"noted", "remarked|pointed out|recalled|mentioned|added|confirmed|observed|put it"},
    {"claim", "that the matter had been discussed before|that residents had to be heard first|that no money was left for "
              "extras|that other towns managed it without trouble|that the weather would decide in the end|that a cheaper way "
              "could surely be found|that the papers had come too late|that the old solution had worked well enough|that "
              "nothing should be rushed|that the neighbours were divided|that one should not promise too much|that the figures "
              "had been checked twice|that it was a question of fairness|that the law left no choice|that the press would make "
              "fun of it|that someone had to begin|that the map was out of date|that the elderly must not be forgotten"},
    {"topic", "parking near the station|the state of the benches|dogs in the meadow|the opening hours of the offices|street "
              "cleaning|the noise at night|the height of the hedges|litter at the bus stops|the condition of the drains|school "
              "meals|the colour of the shutters|broken lamps|overhanging branches|heavy lorries in the lanes|the pigeons|the "
              "price of tickets|wet leaves on the steps|the smell from the kitchens|the missing signposts|badly placed "
              "bins|the width of the pavements|the ringing of the bells"},
    {"then", "after a short debate|without discussion|after a break|following some confusion|in the end|after two speakers had "
             "been heard|with obvious relief|at the request of the chair|in view of the late hour|after a look at the "
             "plans|against the advice of the office|on a show of hands|as so often"},
    {"done", "the item was postponed|it was agreed to ask for more information|the proposal was sent back|everybody agreed in "
             "principle|a working group was suggested|the office was told to write a letter|no vote was taken|the matter was "
             "declared closed|members decided to look at the place themselves|the wording was softened|a second reading was "
             "ordered|the motion was withdrawn|it was left to the office to find a way"},
    {"tone", "calmly|at some length|with a smile|sharply|politely but firmly|in passing|not for the first time|with the help "
             "of a map|briefly|from memory|in a low voice|with some warmth|in plain words|after some thought"},
    {0},
};

static const facts_family one[] = {
    {.key = "work",
     .answer = "amount",
     .fact = {"For the {k}, the council set aside {a} crowns.",
              "By a large majority, the council set aside {a} crowns for the {k}."},
     .question = "How many crowns did the council set aside for the {k}?"},
    {.key = "committee",
     .answer = "person",
     .fact = {"The {k} committee elected {a} as its chair.", "In a secret ballot, the {k} committee elected {a} as its chair."},
     .question = "Whom did the {k} committee elect as its chair?"},
    {.key = "club",
     .answer = "place",
     .fact = {"The {k} reported on its trip to {a}.", "With many slides, the {k} reported on its trip to {a}."},
     .question = "Which town did the {k} visit on its trip?"},
    {.key = "permit",
     .answer = "date",
     .fact = {"The {k} was approved for {a}.", "Without a vote against, the {k} was approved for {a}."},
     .question = "For which date was the {k} approved?"},
    {.key = "building",
     .answer = "code",
     .fact = {"The file on the {k} has the number {a}.", "In the archive, the file on the {k} has the number {a}."},
     .question = "Which number does the file on the {k} have?"},
    {.key = "street",
     .answer = "count",
     .fact = {"The petition about {k} was signed by {a} residents.",
              "It was read out that the petition about {k} was signed by {a} residents."},
     .question = "By how many residents was the petition about {k} signed?"},
    {.key = "fund",
     .answer = "amount",
     .fact = {"The balance of the {k} fund is {a} crowns.",
              "At the end of the year, the balance of the {k} fund is {a} crowns."},
     .question = "What is the balance of the {k} fund, in crowns?"},
    {.key = "building",
     .answer = "company",
     .fact = {"An offer for the {k} was made by {a}.", "In a sealed letter, an offer for the {k} was made by {a}."},
     .question = "Which company made an offer for the {k}?"},
    {0},
};

static const facts_family two[] = {
    {.key = "work",
     .bridge = "company",
     .answer = "date",
     .fact = {"The contract for the {k} was won by {b}.", "{b} won the contract for the {k}."},
     .second = {"The {k} must be finished by {a}.", "According to the contract, the {k} must be finished by {a}."},
     .question = "Which contract was won by {b}, and by which date must the work be finished?"},
    {.key = "club",
     .bridge = "person",
     .answer = "amount",
     .fact = {"The president of the {k} is {b}.", "{b} spoke as the president of the {k}."},
     .second = {"The grant for the {k} is {a} crowns.", "After long deliberation, the grant for the {k} is {a} crowns."},
     .question = "Which club has {b} as its president, and how many crowns is its grant?"},
    {.key = "building",
     .bridge = "street",
     .answer = "person",
     .fact = {"The {k} stands in {b}.", "In {b}, where the {k} stands, the pavement will be widened."},
     .second = {"The {k} is owned by {a}.", "According to the land register, the {k} is owned by {a}."},
     .question = "Which building stands in {b}, and who owns it?"},
    {.key = "committee",
     .bridge = "project",
     .answer = "place",
     .fact = {"The motto of the {k} committee is \"{b}\".", "\"{b}\" was chosen as the motto of the {k} committee."},
     .second = {"The retreat of the {k} committee will be in {a}.",
                "In autumn, the retreat of the {k} committee will be in {a}."},
     .question = "Which committee has the motto \"{b}\", and in which town is its retreat?"},
    {0},
};

static const facts_subject subjects[] = {
    {"Apologies and formalities|Approval of the agenda|Order of business",
     {"{speaker} welcomed everybody {tone}.", "{speaker} {said} {claim}.",
      "{then}, the agenda was [adopted as it stood/changed in its order/read out once more].",
      "An addition on {topic} was requested {tone} and [refused/allowed/put last].",
      "The minutes of the last meeting were read and, {then}, approved.",
      "Microphones were tested, since {speaker} could not be understood.",
      "{speaker} asked {tone} for [a window to be opened/the heating to be turned down/more chairs/a glass of water].",
      "It was noted that guests may [listen/take notes/applaud] but not [vote/interrupt/eat]; {speaker} asked why.",
      "{then}, {speaker} moved that speeches be kept [short/to the point/free of jokes].",
      "{speaker} arrived late and apologised {tone}.",
      "The attendance list was [passed round/found to be incomplete/signed twice by {speaker}]."}},
    {"Streets and traffic|Roads and paths|Public order",
     {"{speaker} spoke {tone} about {topic}.", "{speaker} {said} {claim}.", "On {topic}, {done} {then}.",
      "[Two letters/A poem/A complaint] about {topic} [was/had been] read out {tone}.",
      "{speaker} had [walked/cycled/driven] the whole length of the lane and described it {tone}.",
      "There was [laughter/silence/murmuring] when {speaker} mentioned {topic}.", "{then}, {done}.",
      "The police had been asked about {topic} and saw [no cause for concern/room for improvement/other priorities].",
      "A [speed limit/one-way street/crossing/mirror] was demanded {tone}; {speaker} {said} {claim}.",
      "Photographs of {topic} were passed around, and {speaker} {said} {claim}.",
      "[Snow clearing/The new bus/The roundabout] was [praised/criticised/mentioned] by all sides, and {speaker} {said} "
      "{claim}.",
      "{speaker} and {speaker} could not agree about {topic}, and {done}.",
      "The kerb had been [raised/lowered/painted] in the wrong place, as {speaker} {noted} {tone}."}},
    {"Money|Finances|The budget",
     {"{speaker} went through the accounts {tone}.", "{speaker} {said} {claim}.",
      "Receipts were [lower/higher/later] than hoped, and {done}.",
      "A loan was mentioned {tone}, but {speaker} {said} {claim}.", "{then}, {done}.",
      "Fees had not been [raised/lowered/discussed] for years, as {speaker} {noted} {tone}.",
      "Questions about {topic} were put off to the next budget.",
      "The auditors had found [nothing to complain about/a misplaced comma/two receipts missing].",
      "{speaker} wanted to know what {topic} would cost and got [no answer/a vague answer/a long answer].",
      "Savings were promised {tone}, mostly on {topic}.",
      "The reserve is to stay [untouched/where it is/a secret], {speaker} {said}.",
      "A grant from the province was [welcomed/doubted/long overdue], and {done}."}},
    {"Schools and youth|Education|Families",
     {"{speaker} reported {tone} on {topic}.", "{speaker} {said} {claim}.", "Parents had complained about {topic}; {done}.",
      "{then}, {done}.", "A class had sent [drawings/letters/a model made of matches], which were admired {tone}.",
      "{speaker} asked for [more shade/a second swing/quieter breaks/fresh sand] in the yard.",
      "The kindergarten needs [a new fence/warmer floors/another kitchen]; {speaker} {said} {claim}.",
      "Young people had been invited and spoke {tone} about {topic}.",
      "The [music lessons/swimming lessons/homework club] are to be [continued/moved/advertised].",
      "{speaker} offered to [read to the children/mend the bicycles/tell old stories] and was thanked {tone}.",
      "Whether teachers should comment on {topic} was debated {tone}."}},
    {"Culture and monuments|Festivals|Heritage",
     {"{speaker} reported {tone} on the preparations.", "{speaker} {said} {claim}.", "{then}, {done}.",
      "The [posters/programmes/flags] were shown and found [too dark/too loud/charming/too dear] by {speaker}.",
      "A donation of [old photographs/coins/costumes/postcards] was accepted {tone}.", "The museum complained about {topic}.",
      "{speaker} reminded the council {tone} of the last festival.",
      "Whether there should be [music/fire/dancing/beer] in the evening was left open; {done}.",
      "Experts had been heard on the old walls, and {speaker} summed it up {tone}.",
      "Volunteers are [still wanted/numerous/tired], as {speaker} {noted}.",
      "A plaque was [proposed/cleaned/found behind a cupboard], and {done}.",
      "The stage will stand [by the river/in the yard/under the limes], if {speaker} does not object."}},
    {"Parks and water|Gardens and cemeteries|The environment",
     {"{speaker} described the state of the [meadows/ponds/flower beds/avenues] {tone}.", "{speaker} {said} {claim}.",
      "Some [trees/shrubs/hedges] must be [felled/moved/cut back]; {done}.", "{then}, {done}.",
      "The [ducks/swans/bats/hedgehogs], as {speaker} {noted} {tone}, are well.",
      "A pond for the [frogs/newts/carp] was [proposed/dug/forgotten], as {speaker} {noted} {tone}.",
      "The gardeners asked for understanding about {topic}.",
      "[Ivy/Moss/Paint/Rust] is to be removed from the [walls/gates/statues/fountain/railings], if {speaker} agrees.",
      "{speaker} warned of the moss on the [steps/roofs/statues].",
      "The river had been [high/low/muddy], but {topic} worried people more.",
      "[Benches/Swings/Fountains/Paths] will be [mended/painted/cleaned/closed] before [spring/the festival/winter].",
      "Watering was [forbidden/allowed/argued about] in the dry weeks, and {speaker} {said} {claim}."}},
    {"Housing and building|Planning|Applications",
     {"An application for a [garage/dormer/shop window/balcony] was read, and {done}.", "{speaker} {said} {claim}.",
      "The model was [put on the table/taken apart/compared with the plans] {tone}.", "{then}, {done}.",
      "Neighbours feared for [their view/their peace/the old pear tree], and {speaker} spoke for them {tone}.",
      "{speaker} asked {tone} whether {topic} had been thought of.",
      "The roof may be [red/flat/of slate], it was decided {then}.",
      "An architect explained the drawings {tone}; {speaker} {said} {claim}.",
      "Scaffolding has stood there for [months/too long/no reason], {speaker} complained.",
      "The deadline for objections was [extended/missed/explained] at the request of {speaker}.",
      "A cellar had been flooded, which {speaker} put down to {topic}."}},
    {"Questions from the public|Any other business|Various",
     {"{speaker} asked {tone} about {topic}.", "{speaker} {said} {claim}.", "{then}, {done}.",
      "{speaker} promised an answer [in writing/by telephone/at the next meeting].",
      "Thanks were expressed {tone} to [all helpers/the cleaners/the kitchen/the night watch].",
      "{speaker} brought up {topic} once more, and {done}.",
      "Someone had lost [an umbrella/a glove/a hat/a set of keys] at the last meeting.",
      "An anonymous letter about {topic} was [not read out/handed to the police/pinned to the board].",
      "{speaker} suggested {tone} that the next meeting begin [earlier/later/on time].",
      "The [coffee/cake/new carpet/flowers] pleased {speaker}.",
      "A child in the gallery [waved/fell asleep/asked about {topic}], and {speaker} {said} {claim}."}},
    {0},
};

const facts_style facts_style_minutes = {
    .name = "minutes",
    .summary = "the minutes of a town council's meeting",
    .layout = FACTS_PROSE,
    .opening = "Minutes of the ordinary meeting of the town council, held in the great hall. The meeting was public. "
               "Committees, clubs and companies that are named below had handed in their papers beforehand.",
    .heading = "Item {title}",
    .sentences = {3, 6},
    .paragraphs = {1, 3},
    .entries = 2,
    .rules = rules,
    .subjects = subjects,
    .one = one,
    .two = two,
};
