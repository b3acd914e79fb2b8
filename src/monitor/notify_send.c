/* See notify.h: one note to one receiver, in a process that does nothing else and may block. */
#include "monitor/notify.h"

#include "core/clock.h"
#include "core/memory.h"
#include "core/sys.h"
#include "process/curl.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <unistd.h>

enum {
    CONNECT_MS = 5000,
    WORDS_LIMIT = 256,
    WORD_SIZE = 512,
    ANSWER_LIMIT = 1 << 20, /* of a webhook: it is not looked at */
};

/* ---- webhooks and mail: by libcurl ---- */

struct sending {
    struct curl_library curl;
    CURL *handle;
    struct curl_slist *list;
    struct text rest; /* of the mail: what is not sent yet */
    size_t answer_bytes;
    char error[CURL_ERROR_SIZE];
};

static size_t drop_answer(char *data, size_t size, size_t count, void *context)
{
    struct sending *sending = context;
    (void)data;
    sending->answer_bytes += size * count;
    return sending->answer_bytes <= ANSWER_LIMIT ? size * count : 0;
}

static size_t give_mail(char *data, size_t size, size_t count, void *context)
{
    struct sending *sending = context;
    size_t room = size * count;
    size_t len = sending->rest.len < room ? sending->rest.len : room;
    memcpy(data, sending->rest.data, len);
    sending->rest = text_skip(sending->rest, len);
    return len;
}

/* Which options are set is not tested one by one: one that fails lets the request fail, but for
 * those that keep us from talking to somebody else or in another way. */
static bool set_common(struct sending *sending, const struct notify_task *task,
                       const char *protocols)
{
    struct curl_library *curl = &sending->curl;
    CURL *handle = sending->handle;
    struct curl_blob trusted = { (void *)task->trusted.data, task->trusted.len, CURL_BLOB_NOCOPY };
    AUTO(memory_drop) char *url = memory_new(task->receiver->url.len + 1);
    memcpy(url, task->receiver->url.data, task->receiver->url.len);
    curl->easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
    curl->easy_setopt(handle, CURLOPT_ERRORBUFFER, sending->error);
    curl->easy_setopt(handle, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
    curl->easy_setopt(handle, CURLOPT_TIMEOUT_MS, (long)NOTIFY_SEND_MS - 1000);
    curl->easy_setopt(handle, CURLOPT_WRITEFUNCTION, drop_answer);
    curl->easy_setopt(handle, CURLOPT_WRITEDATA, sending);
    curl->easy_setopt(handle, CURLOPT_PROXY, "");
    if (task->trusted.len > 0 &&
        curl->easy_setopt(handle, CURLOPT_CAINFO_BLOB, &trusted) != CURLE_OK)
        return false;
    return curl->easy_setopt(handle, CURLOPT_PROTOCOLS_STR, protocols) == CURLE_OK &&
           curl->easy_setopt(handle, CURLOPT_URL, url) == CURLE_OK;
}

static void perform(struct sending *sending, char trouble[NOTIFY_TROUBLE_SIZE])
{
    CURLcode code = sending->curl.easy_perform(sending->handle);
    if (code != CURLE_OK)
        snprintf(trouble, NOTIFY_TROUBLE_SIZE, "%s",
                 sending->error[0] != '\0' ? sending->error : sending->curl.easy_strerror(code));
}

static void send_webhook(struct sending *sending, const struct notify_task *task,
                         char trouble[NOTIFY_TROUBLE_SIZE])
{
    struct curl_library *curl = &sending->curl;
    long status = 0;
    sending->list = curl->slist_append(NULL, "Content-Type: application/json");
    curl->easy_setopt(sending->handle, CURLOPT_HTTPHEADER, sending->list);
    curl->easy_setopt(sending->handle, CURLOPT_USERAGENT, "trilith/" TRILITH_VERSION);
    curl->easy_setopt(sending->handle, CURLOPT_POSTFIELDSIZE, (long)task->note.len);
    curl->easy_setopt(sending->handle, CURLOPT_POSTFIELDS, task->note.data);
    perform(sending, trouble);
    curl->easy_getinfo(sending->handle, CURLINFO_RESPONSE_CODE, &status);
    if (trouble[0] == '\0' && (status < 200 || status > 299))
        snprintf(trouble, NOTIFY_TROUBLE_SIZE, "it answered with status %ld", status);
}

/* A C string of a text, cut at its size. */
static const char *word_of(struct text text, char out[WORD_SIZE])
{
    snprintf(out, WORD_SIZE, "%.*s", FMT(text));
    return out;
}

static void send_mail(struct sending *sending, const struct notify_task *task,
                      char trouble[NOTIFY_TROUBLE_SIZE])
{
    struct curl_library *curl = &sending->curl;
    CURL *handle = sending->handle;
    const struct site_receiver *receiver = task->receiver;
    char word[WORD_SIZE], from[WORD_SIZE];
    struct buffer mail AUTO(buffer_done) = buffer_of(NOTIFY_MAIL_LIMIT);
    bool has_login = !text_is_empty(receiver->user);
    if (notify_mail_write(task, clock_wall_ms(), &mail) != OK) {
        snprintf(trouble, NOTIFY_TROUBLE_SIZE, "the note is too long for a mail");
        return;
    }
    snprintf(from, sizeof(from), "<trilith@%.*s>", FMT(task->site->name));
    if (!text_is_empty(receiver->from))
        snprintf(from, sizeof(from), "<%.*s>", FMT(receiver->from));
    for (size_t i = 0; i < receiver->to_count; i++)
        sending->list = curl->slist_append(sending->list, word_of(receiver->to[i], word));
    sending->rest = buffer_text(&mail);
    curl->easy_setopt(handle, CURLOPT_MAIL_FROM, from);
    curl->easy_setopt(handle, CURLOPT_MAIL_RCPT, sending->list);
    curl->easy_setopt(handle, CURLOPT_READFUNCTION, give_mail);
    curl->easy_setopt(handle, CURLOPT_READDATA, sending);
    curl->easy_setopt(handle, CURLOPT_UPLOAD, 1L);
    curl->easy_setopt(handle, CURLOPT_USE_SSL, (long)(has_login ? CURLUSESSL_ALL : CURLUSESSL_TRY));
    if (has_login) {
        curl->easy_setopt(handle, CURLOPT_USERNAME, word_of(receiver->user, word));
        curl->easy_setopt(handle, CURLOPT_PASSWORD, word_of(text_trim(task->password), word));
    }
    perform(sending, trouble);
}

static void send_by_curl(const struct notify_task *task, char trouble[NOTIFY_TROUBLE_SIZE])
{
    struct sending sending = { .error = "" };
    struct why why = { "" };
    bool is_mail = task->receiver->kind == RECEIVER_MAIL;
    if (curl_library_open(&sending.curl, &why) != OK) {
        snprintf(trouble, NOTIFY_TROUBLE_SIZE, "%.200s", why.text);
        return;
    }
    sending.handle = sending.curl.easy_init();
    if (sending.handle == NULL ||
        !set_common(&sending, task, is_mail ? "smtp,smtps" : "http,https"))
        snprintf(trouble, NOTIFY_TROUBLE_SIZE, "libcurl does not take the address");
    else if (is_mail)
        send_mail(&sending, task, trouble);
    else
        send_webhook(&sending, task, trouble);
    if (sending.handle != NULL)
        sending.curl.easy_cleanup(sending.handle);
    sending.curl.slist_free_all(sending.list);
    curl_library_close(&sending.curl);
}

/* ---- programs ---- */

/* "NAME=VALUE" of a member of the note, for programs that are too small for JSON. */
static char *variable(const json_t *note, const char *name, const char *key)
{
    const char *value = json_string_value(json_object_get(note, key));
    size_t size = strlen(name) + strlen(value != NULL ? value : "") + 2;
    char *out = memory_new(size);
    snprintf(out, size, "%s=%s", name, value != NULL ? value : "");
    return out;
}

/* The note on its standard input: it fits in a pipe. */
static bool put_on_stdin(struct text note)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return false;
    bool is_put = fcntl(ends[1], F_SETPIPE_SZ, 65536) >= 0 && sys_write_all(ends[1], note) == OK &&
                  dup2(ends[0], STDIN_FILENO) >= 0;
    fd_close(&ends[0]);
    fd_close(&ends[1]);
    return is_put;
}

static void become_program(const struct notify_task *task, char trouble[NOTIFY_TROUBLE_SIZE])
{
    const struct site_receiver *receiver = task->receiver;
    json_t *note = json_loadb(task->note.data, task->note.len, 0, NULL);
    char path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    char *environment[] = { path,
                            variable(note, "TRILITH_SITE", "site"),
                            variable(note, "TRILITH_STATUS", "status"),
                            variable(note, "TRILITH_ALERT", "alert"),
                            variable(note, "TRILITH_ELEMENT", "element"),
                            variable(note, "TRILITH_SEVERITY", "severity"),
                            variable(note, "TRILITH_SUMMARY", "summary"),
                            NULL };
    char **arguments = memory_new_array(receiver->argument_count + 1, sizeof(*arguments));
    json_decref(note);
    for (size_t i = 0; i < receiver->argument_count; i++) {
        arguments[i] = memory_new(receiver->arguments[i].len + 1);
        memcpy(arguments[i], receiver->arguments[i].data, receiver->arguments[i].len);
    }
    if (put_on_stdin(task->note))
        execve(arguments[0], arguments, environment);
    snprintf(trouble, NOTIFY_TROUBLE_SIZE, "cannot run '%.150s': %s", arguments[0],
             strerror(errno));
}

void notify_send(const struct notify_task *task, char trouble[NOTIFY_TROUBLE_SIZE])
{
    trouble[0] = '\0';
    switch (task->receiver->kind) {
    case RECEIVER_WEBHOOK:
    case RECEIVER_MAIL:
        send_by_curl(task, trouble);
        return;
    case RECEIVER_COMMAND:
        become_program(task, trouble);
        return;
    }
}
