/* A code base in Python: several files with constants, settings and functions. */
#include "measure/facts_text.h"

static const facts_rule rules[] = {
    {"thing", "ledger|invoice|voucher|parcel|tariff|warehouse|courier|pallet|customs|booking|refund|catalogue|waybill|coupon|"
              "manifest|container"},
    {"Thing", "Ledger|Invoice|Voucher|Parcel|Tariff|Warehouse|Courier|Pallet|Customs|Booking|Refund|Catalogue|Waybill|Coupon|"
              "Manifest|Container"},
    {"THING", "LEDGER|INVOICE|VOUCHER|PARCEL|TARIFF|WAREHOUSE|COURIER|PALLET|CUSTOMS|BOOKING|REFUND|CATALOGUE|WAYBILL|COUPON|"
              "MANIFEST|CONTAINER"},
    {"constant", "MAX_{THING}_{UNIT}|MIN_{THING}_{UNIT}|{THING}_{UNIT}_LIMIT|DEFAULT_{THING}_{UNIT}"},
    {"UNIT", "ROWS|BYTES|RETRIES|PAGES|WORKERS|SECONDS|CHUNKS|HANDLES"},
    {"alias", "{THING}_BATCH|{THING}_QUOTA|{THING}_WATERMARK|{THING}_BACKLOG"},
    {"cap", "{THING}_{UNIT}_CAP|TOTAL_{THING}_{UNIT}|{THING}_{UNIT}_FLOOR"},
    {"client", "{Thing}Client|{Thing}Gateway|{Thing}Mirror"},
    {"worker", "{Thing}Worker|{Thing}Poller|{Thing}Printer"},
    {"error", "{Thing}Missing|{Thing}Expired|{Thing}Locked|{Thing}Overflow"},
    {"function",
     "rebuild_{thing}_index|archive_{thing}s|reprice_{thing}|settle_{thing}|audit_{thing}_log|export_{thing}_sheet"},
    {"handler", "serve_{thing}|post_{thing}|show_{thing}|push_{thing}"},
    {"route", "/harvest|/tides|/orchard|/lanterns|/meadow|/quarry|/rapids|/summit|/glacier|/canyon|/prairie|/lagoon|/thicket|"
              "/plateau"},
    {"queue", "crimson|indigo|scarlet|turquoise|ochre|magenta|emerald|sepia|cobalt|saffron|maroon|lavender"},
    {"task", "{thing}-sweep|{thing}-digest|{thing}-rollup|{thing}-replay"},
    {"service", "{thing}-api|{thing}-feed|{thing}-store"},
    /* filler */
    {"dir", "core|util|web|storage|jobs|text|net|report|forms|sync"},
    {"mod", "helpers|models|views|cursor|buffers|parsing|format|registry|errors|session|filters|paths|cache|events"},
    {"verb",
     "load|merge|split|normalise|collect|filter|render|trim|encode|decode|flatten|sort|validate|copy|group|strip|update|"
     "open|close|compare|find|reverse|drop"},
    {"noun", "record|field|header|line|token|column|node|path|entry|frame|label|cell|chunk|message|option|value|key|template|"
             "cursor|stream|window|footer"},
    {"many",
     "records|fields|headers|lines|tokens|columns|nodes|paths|entries|frames|labels|cells|chunks|messages|options|values|"
     "keys|templates"},
    {"var", "item|part|left|right|found|result|current|previous|pending|seen|rest|target|source|buffer"},
    {"test", "{var} is None|not {var}|{var} in seen|len({var}) == 0|{var} == previous|{var}.closed|callable({var})|"
             "isinstance({var}, str)|{var}.startswith(prefix)"},
    {"why",
     "the caller may have closed it already|older files lack this {noun}|empty {many} are allowed here|the order of "
     "{many} matters|this keeps the {many} stable|nothing else reads the {noun}|duplicates were removed earlier|a copy is "
     "cheaper than a lock|tests rely on this|the {noun} may be shared"},
    {"doc",
     "Return the {many} that belong to a {noun}|{Verb} every {noun} and keep the order|{Verb} {many} without touching the "
     "{noun}|Tell whether a {noun} has {many}|{Verb} what is left of the {many}|{Verb} the {noun}, or do nothing"},
    {"Verb",
     "Load|Merge|Split|Normalise|Collect|Filter|Render|Trim|Encode|Decode|Flatten|Sort|Validate|Copy|Group|Strip|Update|"
     "Compare|Drop"},
    {"call",
     "{verb}_{noun}({var})|self.{verb}_{many}({var})|{verb}_{many}({var}, {var})|{var}.{verb}()|self._{noun}.get({var})"},
    {"step",
     "    {var} = {call}\n|    if {test}:\n        {var} = {call}\n|    if {test}:  # {why}\n        return {var}\n|    for "
     "{var} in {many}:\n        {call}\n|    {many}.append({var})\n|    {call}\n|    try:\n        {call}\n    except "
     "KeyError:\n        {var} = None\n|    while {var}:\n        {var} = {call}\n|    # {why}\n    {var} = {call}\n"},
    {"steps", "{step}|{step}{step}|{step}{step}{step}"},
    {"arg", "{many}|{noun}|{noun}, {var}|{many}, prefix|{noun}, *, strict=False|{many}, default=None"},
    {0},
};

static const facts_family one[] = {
    {.key = "constant",
     .answer = "integer",
     .fact = {"{k} = {a}", "# Agreed with operations; do not change without a ticket.\n{k} = {a}"},
     .question = "What is the value of {k}?"},
    {.key = "client",
     .answer = "integer",
     .fact = {"class {k}(BaseConnection):\n    scheme = \"https\"\n    port = {a}\n\n    def ping(self):\n        return "
              "self.get(\"/ping\")"},
     .question = "What is the port of class {k}?"},
    {.key = "function",
     .answer = "person",
     .fact =
         {"# Maintainer of {k}: {a}\ndef {k}(path, dry_run=False):\n    for {var} in open_all(path):\n        {var}.{verb}()"},
     .question = "Who is the maintainer of {k}?"},
    {.key = "service",
     .answer = "place",
     .fact = {"deploy(\"{k}\", data_centre=\"{a}\")", "# Close to most of its users.\ndeploy(\"{k}\", data_centre=\"{a}\")"},
     .question = "What is the data_centre of \"{k}\"?"},
    {.key = "error",
     .answer = "code",
     .fact = {"class {k}(ServiceError):\n    code = \"{a}\""},
     .question = "What is the code of class {k}?"},
    {.key = "function",
     .answer = "date",
     .fact = {"# {k} will be removed on {a}.\n@deprecated\ndef {k}({arg}):\n    return {call}"},
     .question = "On which date will {k} be removed?"},
    {.key = "task",
     .answer = "count",
     .fact = {"schedule(\"{k}\", interval_minutes={a})", "# No more often, please.\nschedule(\"{k}\", interval_minutes={a})"},
     .question = "What is interval_minutes of \"{k}\"?"},
    {0},
};

static const facts_family two[] = {
    {.key = "handler",
     .bridge = "route",
     .answer = "count",
     .fact = {"router.add(\"{b}\", handler={k})", "# Public.\nrouter.add(\"{b}\", handler={k})"},
     .second = {"@rate_limit({a})\ndef {k}(request):\n    return respond(request)"},
     .question = "Which function is the handler of \"{b}\", and what is its rate_limit?"},
    {.key = "worker",
     .bridge = "queue",
     .answer = "integer",
     .fact = {"subscribe(queue=\"{b}\", worker={k})"},
     .second = {"class {k}(Consumer):\n    timeout_ms = {a}\n    name = None"},
     .question = "Which class is the worker of the queue \"{b}\", and what is its timeout_ms?"},
    {.key = "cap",
     .bridge = "alias",
     .answer = "integer",
     .fact = {"{b} = {k}", "# Follows the other limit.\n{b} = {k}"},
     .second = {"{k} = {a}"},
     .question = "Which constant is {b} set to, and what is the value of that constant?"},
    {.key = "task",
     .bridge = "project",
     .answer = "person",
     .fact = {"assign(\"{k}\", project=\"{b}\")"},
     .second = {"on_failure(\"{k}\", notify=\"{a}\")"},
     .question = "Which task is assigned to project \"{b}\", and who is notified when it fails?"},
    {0},
};

#define CODE                                                                                                                   \
    {                                                                                                                          \
        "def {verb}_{many}({arg}):\n    \"\"\"{doc}.\"\"\"\n{steps}    return {var}",                                          \
            "def {verb}_{noun}({arg}):\n{steps}    return {call}",                                                             \
            "def _{verb}_{noun}(self, {arg}):\n    # {why}\n{steps}    return self",                                           \
            "class {Verb}Error(Exception):\n    \"\"\"Raised when {why}.\"\"\"",                                               \
            "def has_{many}({noun}, prefix=\"\"):\n    return {test}",                                                         \
            "def {verb}_or_{verb}({arg}):\n    \"\"\"{doc}; {why}.\"\"\"\n{step}    return {verb}_{noun}({var})",              \
            "@property\ndef {noun}_{many}(self):\n    return [{verb}_{noun}({var}) for {var} in self._{many}]",                \
            "async def {verb}_{many}({arg}):\n{steps}    await {call}", "# {doc}.\n# Note that {why}, and {why}.",             \
            "{verb}_{many} = partial({verb}_{noun}, strict=True)",                                                             \
            "def test_{verb}_{noun}(tmp_path):\n{steps}    assert {call}",                                                     \
            "@cached\ndef {noun}_for_{noun}({arg}):\n{step}{step}    return {var}",                                            \
            "with {verb}_{noun}({var}) as {var}:\n{step}",                                                                     \
            "def {verb}_{noun}_by_{noun}({arg}):\n    \"\"\"{doc}.\n\n    This is needed because {why}.\n    \"\"\"\n{steps} " \
            "   "                                                                                                              \
            "return {var}"                                                                                                     \
    }

static const facts_subject subjects[] = {
    {"{dir}/{mod}.py|{dir}/{noun}_{mod}.py", CODE},
    {"{dir}/{dir}_{mod}.py|{dir}/{verb}_{many}.py", CODE},
    {0},
};

const facts_style facts_style_code = {
    .name = "code",
    .summary = "a code base in Python, several files",
    .layout = FACTS_BLOCKS,
    .opening = "# Sources of a web service, file by file.",
    .heading = "# ----- file: {title} -----",
    .sentences = {1, 1},
    .paragraphs = {4, 8},
    .entries = 2,
    .rules = rules,
    .subjects = subjects,
    .one = one,
    .two = two,
};
