/* libxml2 goes on where it got no memory, with a part of the text missing: so whether it did is noted here, at its own requests
 * for memory. For a thread and a document at a time. */
#include "document/document_internal.h"

#include <libxml/parser.h>
#include <libxml/xmlmemory.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local bool failed;

static void *noted(void *memory) {
    failed = failed || !memory;
    return memory;
}

static void *watched_malloc(size_t n) {
    return noted(malloc(n ? n : 1));
}

static void *watched_realloc(void *old, size_t n) {
    return noted(realloc(old, n ? n : 1));
}

static char *watched_strdup(const char *s) {
    return noted(strdup(s));
}

static void install(void) {
    xmlMemSetup(free, watched_malloc, watched_realloc, watched_strdup);
    xmlInitParser();
}

void document_watch_memory(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, install);
    failed = false;
}

bool document_memory_failed(void) {
    return failed;
}
