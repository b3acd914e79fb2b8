/* See call.h. One handle for all requests, so that connections are kept between them. */
#include "acme/call.h"

#include "core/clock.h"
#include "core/memory.h"
#include "process/curl.h"

enum { CONNECT_MS = 10000 };

struct acme_call {
    struct curl_library curl;
    CURL *handle;
    struct curl_slist *headers;
    struct text trusted;
    char error[CURL_ERROR_SIZE];
};

enum err acme_call_new(struct text trusted, struct acme_call **call_out, struct why *why)
{
    struct acme_call *call = NEW(struct acme_call);
    call->trusted = trusted;
    enum err err = curl_library_open(&call->curl, why);
    if (err == OK)
        call->handle = call->curl.easy_init();
    if (err == OK && call->handle == NULL)
        err = fail(why, ERR_SYSTEM, "libcurl cannot start");
    if (err != OK) {
        acme_call_free(call);
        return err;
    }
    call->headers = call->curl.slist_append(NULL, "Content-Type: application/jose+json");
    *call_out = call;
    return OK;
}

void acme_call_free(struct acme_call *call)
{
    if (call == NULL)
        return;
    if (call->handle != NULL) {
        call->curl.easy_cleanup(call->handle);
        call->curl.slist_free_all(call->headers);
    }
    curl_library_close(&call->curl);
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
    call->curl.easy_reset(handle);
    call->curl.easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
    call->curl.easy_setopt(handle, CURLOPT_ERRORBUFFER, call->error);
    call->curl.easy_setopt(handle, CURLOPT_USERAGENT, "trilith/" TRILITH_VERSION);
    call->curl.easy_setopt(handle, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
    call->curl.easy_setopt(handle, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
    call->curl.easy_setopt(handle, CURLOPT_HTTPHEADER, NULL);
    call->curl.easy_setopt(handle, CURLOPT_WRITEFUNCTION, on_body);
    call->curl.easy_setopt(handle, CURLOPT_WRITEDATA, reply);
    call->curl.easy_setopt(handle, CURLOPT_HEADERFUNCTION, on_header);
    call->curl.easy_setopt(handle, CURLOPT_HEADERDATA, reply);
    if (call->trusted.len > 0 &&
        call->curl.easy_setopt(handle, CURLOPT_CAINFO_BLOB, &trusted) != CURLE_OK)
        return false;
    return call->curl.easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "https") == CURLE_OK &&
           call->curl.easy_setopt(handle, CURLOPT_URL, url) == CURLE_OK;
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
        call->curl.easy_setopt(call->handle, CURLOPT_NOBODY, 1L);
    if (method == ACME_POST) {
        call->curl.easy_setopt(call->handle, CURLOPT_HTTPHEADER, call->headers);
        call->curl.easy_setopt(call->handle, CURLOPT_POSTFIELDSIZE, (long)body.len);
        is_set = is_set &&
                 call->curl.easy_setopt(call->handle, CURLOPT_POSTFIELDS, body.data) == CURLE_OK;
    }
    CURLcode code = is_set ? call->curl.easy_perform(call->handle) : CURLE_FAILED_INIT;
    if (code != CURLE_OK)
        return fail(why, ERR_CLOSED, "%s: %s", url,
                    call->error[0] != '\0' ? call->error : call->curl.easy_strerror(code));
    call->curl.easy_getinfo(call->handle, CURLINFO_RESPONSE_CODE, &status);
    reply->status = status;
    return OK;
}
