/* The year-book of a weather and water service: tables, as Markdown and as CSV, with remarks between them. */
#include "measure/facts_text.h"

static const facts_rule rules[] = {
    {"station",
     "Alpenrose|Bergkamm|Cloudrest|Dry Gully|Eagle Rock|Fern Hollow|Goat Pass|Heather Top|Icefield|Juniper Ridge|"
     "Kettle Moor|Long Meadow|Misty Fell|North Spur|Owl Cliff|Pine Saddle|Raven Crag|Stony Beck|Twin Peaks|Windy Gap"},
    {"gauge",
     "Bell Weir|Cress Bridge|Deep Ford|Eel Trap|Flax Mill|Grebe Pool|Hammer Pond|Island Lock|King's Sluice|Lower Ferry|"
     "Moss Culvert|New Cut|Otter Bend|Priory Steps|Reed Bank|Salmon Ladder|Toll Pier|Upper Race|Willow Staithe|"
     "Yew Landing"},
    {"buoy", "Albatross|Barnacle|Cormorant|Dolphin|Fulmar|Guillemot|Herring|Kittiwake|Limpet|Mackerel|Narwhal|Oystercatcher|"
             "Porpoise|Razorbill|Skua|Tern"},
    {"river", "Arrel|Bourne|Cald|Dovey|Esker|Fenn|Garrow|Hisp|Isk|Leam|Mardle|Nith|Orrow|Pell|Rusk|Swale|Teme|Wharf"},
    {"ship", "Antigone|Boadicea|Cassandra|Daphne|Electra|Galatea|Hermione|Iphigenia|Juno|Leda|Medea|Niobe|Oenone|Pandora"},
    {"state", "good|fair|new|worn|repaired|sound"},
    {"shift", "day|night|both|none"},
    {"sort", "open|closed|mixed"},
    /* filler */
    {"who", "the observers|the service|our volunteers|the calibration group|those on duty|the head office|the harbour masters|"
            "visitors|the farmers nearby|the data desk|the mechanics|the older colleagues"},
    {"found", "found|reported|noticed|assumed|confirmed|suspected|were told|saw"},
    {"that",
     "that the instruments drift with age|that the readings agree with each other|that snow had covered the sensor|that "
     "the batteries last longer than promised|that moss grows where water stands|that the cables suffer most|that birds "
     "prefer the mast|that the wind comes down the valley at night|that paint makes a difference|that the old method "
     "was not so bad|that lightning is the worst enemy|that the values are plausible"},
    {"when", "in the dry months|after the thaw|during the storms|in the small hours|at the turn of the year|before the harvest|"
             "on calm days|in the wet autumn|whenever fog came up|for several weeks|at low water|in the heat of summer"},
    {"where", "on the western slopes|in the upper valleys|along the coast|on the plateau|near the mouths of the rivers|at the "
              "exposed sites|in the sheltered hollows|below the glacier|in the plain|out at sea|between the lakes"},
    {"part", "the anemometers|the rain collectors|the float chambers|the solar panels|the data loggers|the radio links|the "
             "thermometer screens|the anchor chains|the staff gauges|the heated rims|the masts|the fences"},
    {"did", "were cleaned|were replaced|had to be realigned|gave no trouble|were painted|were checked against a reference|were "
            "moved a little|failed now and then|were taken down and put up again|proved reliable|were examined by an expert"},
    {"value", "rainfall|water levels|air pressure|wind speeds|snow depth|sunshine|visibility|humidity|swell|ground frost|"
              "evaporation|soil moisture"},
    {"was",
     "stayed close to the long average|varied more than usual|was recorded without gaps|could not always be measured|rose "
     "and fell quickly|showed the familiar pattern|was unusually high|was unusually low|followed the seasons|gave rise to "
     "many questions"},
    {0},
};

static const facts_family one[] = {
    {.key = "station",
     .answer = "person",
     .head = "Observers of the mountain stations:\n\n| station | observer | shift | state |\n|---|---|---|---|",
     .fact = {"| {k} | {a} | {shift} | {state} |"},
     .question = "Who is the observer of the station {k}?"},
    {.key = "station",
     .answer = "integer",
     .head = "Snow, totals of the year in millimetres:\n\n| station | total | state |\n|---|---|---|",
     .fact = {"| {k} | {a} | {state} |"},
     .question = "What is the yearly total of snow at the station {k}, in millimetres?"},
    {.key = "gauge",
     .answer = "count",
     .head = "Highest water levels, in centimetres (CSV):\n\ngauge,type,highest,state",
     .fact = {"{k},{sort},{a},{state}"},
     .question = "What was the highest water level at the gauge {k}, in centimetres?"},
    {.key = "gauge",
     .answer = "date",
     .head = "Next inspection of gauges:\n\n| gauge | inspection | type |\n|---|---|---|",
     .fact = {"| {k} | {a} | {sort} |"},
     .question = "When will the gauge {k} be inspected next?"},
    {.key = "buoy",
     .answer = "code",
     .head = "Transmitters of the buoys (CSV):\n\nbuoy,state,transmitter",
     .fact = {"{k},{state},{a}"},
     .question = "What is the transmitter of the buoy {k}?"},
    {.key = "buoy",
     .answer = "decimal",
     .head = "Depth of water below the buoys, in metres:\n\n| buoy | depth | state | watch |\n|---|---|---|---|",
     .fact = {"| {k} | {a} | {state} | {shift} |"},
     .question = "How deep is the water below the buoy {k}, in metres?"},
    {.key = "river",
     .answer = "place",
     .head = "Offices that look after the rivers:\n\n| river | office | watch |\n|---|---|---|",
     .fact = {"| {k} | {a} | {shift} |"},
     .question = "Which office looks after the river {k}?"},
    {0},
};

static const facts_family two[] = {
    {.key = "station",
     .bridge = "river",
     .answer = "amount",
     .head = "Stations, by the river to which they drain:\n\n| station | river | type |\n|---|---|---|",
     .fact = {"| {k} | {b} | {sort} |"},
     .second_head = "Cost of the stations, in crowns:\n\n| station | cost | state |\n|---|---|---|",
     .second = {"| {k} | {a} | {state} |"},
     .question = "What does the station cost that drains to the river {b}, in crowns?"},
    {.key = "gauge",
     .bridge = "place",
     .answer = "person",
     .head = "Nearest town of each gauge (CSV):\n\ngauge,town,type",
     .fact = {"{k},{b},{sort}"},
     .second_head = "Keepers of the gauges (CSV):\n\ngauge,keeper,state",
     .second = {"{k},{a},{state}"},
     .question = "Who is the keeper of the gauge near {b}?"},
    {.key = "buoy",
     .bridge = "ship",
     .answer = "date",
     .head = "Ships that laid out the buoys:\n\n| buoy | ship | watch |\n|---|---|---|",
     .fact = {"| {k} | {b} | {shift} |"},
     .second_head = "Dates on which the buoys will be hauled in:\n\n| buoy | date | state |\n|---|---|---|",
     .second = {"| {k} | {a} | {state} |"},
     .question = "When will the buoy be hauled in that the ship {b} laid out?"},
    {.key = "station",
     .bridge = "company",
     .answer = "code",
     .head = "Makers of the masts:\n\n| station | maker | state |\n|---|---|---|",
     .fact = {"| {k} | {b} | {state} |"},
     .second_head = "Serial numbers of the stations (CSV):\n\nstation,type,serial",
     .second = {"{k},{sort},{a}"},
     .question = "What is the serial number of the station whose mast was made by {b}?"},
    {0},
};

static const facts_subject subjects[] = {
    {"The stations|In the mountains|Notes on the stations",
     {"{when}, {part} {did}.", "{who} {found} {that}.", "Where the ground is soft, {part} {did}.", "{value} {was} {where}.",
      "{when}, {who} could not reach every site {where}.", "It is the rule that {part} are looked at twice a year.",
      "{who} wrote that {value} {was} {when}.", "Huts {where} were opened to hikers, which {who} welcomed.",
      "A path {where} had to be cleared of fallen trees.", "Because {part} {did}, there are no gaps in the series.",
      "Sheep had damaged a fence {where}, and {part} {did}."}},
    {"Water|Rivers and gauges|Remarks on water levels",
     {"{value} {was} {when}.", "{who} {found} {that}, at least {where}.", "Ice was seen {where} {when}.",
      "Sand had filled a channel {where}, so {part} {did}.", "{when}, the ferries had to stop {where}.",
      "After heavy rain, {part} {did}.", "A model predicts floods well {where} and poorly elsewhere.",
      "{who} compared {value} with old notebooks.", "Fishermen sent in their own observations {when}.",
      "Plants were cut back {where} so that the scales can be read.", "{value} and {value} were published together."}},
    {"The sea|Coast and buoys|At sea",
     {"{when}, a buoy broke loose {where} and was brought back.", "{value} {was} {where}.", "{who} {found} {that}.",
      "{part} {did} {when}.", "Barges passed too close {where} and were asked to keep away.",
      "Salt is hard on everything, and so {part} {did}.", "Swell from far away arrives {when} without any wind.",
      "Seals rest on the platforms {where}.", "{who} heard of fog banks {where} and warned the pilots.",
      "The tide tables were revised, since {value} {was}."}},
    {"Data and methods|How the figures were made|Quality control",
     {"Values were rounded only at the very end.", "{who} {found} {that}.", "Outliers were marked but not removed.",
      "Gaps in {value} were filled from neighbouring sites {where}.", "{value} {was}, which is why averages say little.",
      "{when}, the clock of one logger was wrong and had to be corrected.",
      "Two people read every sheet, and {who} {found} {that}.", "{part} {did} before the comparison.",
      "Tables in this book may be copied freely.", "A change of method {where} had no visible effect on {value}.",
      "Corrections reach us {when} and are printed in the next issue."}},
    {"Staff and equipment|From the workshop|The year in brief",
     {"New colleagues were trained {when}.", "{part} {did}, as planned.", "{who} {found} {that}.",
      "The workshop built spare parts for {part}.", "Trips {where} were combined to save fuel.",
      "An open day {when} brought many visitors.", "Lorries are old but sound, and {part} {did}.",
      "Students helped {where} and learned to read {value}.", "Thanks go to all who went out {when}.",
      "Storage is short; {part} {did} and now stand in the yard."}},
    {0},
};

const facts_style facts_style_table = {
    .name = "table",
    .summary = "a year-book of tables with remarks between them",
    .layout = FACTS_TABLES,
    .opening =
        "# Year-book of the weather and water service\n\nThis book lists stations, gauges, buoys and rivers in tables. Remarks "
        "stand between them.",
    .heading = "## {title}",
    .sentences = {4, 6},
    .paragraphs = {2, 4},
    .entries = 8,
    .rules = rules,
    .subjects = subjects,
    .one = one,
    .two = two,
};
