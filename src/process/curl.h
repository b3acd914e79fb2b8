#ifndef PROCESS_CURL_H
#define PROCESS_CURL_H

/*
 * libcurl, loaded by the process that needs it when it needs it: no other process of Trilith has
 * it, and what it drags in, in its memory.
 */

#include "core/error.h"

#define CURL_DISABLE_TYPECHECK
#include <curl/curl.h>

struct curl_library {
    void *library;
    CURLcode (*global_init)(long);
    CURL *(*easy_init)(void);
    void (*easy_reset)(CURL *);
    CURLcode (*easy_setopt)(CURL *, CURLoption, ...);
    CURLcode (*easy_perform)(CURL *);
    CURLcode (*easy_getinfo)(CURL *, CURLINFO, ...);
    void (*easy_cleanup)(CURL *);
    const char *(*easy_strerror)(CURLcode);
    struct curl_slist *(*slist_append)(struct curl_slist *, const char *);
    void (*slist_free_all)(struct curl_slist *);
};

/* ERR_MISSING: it is not installed. On an error it is closed again. */
MUST_CHECK enum err curl_library_open(struct curl_library *curl, struct why *why);
void curl_library_close(struct curl_library *curl);

#endif
