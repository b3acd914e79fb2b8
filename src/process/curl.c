/* See curl.h. */
#include "process/curl.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <string.h>

static bool find(struct curl_library *curl, const char *name, void *function_out)
{
    void *found = dlsym(curl->library, name);
    memcpy(function_out, &found, sizeof(found)); /* C has no cast from data to code */
    return found != NULL;
}

enum err curl_library_open(struct curl_library *curl, struct why *why)
{
    *curl = (struct curl_library){ .library = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL) };
    if (curl->library == NULL)
        return fail(why, ERR_MISSING,
                    "libcurl is not there: install Debian's package libcurl4 (%s)", dlerror());
    bool is_whole = find(curl, "curl_global_init", &curl->global_init) &&
                    find(curl, "curl_easy_init", &curl->easy_init) &&
                    find(curl, "curl_easy_reset", &curl->easy_reset) &&
                    find(curl, "curl_easy_setopt", &curl->easy_setopt) &&
                    find(curl, "curl_easy_perform", &curl->easy_perform) &&
                    find(curl, "curl_easy_getinfo", &curl->easy_getinfo) &&
                    find(curl, "curl_easy_cleanup", &curl->easy_cleanup) &&
                    find(curl, "curl_easy_strerror", &curl->easy_strerror) &&
                    find(curl, "curl_slist_append", &curl->slist_append) &&
                    find(curl, "curl_slist_free_all", &curl->slist_free_all);
    if (is_whole && curl->global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK)
        return OK;
    curl_library_close(curl);
    return is_whole
               ? fail(why, ERR_SYSTEM, "libcurl cannot start")
               : fail(why, ERR_UNSUPPORTED, "libcurl.so.4 is not the library that it should be");
}

void curl_library_close(struct curl_library *curl)
{
    if (curl->library != NULL)
        dlclose(curl->library);
    *curl = (struct curl_library){ 0 };
}
