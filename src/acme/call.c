/* See call.h. One handle for all requests, so that connections are kept between them. */
#include "acme/call.h"

#include "core/clock.h"
#include "core/memory.h"

#define CURL_DISABLE_TYPECHECK
#include <curl/curl.h>
#include <dlfcn.h>

enum { CONNECT_MS = 10000 };

struct acme_call {
    void *library;
    CURL *handle;
    struct curl_slist *headers;
    struct text trusted;
    char error[CURL_ERROR_SIZE];
    /* of the library */
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

/* ---- the library ---- */

static bool find(struct acme_call *call, const char *name, void *function_out)
{
    void *found = dlsym(call->library, name);
    memcpy(function_out, &found, sizeof(found)); /* C has no cast from data to code */
    return found != NULL;
}

static enum err load(struct acme_call *call, struct why *why)
{
    call->library = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);
    if (call->library == NULL)
        return fail(why, ERR_MISSING,
                    "libcurl is not there: install Debian's package libcurl4 (%s)", dlerror());
    bool is_whole = find(call, "curl_global_init", &call->global_init) &&
                    find(call, "curl_easy_init", &call->easy_init) &&
                    find(call, "curl_easy_reset", &call->easy_reset) &&
                    find(call, "curl_easy_setopt", &call->easy_setopt) &&
                    find(call, "curl_easy_perform", &call->easy_perform) &&
                    find(call, "curl_easy_getinfo", &call->easy_getinfo) &&
                    find(call, "curl_easy_cleanup", &call->easy_cleanup) &&
                    find(call, "curl_easy_strerror", &call->easy_strerror) &&
                    find(call, "curl_slist_append", &call->slist_append) &&
                    find(call, "curl_slist_free_all", &call->slist_free_all);
    if (!is_whole)
        return fail(why, ERR_UNSUPPORTED, "libcurl.so.4 is not the library that it should be");
    return OK;
}

enum err acme_call_new(struct text trusted, struct acme_call **call_out, struct why *why)
{
    struct acme_call *call = NEW(struct acme_call);
    call->trusted = trusted;
    enum err err = load(call, why);
    if (err == OK && call->global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK)
        call->handle = call->easy_init();
    if (err == OK && call->handle == NULL)
        err = fail(why, ERR_SYSTEM, "libcurl cannot start");
    if (err != OK) {
        acme_call_free(call);
        return err;
    }
    call->headers = call->slist_append(NULL, "Content-Type: application/jose+json");
    *call_out = call;
    return OK;
}

void acme_call_free(struct acme_call *call)
{
    if (call == NULL)
        return;
    if (call->handle != NULL) {
        call->easy_cleanup(call->handle);
        call->slist_free_all(call->headers);
    }
    if (call->library != NULL)
        dlclose(call->library);
    memory_free(call);
}

/* ---- one request ---- */

static size_t on_body(char *data, size_t size, size_t count, void *context)
{
    struct acme_reply *reply = context;
    buffer_append(&reply->body, text_from(data, size * count));
    return reply->body.failed ? 0 : size * count; /* 0 breaks off */
}

static size_t on_header(char *data, size_t size, size_t count, void *context)
{
    struct acme_reply *reply = context;
    acme_head_read(text_from(data, size * count), clock_wall_ms() / 1000, &reply->head);
    return size * count;
}

/* Which options are set is not tested one by one: one that fails lets the request fail, but for the
 * two that keep us from talking in clear or to somebody else. */
static bool set_up(struct acme_call *call, const char *url, int64_t timeout_ms,
                   struct acme_reply *reply)
{
    CURL *handle = call->handle;
    struct curl_blob trusted = { (void *)call->trusted.data, call->trusted.len, CURL_BLOB_NOCOPY };
    call->easy_reset(handle);
    call->easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
    call->easy_setopt(handle, CURLOPT_ERRORBUFFER, call->error);
    call->easy_setopt(handle, CURLOPT_USERAGENT, "trilith/" TRILITH_VERSION);
    call->easy_setopt(handle, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
    call->easy_setopt(handle, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
    call->easy_setopt(handle, CURLOPT_HTTPHEADER, NULL);
    call->easy_setopt(handle, CURLOPT_WRITEFUNCTION, on_body);
    call->easy_setopt(handle, CURLOPT_WRITEDATA, reply);
    call->easy_setopt(handle, CURLOPT_HEADERFUNCTION, on_header);
    call->easy_setopt(handle, CURLOPT_HEADERDATA, reply);
    if (call->trusted.len > 0 &&
        call->easy_setopt(handle, CURLOPT_CAINFO_BLOB, &trusted) != CURLE_OK)
        return false;
    return call->easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "https") == CURLE_OK &&
           call->easy_setopt(handle, CURLOPT_URL, url) == CURLE_OK;
}

enum err acme_call_make(struct acme_call *call, enum acme_method method, const char *url,
                        struct text body, int64_t timeout_ms, struct acme_reply *reply,
                        struct why *why)
{
    long status = 0;
    reply->status = 0;
    reply->head = (struct acme_head){ 0 };
    buffer_clear(&reply->body);
    call->error[0] = '\0';
    if (timeout_ms <= 0)
        return fail(why, ERR_TIMEOUT, "there is no time left to ask %s", url);
    bool is_set = set_up(call, url, timeout_ms, reply);
    if (method == ACME_HEAD)
        call->easy_setopt(call->handle, CURLOPT_NOBODY, 1L);
    if (method == ACME_POST) {
        call->easy_setopt(call->handle, CURLOPT_HTTPHEADER, call->headers);
        call->easy_setopt(call->handle, CURLOPT_POSTFIELDSIZE, (long)body.len);
        is_set =
            is_set && call->easy_setopt(call->handle, CURLOPT_POSTFIELDS, body.data) == CURLE_OK;
    }
    CURLcode code = is_set ? call->easy_perform(call->handle) : CURLE_FAILED_INIT;
    if (code != CURLE_OK)
        return fail(why, ERR_CLOSED, "%s: %s", url,
                    call->error[0] != '\0' ? call->error : call->easy_strerror(code));
    call->easy_getinfo(call->handle, CURLINFO_RESPONSE_CODE, &status);
    reply->status = status;
    return OK;
}
