/* Annual reports of a company with many plants, ships and departments. */
#include "measure/facts_text.h"

static const facts_rule rules[] = {
    {"division", "packaging|ceramics|lubricants|bearings|adhesives|insulation|glassware|coatings|filtration|fasteners|"
                 "refrigeration|hydraulics|instrumentation|castings|membranes|pigments|abrasives|resins"},
    {"plant", "Alder Road|Beacon Hill|Canal Street|Docklands|Eastern Ring|Foundry Lane|Gasworks|Hill Top|Ivy Bridge|Junction|"
              "Kiln Yard|Lower Mill|Mason's Quay|Old Tannery|Railway Side|Sandpit|Tower Gate|Upper Mill"},
    {"goods", "spare parts|finished valves|raw rubber|bottled gases|machine tools|empty drums|returned goods|copper wire|"
              "cement additives|ball bearings|dyed yarn|sheet glass|tinned fruit|roofing felt"},
    {"process", "cold rolling|powder coating|vacuum drying|spot welding|acid pickling|slip casting|fibre drawing|spray drying|"
                "steam bending|wet spinning|hot stamping|laser cutting|flash annealing|dip moulding"},
    {"contract", "catering|cleaning|security|gas supply|fleet leasing|laundry|payroll|translation|waste removal|lift "
                 "maintenance|data centre|landscaping|courier|roof repair"},
    {"laboratory", "corrosion|acoustics|polymer|metrology|combustion|emissions|colour|fatigue|optics|microbiology|water "
                   "quality|materials"},
    {"vessel", "Halcyon|Meridian|Nightingale|Perseverance|Seraphine|Thalassa|Valkyrie|Wanderer|Zephyrus|Bonaventure|Calliope|"
               "Dauntless|Evangeline|Fortitude"},
    {"bureau", "quality assurance|patents|industrial relations|tooling|export licences|occupational health|treasury|energy "
               "purchasing|works railways|apprenticeships|tax|site security|customer training|internal audit"},
    {"pump", "gear|piston|diaphragm|vane|centrifugal|screw|peristaltic|jet|bellows|rotary lobe|turbine|plunger"},
    {"line", "bottling|sorting|enamelling|stamping|labelling|assembly|galvanising|extrusion|weaving|grinding|filling|painting"},
    /* filler */
    {"who", "the board|the management|the supervisory board|the works council|most of our managers|the planning staff|our "
            "customers|the sales teams|our suppliers|the engineers on site|the finance team|the owners|those responsible"},
    {"saw", "expects|assumes|reported|noted|emphasised|was pleased|remains confident|was surprised|has always held|concluded|"
            "insisted"},
    {"that", "that demand will recover gradually|that further savings are within reach|that the new structure has proved "
             "itself|that quality matters more than volume|that the present course should be kept|that small steps are better "
             "than grand plans|that more patience is called for|that the worst is over|that training pays for itself|that the "
             "existing buildings are sufficient|that long relationships are worth more than low prices"},
    {"period", "in the first half of the year|over the summer months|towards the end of the year|during the whole of the "
               "period|in the weeks after the holidays|in the final quarter|for most of the year|in the spring|as in the "
               "previous year|until well into autumn"},
    {"cause", "higher prices for energy|a shortage of skilled workers|delays at the ports|the weakness of neighbouring "
              "markets|changed habits of consumers|the cautious mood of buyers|a mild winter|unusually heavy rain|new rules on "
              "packaging|fierce competition from overseas|a change of the product mix|long repairs"},
    {"effect", "margins came under pressure|stocks rose for a while|some orders had to be postponed|several shifts were "
               "cancelled|prices had to be raised|deliveries took longer than usual|the result fell short of our hopes|the "
               "order book filled only slowly|costs grew faster than sales"},
    {"measure", "a stricter control of stocks|shorter reporting lines|a common purchasing system|regular talks with key "
                "accounts|the renewal of old equipment|clearer responsibilities|a programme of small improvements|better "
                "planning of maintenance|closer work with universities|a simpler range of products"},
    {"how", "step by step|without any fuss|with great care|faster than planned|in close consultation with the staff|at "
            "moderate cost|with some delay|after long preparation|with the help of outside advisers|largely by our own means"},
    {"good",
     "encouraging|satisfactory|better than feared|in line with expectations|mixed|modest but steady|slightly above plan|"
     "hard to compare with earlier years"},
    {"area", "in the workshops|at the smaller sites|in administration|in the field organisation|across the group|in storage "
             "and transport|at the newly built facilities|in the older halls"},
    {0},
};

static const facts_family one[] = {
    {.key = "division",
     .answer = "amount",
     .fact = {"The {k} division brought in {a} crowns, {good}.", "Sales of {a} crowns were booked by the {k} division.",
              "With {a} crowns, revenue of the {k} division was {good}."},
     .question = "How many crowns did the {k} division bring in?"},
    {.key = "plant",
     .answer = "person",
     .fact = {"The {k} plant has been managed by {a} since the reorganisation.",
              "Since the reorganisation, {a} has been the manager of the {k} plant."},
     .question = "Who manages the {k} plant?"},
    {.key = "goods",
     .answer = "place",
     .fact = {"A central store for {k} was set up in {a}.", "In {a} we set up a central store for {k}."},
     .question = "In which town was a central store for {k} set up?"},
    {.key = "process",
     .answer = "date",
     .fact = {"Our licence for {k} runs out on {a}.", "The licence that permits {k} will run out on {a}."},
     .question = "On which date does the licence for {k} run out?"},
    {.key = "contract",
     .answer = "code",
     .fact = {"The {k} contract is filed under the reference {a}.", "Under the reference {a}, the {k} contract was renewed."},
     .question = "What is the reference of the {k} contract?"},
    {.key = "laboratory",
     .answer = "count",
     .fact = {"The {k} laboratory carried out {a} tests for other parts of the group.",
              "For other parts of the group, {a} tests were carried out by the {k} laboratory."},
     .question = "How many tests did the {k} laboratory carry out?"},
    {.key = "process",
     .answer = "decimal",
     .fact = {"The reject rate of {k} fell to {a} per thousand.", "At {a} per thousand, the reject rate of {k} was {good}."},
     .question = "What was the reject rate of {k}, per thousand?"},
    {.key = "vessel",
     .answer = "company",
     .fact = {"The vessel {k} is chartered to {a} for the coming years.",
              "For the coming years, {a} has chartered the vessel {k}."},
     .question = "Which company has chartered the vessel {k}?"},
    {0},
};

static const facts_family two[] = {
    {.key = "bureau",
     .bridge = "place",
     .answer = "person",
     .fact = {"The department of {k} moved into offices in {b}.", "New offices in {b} were given to the department of {k}."},
     .second = {"The department of {k} is headed by {a}.", "{a} was appointed head of the department of {k}."},
     .question = "Who is the head of the department that has its offices in {b}?"},
    {.key = "pump",
     .bridge = "project",
     .answer = "amount",
     .fact = {"Project {b} gave us the new {k} pump.", "The new {k} pump is the outcome of project {b}."},
     .second = {"The {k} pump is sold at {a} crowns apiece.",
                "At {a} crowns apiece, the {k} pump is offered to large customers."},
     .question = "For how many crowns is the pump sold that came out of project {b}?"},
    {.key = "vessel",
     .bridge = "person",
     .answer = "place",
     .fact = {"{b} is the captain of the vessel {k}.", "The vessel {k} sails under captain {b}."},
     .second = {"The home port of the vessel {k} is now {a}.", "The vessel {k} was moved to its new home port, {a}."},
     .question = "What is the home port of the vessel whose captain is {b}?"},
    {.key = "line",
     .bridge = "company",
     .answer = "date",
     .fact = {"The new {k} line was delivered by {b}.", "{b} delivered the new {k} line."},
     .second = {"The {k} line went into service on {a}.", "On {a} the {k} line went into service."},
     .question = "On which date did the line go into service that {b} delivered?"},
    {0},
};

static const facts_subject subjects[] = {
    {"The market|Customers and demand|Sales",
     {"{period}, {effect} because of {cause}.", "Business with large customers was {good}.",
      "Smaller orders were {good}, although {cause} could be felt everywhere.", "{who} {saw} {that}.",
      "As a result of {cause}, {effect}.", "Abroad, the picture was {good} {period}.",
      "Advertising was reduced {how}, and nobody seems to have missed it.",
      "Complaints were answered {how}; most of them had to do with {cause}.",
      "We visited more customers than before {period} and listened to what they had to say.",
      "A survey among buyers was {good}, and its results have been discussed {area}.",
      "Whether {effect} only for a time or for good cannot be said yet.",
      "Trade fairs were {good} {period}; the conversations there led to {measure}.",
      "Discounts were granted only where long experience spoke for them."}},
    {"Production|The works|Operations",
     {"Output was {good} {period}.", "{area}, {measure} was introduced {how}.",
      "Machines stood still more often than we would like because of {cause}.", "{who} {saw} {that}, above all {area}.",
      "Maintenance was carried out {how} {period}.", "Because of {cause}, {effect} {area}.",
      "Shift schedules were rewritten {how} and are now accepted by everyone.",
      "The halls were painted and the lighting was replaced {how}.", "Idle capacity was used for {measure}.",
      "Set-up times became shorter {period}, which shows the value of {measure}.",
      "Noise and dust were reduced {area}, and the neighbours have said so.",
      "It turned out that {cause} had less influence on output than many had thought."}},
    {"People|Our staff|Personnel",
     {"The number of employees hardly changed {period}.", "{who} {saw} {that}.",
      "Illness was {good} {period}, not least because of {measure}.", "Apprentices were taken on {area} and supported {how}.",
      "Overtime was reduced {how}; {period}, it was hardly needed at all.",
      "Many colleagues took part in courses {period}, most of them {area}.",
      "Talks with the unions were conducted {how} and ended in an agreement.",
      "Those who retired {period} have passed on what they knew {how}.",
      "The canteen was rebuilt {how}, and the menu has been praised since.",
      "Working from home is possible where the tasks allow it, though not {area}.",
      "{measure} was proposed by employees and put into practice {how}.",
      "Accidents were fewer than in earlier years, and none of them was serious."}},
    {"Purchasing|Suppliers and materials|Procurement",
     {"Raw materials were expensive {period} because of {cause}.", "{who} {saw} {that}.",
      "Where a single supplier had been enough, we now look for a second one {how}.",
      "Stocks were kept higher than usual as a precaution against {cause}.",
      "Long contracts protected us when {effect} elsewhere.", "Freight was {good} {period}.",
      "Packaging was simplified {how}, which spares both money and storage.",
      "Deliveries were checked more strictly {area}, and the results were {good}.",
      "Several agreements were renegotiated {how} {period}.", "{measure} was agreed on with the most important suppliers.",
      "Substitutes for scarce materials were tried out {area} and found useful."}},
    {"Finance|Result and balance sheet|Investments and liquidity",
     {"The result was {good}, even though {effect} {period}.", "Debt was paid back {how}.",
      "Investments went mainly into {measure}.", "{who} {saw} {that}.",
      "Receivables were collected {how}, and bad debts remained rare.",
      "Interest rates had little influence because most loans were fixed long ago.",
      "Depreciation was {good}, as no larger purchases were made {period}.", "Provisions were formed for {cause}.",
      "Currency losses were limited {how}.", "Cash was sufficient at all times, also when {effect}.",
      "The dividend is to reflect that the year was {good} on the whole.",
      "The auditors had no objections and thanked everyone for {measure}."}},
    {"Environment|Energy and waste|Responsibility",
     {"Energy was saved {area} through {measure}.", "Waste was separated {how}, and less of it had to be burned.",
      "{who} {saw} {that}.", "Water is now used several times before it leaves the works.",
      "Solar panels cover the roofs {area} and supplied more than was hoped {period}.",
      "The authorities inspected us {period} and found things to be {good}.", "Trees were planted along the fences {how}.",
      "Because of {cause}, progress was slower than we had wished.", "Company cars are being replaced {how} by smaller ones.",
      "Neighbours were invited to look around {area}, and many came.",
      "Heat that used to be lost is now led into the offices {period}.",
      "Soil was examined {area}, with a result that was {good}."}},
    {"Outlook|Risks and opportunities|What lies ahead",
     {"For the coming year, {who} {saw} {that}.", "Should {cause} persist, it may be that {effect} again.",
      "We intend to go on with {measure} {how}.", "Opportunities are seen {area}, where little has been done so far.",
      "The greatest risk lies in {cause}.", "Nothing suggests that the pace of change will slacken.",
      "Forecasts are difficult, and those made {period} were no better than others.",
      "Insurance covers most of what could happen {area}.", "The budget is cautious and assumes that demand will be {good}.",
      "Our plans can be changed at short notice if {effect}.", "{measure} will keep us busy for some time yet.",
      "It is too early to say whether the mood, {good} at present, will last."}},
    {"Research|New products|Development",
     {"Development was {good} {period}.", "Prototypes were tested {how} {area}.", "{who} {saw} {that}.",
      "Fewer ideas were pursued, but those were pursued {how}.", "Because of {cause}, one study had to be given up.",
      "Patents were filed only where they promised to be of use.", "Cooperation with universities was {good} and will go on.",
      "Customers took part in trials {period} and spoke about them frankly.",
      "What was learned {area} has found its way into {measure}.", "Drawings were digitised {how}.",
      "Standards changed {period}, so several designs had to be revised.",
      "New materials were compared {how}; the findings were {good}."}},
    {0},
};

const facts_style facts_style_report = {
    .name = "report",
    .summary = "the annual report of a company, in sections",
    .layout = FACTS_PROSE,
    .opening = "# Annual report\n\nThis report describes the course of business of the group and of its divisions, plants, "
               "laboratories and vessels. All figures are in crowns unless something else is said.",
    .heading = "## {title}",
    .sentences = {4, 7},
    .paragraphs = {2, 4},
    .entries = 3,
    .rules = rules,
    .subjects = subjects,
    .one = one,
    .two = two,
};
