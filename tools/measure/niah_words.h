/* Words that facts are made of. None of them occurs in the filler. */
#ifndef NIAH_WORDS_H
#define NIAH_WORDS_H

static const char *const niah_marks[] = {"amber",  "copper", "crimson", "frozen", "golden", "hidden", "hollow",  "ivory",
                                         "marble", "orange", "purple",  "royal",  "rusty",  "silver", "striped", "velvet"};

static const char *const niah_places[] = {"lighthouse", "observatory", "windmill", "fortress", "aqueduct", "monastery",
                                          "shipyard",   "brewery",     "vineyard", "quarry",   "temple",   "castle",
                                          "embassy",    "casino",      "hospital", "airport"};

static const char *const niah_things[] = {"anchor", "banjo",   "cactus", "dragon", "falcon", "guitar", "hammer", "island",
                                          "jaguar", "kettle",  "magnet", "needle", "parrot", "pepper", "rocket", "saddle",
                                          "tiger",  "trumpet", "violin", "walrus", "wizard", "zebra"};

static const char *const niah_first_names[] = {"Alice",  "Boris",  "Carmen", "Dmitri", "Elena",  "Felix", "Gloria",
                                               "Hassan", "Ingrid", "Jorge",  "Katya",  "Leon",   "Maria", "Nadia",
                                               "Oscar",  "Paula",  "Rachel", "Simon",  "Teresa", "Victor"};

static const char *const niah_last_names[] = {"Bennett", "Castro", "Dalton",  "Eriksen", "Fischer", "Garcia", "Hughes",
                                              "Jensen",  "Keller", "Lambert", "Moreau",  "Nolan",   "Ortega", "Petrov",
                                              "Quinn",   "Romano", "Schmidt", "Tanaka",  "Vargas",  "Wallace"};

static const char *const niah_fields[] = {"accounting", "advertising", "chemistry", "economics", "engineering", "housing",
                                          "insurance",  "marketing",   "passport",  "payroll",   "physics",     "security",
                                          "shipping",   "tourism",     "transport", "visa"};

static const char *const niah_bodies[] = {"office", "department", "committee", "agency"};

#endif
