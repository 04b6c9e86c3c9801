/* The year-book of a weather and water service: tables, as Markdown and as CSV, with remarks between them. */
#include "measure/facts_text.h"

static const facts_rule rules[] = {
    {"station",
     "Alpenrose|Bergkamm|Cloudrest|Dry Gully|Eagle Rock|Fern Hollow|Goat Pass|Heather Top|Icefield|Juniper Ridge|Kettle "
     "Moor|Long Meadow|Misty Fell|North Spur|Owl Cliff|Pine Saddle|Raven Crag|Stony Beck|Twin Peaks|Windy Gap"},
    {"gauge",
     "Bell Weir|Cress Bridge|Deep Ford|Eel Trap|Flax Mill|Grebe Pool|Hammer Pond|Island Lock|King's Sluice|Lower Ferry|Moss "
     "Culvert|New Cut|Otter Bend|Priory Steps|Reed Bank|Salmon Ladder|Toll Pier|Upper Race|Willow Staithe|Yew Landing"},
    {"buoy", "Albatross|Barnacle|Cormorant|Dolphin|Fulmar|Guillemot|Herring|Kittiwake|Limpet|Mackerel|Narwhal|Oystercatcher|"
             "Porpoise|Razorbill|Skua|Tern"},
    {"river", "Arrel|Bourne|Cald|Dovey|Esker|Fenn|Garrow|Hisp|Isk|Leam|Mardle|Nith|Orrow|Pell|Rusk|Swale|Teme|Wharf"},
    {"ship", "Antigone|Boadicea|Cassandra|Daphne|Electra|Galatea|Hermione|Iphigenia|Juno|Leda|Medea|Niobe|Oenone|Pandora"},
    {"state", "good|fair|new|worn|repaired|sound"},
    {"shift", "day|night|both|none"},
    {"sort", "open|closed|mixed"},
    /* filler */
    {"who", "the observers|the service|our volunteers|the calibration group|those on duty|the head office|the harbour "
            "masters|visitors|the farmers nearby|the data desk|the mechanics|the older colleagues|two students|the pilots|the "
            "wardens|readers of this book"},
    {"found", "found|reported|noticed|assumed|confirmed|suspected|were told|saw|wrote|doubted"},
    {"that",
     "that the instruments drift with age|that the readings agree with each other|that snow had covered the sensor|that the "
     "batteries last longer than promised|that moss grows where water stands|that the cables suffer most|that birds prefer the "
     "mast|that the wind comes down the valley at night|that paint makes a difference|that the old method was not so bad|that "
     "lightning is the worst enemy|that the values are plausible|that nobody had looked for a month|that mice had been at the "
     "wires|that shade falls on the panel in winter|that the door no longer shuts"},
    {"when", "in the dry months|after the thaw|during the storms|in the small hours|at the turn of the year|before the "
             "harvest|on calm days|in the wet autumn|in thick fog|for several weeks|at low water|in the heat of summer|towards "
             "evening|on the coldest nights|when the ice broke up"},
    {"where", "on the western slopes|in the upper valleys|along the coast|on the plateau|near the mouths of the rivers|at the "
              "exposed sites|in the sheltered hollows|below the glacier|in the plain|out at sea|between the lakes|close to the "
              "villages|on the northern ridges|in the marshes"},
    {"sea", "off the cape|in the strait|near the harbour|beyond the reef|in the estuary|out at sea|along the shipping lane|by "
            "the sandbanks|at the anchorage"},
    {"part", "the anemometers|the rain collectors|the float chambers|the solar panels|the data loggers|the radio links|the "
             "thermometer screens|the anchor chains|the staff gauges|the heated rims|the masts|the fences|the clocks|the "
             "lightning rods|the foundations"},
    {"did", "were cleaned|were replaced|had to be realigned|gave no trouble|were painted|were checked against a reference|were "
            "moved a little|failed now and then|were taken down and put up again|proved reliable|were examined by an "
            "expert|were tightened|were covered in winter|showed signs of wear|were photographed"},
    {"value", "rainfall|the water level|air pressure|wind speed|snow depth|sunshine|visibility|humidity|swell|ground "
              "frost|evaporation|soil moisture|cloud cover|dew|the temperature of the water"},
    {"was",
     "stayed close to the long average|varied more than usual|was recorded without gaps|could not always be measured|rose and "
     "fell quickly|showed the familiar pattern|was unusually high|was unusually low|followed the seasons|gave rise to many "
     "questions|was estimated by eye|surprised nobody|hardly differed from one site to the next"},
    {0},
};

static const facts_family one[] = {
    {.key = "station",
     .answer = "person",
     .head = "Observers of the mountain stations:\n\n| station | observer | shift | state |\n|---|---|---|---|",
     .fact = {"| {k} | {a} | {shift} | {state} |"},
     .question = "In the table of observers, who is the observer of the station {k}?"},
    {.key = "station",
     .answer = "integer",
     .head = "Snow of the year, by station:\n\n| station | millimetres of snow | state |\n|---|---|---|",
     .fact = {"| {k} | {a} | {state} |"},
     .question = "In the table of snow, how many millimetres does the station {k} have?"},
    {.key = "gauge",
     .answer = "count",
     .head = "Highest water levels, by gauge (CSV):\n\ngauge,highest level in centimetres,state",
     .fact = {"{k},{a},{state}"},
     .question = "In the table of highest water levels, how many centimetres does the gauge {k} have?"},
    {.key = "gauge",
     .answer = "date",
     .head = "Inspections of the gauges:\n\n| gauge | date of inspection | type |\n|---|---|---|",
     .fact = {"| {k} | {a} | {sort} |"},
     .question = "In the table of inspections, what is the date for the gauge {k}?"},
    {.key = "buoy",
     .answer = "code",
     .head = "Transmitters of the buoys (CSV):\n\nbuoy,transmitter,state",
     .fact = {"{k},{a},{state}"},
     .question = "In the table of transmitters, which transmitter does the buoy {k} have?"},
    {.key = "buoy",
     .answer = "decimal",
     .head = "Depths of water at the buoys:\n\n| buoy | depth in metres | state | watch |\n|---|---|---|---|",
     .fact = {"| {k} | {a} | {state} | {shift} |"},
     .question = "In the table of depths, how many metres deep is the water at the buoy {k}?"},
    {.key = "river",
     .answer = "place",
     .head = "Offices for the rivers:\n\n| river | office | watch |\n|---|---|---|",
     .fact = {"| {k} | {a} | {shift} |"},
     .question = "In the table of offices, which office does the river {k} have?"},
    {0},
};

static const facts_family two[] = {
    {.key = "station",
     .bridge = "river",
     .answer = "amount",
     .head = "Rivers to which the stations drain:\n\n| station | river | type |\n|---|---|---|",
     .fact = {"| {k} | {b} | {sort} |"},
     .second_head = "Cost of the stations in crowns:\n\n| station | cost | state |\n|---|---|---|",
     .second = {"| {k} | {a} | {state} |"},
     .question = "Which station drains to the river {b}, and what did it cost in crowns?"},
    {.key = "gauge",
     .bridge = "place",
     .answer = "person",
     .head = "Towns near the gauges (CSV):\n\ngauge,town,type",
     .fact = {"{k},{b},{sort}"},
     .second_head = "Keepers of the gauges (CSV):\n\ngauge,keeper,state",
     .second = {"{k},{a},{state}"},
     .question = "Which gauge is near the town of {b}, and who is its keeper?"},
    {.key = "buoy",
     .bridge = "ship",
     .answer = "date",
     .head = "Ships that laid out the buoys:\n\n| buoy | ship | watch |\n|---|---|---|",
     .fact = {"| {k} | {b} | {shift} |"},
     .second_head = "Dates on which the buoys will be hauled in:\n\n| buoy | date | state |\n|---|---|---|",
     .second = {"| {k} | {a} | {state} |"},
     .question = "Which buoy was laid out by the ship {b}, and on which date will it be hauled in?"},
    {.key = "station",
     .bridge = "company",
     .answer = "code",
     .head = "Makers of the masts:\n\n| station | maker | state |\n|---|---|---|",
     .fact = {"| {k} | {b} | {state} |"},
     .second_head = "Serial numbers of the stations (CSV):\n\nstation,serial number,type",
     .second = {"{k},{a},{sort}"},
     .question = "Which station has a mast made by {b}, and what is its serial number?"},
    {0},
};

static const facts_subject subjects[] = {
    {"The stations|In the mountains|Notes on the stations",
     {"{when}, {part} {did}.", "{who} {found} {that}.", "Where the ground is [soft/stony/steep], {part} {did}.",
      "{value} {was} {where}.", "{when}, {who} could not reach [every site/the upper huts/the masts] {where}.",
      "It is the rule that {part} are looked at [twice/once/several times] a year.", "{who} wrote that {value} {was} {when}.",
      "Huts {where} were opened to hikers, [which {who} welcomed/though not for the night].",
      "A path {where} had to be cleared of [fallen trees/stones/old snow].",
      "Because {part} {did}, there are no gaps in the series.",
      "[Sheep/Goats/Snow/A storm] had damaged a fence {where}, and {part} {did}.",
      "Helicopters are [dear/noisy/rarely free], so {part} were carried up {where} on foot.",
      "From the hut one sees [the whole valley/three lakes/nothing but mist], and {who} {found} {that}."}},
    {"Water|Rivers and gauges|Remarks on water levels",
     {"{value} {was} {when}.", "{who} {found} {that}, at least {where}.", "Ice was [seen/broken/measured] {where} {when}.",
      "[Sand/Mud/Driftwood] had filled a channel {where}, so {part} {did}.", "{when}, the ferries had to stop {where}.",
      "After heavy rain, {part} {did}.", "A model predicts floods well {where} and poorly elsewhere.",
      "{who} compared {value} with [old notebooks/the neighbours' records/their own memory].",
      "[Fishermen/Millers/Canoeists] sent in their own observations {when}.",
      "Plants were cut back {where} so that the scales can be read.", "{value} and {value} were published together.",
      "A dam {where} was [opened/raised/repaired] {when}, which explains why {value} {was}.",
      "The banks were [mown/planted/fortified] {where}, and {who} {found} {that}."}},
    {"The sea|Coast and buoys|At sea",
     {"{when}, a buoy broke loose {sea} and was brought back.", "{value} {was} {sea}.", "{who} {found} {that}.",
      "{part} {did} {when}.", "[Barges/Trawlers/Yachts] passed too close {sea} and were asked to keep away.",
      "Salt is hard on everything, and so {part} {did}.", "Swell from far away arrives {when} without any wind.",
      "[Seals/Gulls/Terns/Cormorants] rest on the platforms {sea}.",
      "{who} heard of [fog banks/floating timber/lost nets] {sea} and warned the pilots.",
      "The tide tables were revised, since {value} {was}.",
      "A lamp {sea} [went out/was swept away/was taken for a star] {when}.",
      "Divers looked at [the moorings/the cables/a wreck] and {found} {that}."}},
    {"Data and methods|How the figures were made|Quality control",
     {"Values were rounded [only at the very end/downwards/to the nearest unit], except where {value} {was}.",
      "{who} {found} {that}.", "Outliers were [marked/discussed/checked by hand] but not removed.",
      "Gaps in the series of {value} were filled from neighbouring sites {where}.",
      "{value} {was}, which is why averages say little.", "{when}, the clock of one logger was wrong and had to be corrected.",
      "Two people read every sheet, and {who} {found} {that}.", "{part} {did} before the comparison.",
      "Tables of {value} may be copied freely[/, as long as the source is named/; maps may not].",
      "A change of method {where} had no visible effect on {value}.",
      "Corrections reach us {when} and are printed in the next issue.",
      "A blank means that nothing was measured, a dash that {value} {was}.",
      "Handwriting is [read by machine/typed in twice/kept in boxes], and {who} {found} {that}."}},
    {"Staff and equipment|From the workshop|The year in brief",
     {"[New colleagues/Interns/Drivers] were trained {when}.", "{part} {did}, as planned.", "{who} {found} {that}.",
      "The workshop built [spare parts/covers/a test bench] for {part}.",
      "Trips {where} were combined to save [fuel/time/tyres].", "An open day {when} brought many visitors.",
      "Lorries are old but sound, and {part} {did}.", "Students helped {where} and learned to record {value}.",
      "Thanks go to all who went out {when}.", "Storage is short; {part} {did} and now stand in the yard.",
      "A [hat/dog/bicycle/thermos flask] was left behind {where} and can be fetched at the office.",
      "Boots, ropes and lamps were [counted/lent/replaced] {when}."}},
    {"The weather of the year|Seasons|Looking back",
     {"{value} {was} {where}, and {value} {was} {when}.", "{when}, {who} {found} {that}.",
      "[Spring/Summer/Autumn/Winter] came [early/late/all at once] {where}.",
      "[Storms/Frosts/Showers/Heatwaves] were [rarer/shorter/milder] than older people remember.",
      "Hail fell {where} {when} and [broke windows/spoiled the grapes/melted within the hour].",
      "There were [halos/northern lights/double rainbows/mirages] {where}, which {who} reported.",
      "The first [swallows/snowdrops/mushrooms] were seen {where}.",
      "Roads {where} were closed {when}; {part} {did} all the same.",
      "Nobody {where} had expected that {value} would matter so much.",
      "Dust from the south coloured the snow {where} {when}."}},
    {0},
};

const facts_style facts_style_table = {
    .name = "table",
    .summary = "a year-book of tables with remarks between them",
    .layout = FACTS_TABLES,
    .opening = "# Year-book of the weather and water service\n\nThis book lists stations, gauges, buoys and rivers in tables. "
               "Remarks stand between them.",
    .heading = "## {title}",
    .sentences = {4, 6},
    .paragraphs = {2, 3},
    .entries = 4,
    .rules = rules,
    .subjects = subjects,
    .one = one,
    .two = two,
};
