/* Minutes of a town council's long meeting. */
#include "measure/facts_text.h"

static const facts_rule rules[] = {
    {"work",
     "repaving of the market square|dredging of the mill pond|new roof of the town hall|extension of the cemetery|cycle "
     "path along the canal|rebuilding of the weir|lighting of the castle hill|second sports hall|footbridge over the "
     "railway|restoration of the old granary|heating of the swimming baths|playground in the park|noise barrier at the "
     "ring road|lift in the library"},
    {"committee", "housing|parks|traffic|culture|schools|budget|market|heritage|waterworks|youth|fire brigade|twin towns|trade|"
                  "allotments"},
    {"club", "rowing club|chess club|brass band|mountain rescue|theatre group|sailing school|beekeepers' union|model railway "
             "society|fencing club|women's choir|history society|astronomy circle|judo club|film club"},
    {"permit", "funfair|night market|open-air cinema|marathon|fireworks|street music festival|flea market|regatta|book fair|"
               "carnival parade|ice rink|harvest fair|classic car rally|lantern procession"},
    {"building",
     "old customs house|former barracks|water tower|tram depot|corn exchange|girls' school|abattoir|gas holder|post "
     "office|ropewalk|malt house|tollhouse|signal box|bathhouse"},
    {"street", "Almond Street|Bakers' Row|Chapel Lane|Dyers' Alley|Elm Avenue|Fountain Street|Glovers' Lane|Hazel Walk|Inner "
               "Moat|Joiners' Court|King's Parade|Lime Avenue|Minster Yard|Nettle Path"},
    {"fund", "flood relief|scholarship|monument|orchard|sister city|music school|bell tower|street art|winter aid|bridge toll|"
             "archive|youth travel"},
    /* filler */
    {"speaker", "the chair|the treasurer|the town clerk|a councillor|the deputy mayor|the head of planning|a resident|the "
                "opposition|the majority|the legal adviser|a visitor in the gallery|the secretary|several members|the youngest "
                "member"},
    {"said",
     "pointed out|recalled|objected|explained|asked to have it recorded|repeated|doubted|was of the opinion|reminded the "
     "council|conceded|warned|assured everybody"},
    {"claim", "that the matter had been discussed before|that residents had to be heard first|that no money was left for "
              "extras|that other towns managed it without trouble|that the weather would decide in the end|that a cheaper way "
              "could surely be found|that the papers had come too late|that the old solution had worked well enough|that "
              "nothing should be rushed|that the neighbours were divided|that one should not promise too much|that the "
              "figures had been checked twice|that it was a question of fairness"},
    {"topic", "parking near the station|the state of the benches|dogs in the meadow|the opening hours of the offices|street "
              "cleaning|the noise at night|the height of the hedges|litter at the bus stops|the condition of the drains|school "
              "meals|the colour of the shutters|broken lamps|overhanging branches|heavy lorries in the lanes|the pigeons"},
    {"then", "after a short debate|without discussion|after a break|following some confusion|in the end|after two speakers had "
             "been heard|with obvious relief|at the request of the chair|in view of the late hour|after a look at the plans"},
    {"done", "the item was postponed|it was agreed to ask for more information|the proposal was sent back|everybody agreed in "
             "principle|a working group was suggested|the office was told to write a letter|no vote was taken|the matter was "
             "declared closed|members decided to look at the place themselves|the wording was softened"},
    {"tone",
     "calmly|at some length|with a smile|sharply|politely but firmly|in passing|not for the first time|with the help of "
     "a map|briefly|from memory"},
    {0},
};

static const facts_family one[] = {
    {.key = "work",
     .answer = "amount",
     .fact = {"For the {k}, the council set aside {a} crowns.", "{a} crowns were set aside for the {k}."},
     .question = "How many crowns were set aside for the {k}?"},
    {.key = "committee",
     .answer = "person",
     .fact = {"{a} was elected to chair the {k} committee.", "The {k} committee will be chaired by {a}."},
     .question = "Who was elected to chair the {k} committee?"},
    {.key = "club",
     .answer = "place",
     .fact = {"The {k} reported on its trip to {a}.", "A report on the trip to {a} was given by the {k}."},
     .question = "Where did the {k} travel to?"},
    {.key = "permit",
     .answer = "date",
     .fact = {"The {k} was approved for {a}.", "Approval was given to hold the {k} on {a}."},
     .question = "For which date was the {k} approved?"},
    {.key = "building",
     .answer = "code",
     .fact = {"The file on the {k} carries the number {a}.", "Under file number {a}, the {k} was listed for protection."},
     .question = "What is the file number of the {k}?"},
    {.key = "street",
     .answer = "count",
     .fact = {"A petition about {k} had been signed by {a} residents.", "{a} residents had signed a petition about {k}."},
     .question = "How many residents signed the petition about {k}?"},
    {.key = "fund",
     .answer = "amount",
     .fact = {"The {k} fund stood at {a} crowns.", "The treasurer gave the balance of the {k} fund as {a} crowns."},
     .question = "What is the balance of the {k} fund, in crowns?"},
    {.key = "building",
     .answer = "company",
     .fact = {"An offer for the {k} had come from {a}.", "{a} had made an offer for the {k}."},
     .question = "Which company made an offer for the {k}?"},
    {0},
};

static const facts_family two[] = {
    {.key = "work",
     .bridge = "company",
     .answer = "date",
     .fact = {"The contract for the {k} went to {b}.", "{b} won the contract for the {k}."},
     .second = {"The {k} is to be finished by {a}.", "Completion of the {k} was fixed for {a}."},
     .question = "By which date is the work to be finished for which {b} has the contract?"},
    {.key = "club",
     .bridge = "person",
     .answer = "amount",
     .fact = {"{b} spoke as president of the {k}.", "The {k} was represented by its president, {b}."},
     .second = {"The {k} is to receive a grant of {a} crowns.", "A grant of {a} crowns was awarded to the {k}."},
     .question = "What grant does the club receive whose president is {b}, in crowns?"},
    {.key = "building",
     .bridge = "street",
     .answer = "person",
     .fact = {"The {k} stands in {b}.", "In {b}, where the {k} stands, the pavement will be widened."},
     .second = {"{a} has inherited the {k}.", "The {k} belongs to {a}."},
     .question = "Who owns the building that stands in {b}?"},
    {.key = "committee",
     .bridge = "project",
     .answer = "place",
     .fact = {"The {k} committee works under the motto \"{b}\".", "\"{b}\" was chosen as the motto of the {k} committee."},
     .second = {"The {k} committee will hold its retreat in {a}.", "For its retreat, the {k} committee will go to {a}."},
     .question = "Where does the committee hold its retreat whose motto is \"{b}\"?"},
    {0},
};

static const facts_subject subjects[] = {
    {"Apologies and formalities|Approval of the agenda|Order of business",
     {"The chair welcomed everybody {tone}.", "{speaker} {said} {claim}.", "{then}, the agenda was adopted as it stood.",
      "An addition on {topic} was requested {tone} and refused.",
      "The minutes of the last meeting were read and, {then}, approved.",
      "Microphones were tested, since {speaker} could not be understood.", "{speaker} asked {tone} for a window to be opened.",
      "It was noted that guests may listen but not vote.", "Apologies were read out {tone}.",
      "{then}, {speaker} moved that speeches be kept short."}},
    {"Streets and traffic|Roads and paths|Public order",
     {"{speaker} spoke {tone} about {topic}.", "{speaker} {said} {claim}.", "On {topic}, {done} {then}.",
      "Two letters about {topic} were read out {tone}.",
      "{speaker} had walked the whole length of the lane and described it {tone}.",
      "There was laughter when {speaker} mentioned {topic}.", "{then}, {done}.",
      "The police had been asked about {topic} and saw no cause for concern.",
      "A speed limit was demanded {tone}; {speaker} {said} {claim}.", "Photographs of {topic} were passed around.",
      "Snow clearing was praised by all sides.", "{speaker} and {speaker} could not agree about {topic}, and {done}."}},
    {"Money|Finances|The budget",
     {"{speaker} went through the accounts {tone}.", "{speaker} {said} {claim}.", "Receipts were lower than hoped, and {done}.",
      "A loan was mentioned {tone}, but {speaker} {said} {claim}.", "{then}, {done}.",
      "Fees had not been raised for years, as {speaker} {said} {tone}.",
      "Questions about {topic} were put off to the next budget.", "The auditors had found nothing to complain about.",
      "{speaker} wanted to know what {topic} would cost and got no answer.", "Savings were promised {tone}, mostly on {topic}.",
      "The reserve is to stay untouched."}},
    {"Schools and youth|Education|Families",
     {"The school reported {tone} on {topic}.", "{speaker} {said} {claim}.", "Parents had complained about {topic}; {done}.",
      "{then}, {done}.", "A class had sent drawings, which were admired {tone}.", "{speaker} asked for more shade in the yard.",
      "The kindergarten needs a new fence, as {speaker} {said}.",
      "Young people had been invited and spoke {tone} about {topic}.", "The music lessons are to be continued.",
      "{speaker} offered to read to the children and was thanked {tone}."}},
    {"Culture and monuments|Festivals|Heritage",
     {"{speaker} reported {tone} on the preparations.", "{speaker} {said} {claim}.", "{then}, {done}.",
      "The posters were shown and found too dark.", "A donation of old photographs was accepted {tone}.",
      "The museum complained about {topic}.", "{speaker} reminded the council {tone} of the last festival.",
      "Whether there should be music in the evening was left open; {done}.",
      "Experts had been heard on the old walls, and {speaker} summed it up {tone}.", "Volunteers are still wanted."}},
    {"Parks and water|Gardens and cemeteries|The environment",
     {"{speaker} described the state of the meadows {tone}.", "{speaker} {said} {claim}.", "Some trees must be felled; {done}.",
      "{then}, {done}.", "The ducks, as {speaker} {said} {tone}, are well.", "A pond for the frogs was proposed.",
      "The gardeners asked for understanding about {topic}.",
      "Ivy is to be removed from the walls {tone}, if that is possible.", "{speaker} warned of the moss on the steps.",
      "The river had been high, but {topic} worried people more.", "Benches will be mended before spring."}},
    {"Questions from the public|Any other business|Various",
     {"A resident asked {tone} about {topic}.", "{speaker} {said} {claim}.", "{then}, {done}.",
      "{speaker} promised an answer in writing.", "Thanks were expressed {tone} to all helpers.",
      "{speaker} brought up {topic} once more, and {done}.", "Someone had lost an umbrella at the last meeting.",
      "An anonymous letter about {topic} was not read out.", "{speaker} suggested {tone} that the next meeting begin earlier.",
      "The coffee was praised."}},
    {0},
};

const facts_style facts_style_minutes = {
    .name = "minutes",
    .summary = "the minutes of a town council's meeting",
    .layout = FACTS_PROSE,
    .opening =
        "Minutes of the ordinary meeting of the town council, held in the great hall. The meeting was public. Committees, "
        "clubs and companies that are named below had handed in their papers beforehand.",
    .heading = "Item {title}",
    .sentences = {3, 6},
    .paragraphs = {2, 4},
    .entries = 3,
    .rules = rules,
    .subjects = subjects,
    .one = one,
    .two = two,
};
