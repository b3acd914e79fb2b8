/* Answers of a CA; see answers.h. */
#include "acme/answers.h"

#include "core/clock.h"
#include "core/memory.h"

#include <jansson.h>
#include <stdio.h>

enum { RETRY_MOST_S = 86400 };

/* ---- members ---- */

static bool is_graphic(const char *text)
{
    for (; *text != '\0'; text++)
        if (*text <= ' ' || *text > '~' || *text == '"' || *text == '\\')
            return false;
    return true;
}

static bool copy(char *out, size_t size, const char *text)
{
    size_t len = strlen(text);
    if (len >= size)
        return false;
    memcpy(out, text, len + 1);
    return true;
}

static bool is_url(const char *text)
{
    return text_starts_with(text_of(text), T("https://")) && strlen(text) >= sizeof("https://") &&
           is_graphic(text);
}

static enum err take_url(const json_t *from, const char *name, char out[ACME_URL_SIZE],
                         struct why *why)
{
    const char *value = json_string_value(json_object_get(from, name));
    if (value == NULL || !is_url(value) || !copy(out, ACME_URL_SIZE, value))
        return fail(why, ERR_PROTOCOL, "the answer of the CA has no good URL '%s'", name);
    return OK;
}

static json_t *read_object(struct text json, struct why *why)
{
    json_t *root =
        json.len > 0 ? json_loadb(json.data, json.len, JSON_REJECT_DUPLICATES, NULL) : NULL;
    if (json_is_object(root))
        return root;
    json_decref(root);
    (void)fail(why, ERR_SYNTAX, "the answer of the CA is no JSON object");
    return NULL;
}

/* Words of a CA, for people: what cannot be shown becomes a blank. */
static void show(char *out, size_t size, const char *text)
{
    size_t len = 0;
    for (; text != NULL && *text != '\0' && len + 1 < size; text++)
        out[len++] = *text >= ' ' && *text <= '~' ? *text : ' ';
    out[len] = '\0';
}

/* "detail (type)", with the detail of the first of several problems. */
static void describe(const json_t *problem, char out[ACME_REASON_SIZE])
{
    static const char prefix[] = "urn:ietf:params:acme:error:";
    const json_t *first = json_array_get(json_object_get(problem, "subproblems"), 0);
    const char *detail = json_string_value(json_object_get(problem, "detail"));
    const char *more = json_string_value(json_object_get(first, "detail"));
    const char *type = json_string_value(json_object_get(problem, "type"));
    struct buffer text = buffer_of(4096);
    if (type != NULL && text_starts_with(text_of(type), T("urn:ietf:params:acme:error:")))
        type += sizeof(prefix) - 1;
    buffer_print(&text, "%.200s", detail != NULL ? detail : "");
    if (more != NULL)
        buffer_print(&text, ": %.200s", more);
    if (type != NULL)
        buffer_print(&text, " (%.60s)", type);
    buffer_append_byte(&text, '\0');
    show(out, ACME_REASON_SIZE, text.failed ? "" : text.data);
    buffer_done(&text);
}

static bool take_status(const json_t *from, enum acme_status *out)
{
    static const struct {
        const char *word;
        enum acme_status status;
    } words[] = { { "pending", ACME_PENDING },       { "ready", ACME_READY },
                  { "processing", ACME_PROCESSING }, { "valid", ACME_VALID },
                  { "invalid", ACME_INVALID },       { "deactivated", ACME_INVALID },
                  { "expired", ACME_INVALID },       { "revoked", ACME_INVALID } };
    const char *value = json_string_value(json_object_get(from, "status"));
    for (size_t i = 0; value != NULL && i < COUNT(words); i++) {
        if (strcmp(value, words[i].word) == 0) {
            *out = words[i].status;
            return true;
        }
    }
    return false;
}

/* ---- the directory ---- */

enum err acme_directory_parse(struct text json, struct acme_directory *out, struct why *why)
{
    struct acme_directory directory = { 0 };
    json_t *root = read_object(json, why);
    if (root == NULL)
        return ERR_SYNTAX;
    enum err err = take_url(root, "newNonce", directory.new_nonce, why);
    if (err == OK)
        err = take_url(root, "newAccount", directory.new_account, why);
    if (err == OK)
        err = take_url(root, "newOrder", directory.new_order, why);
    directory.needs_binding =
        json_is_true(json_object_get(json_object_get(root, "meta"), "externalAccountRequired"));
    json_decref(root);
    if (err == OK)
        *out = directory;
    return err;
}

/* ---- orders ---- */

static enum err take_authorizations(const json_t *list, struct acme_order *order, struct why *why)
{
    size_t count = json_array_size(list);
    if (count == 0 || count > ACME_NAMES_LIMIT)
        return fail(why, ERR_PROTOCOL, "the CA's order has %zu authorizations", count);
    order->authorizations = memory_new_array(count, sizeof(*order->authorizations));
    for (size_t i = 0; i < count; i++) {
        const char *url = json_string_value(json_array_get(list, i));
        if (url == NULL || !is_url(url) || !copy(order->authorizations[i], ACME_URL_SIZE, url))
            return fail(why, ERR_PROTOCOL, "an authorization of the CA's order is no good URL");
        order->authorization_count++;
    }
    return OK;
}

enum err acme_order_parse(struct text json, struct acme_order *out, struct why *why)
{
    struct acme_order order = { 0 };
    json_t *root = read_object(json, why);
    if (root == NULL)
        return ERR_SYNTAX;
    enum err err = take_status(root, &order.status)
                       ? OK
                       : fail(why, ERR_PROTOCOL, "the CA's order has no known status");
    if (err == OK)
        err = take_authorizations(json_object_get(root, "authorizations"), &order, why);
    if (err == OK)
        err = take_url(root, "finalize", order.finalize, why);
    if (err == OK && json_object_get(root, "certificate") != NULL)
        err = take_url(root, "certificate", order.certificate, why);
    if (json_is_object(json_object_get(root, "error")))
        describe(json_object_get(root, "error"), order.reason);
    json_decref(root);
    if (err != OK) {
        acme_order_done(&order);
        return err;
    }
    *out = order;
    return OK;
}

void acme_order_done(struct acme_order *order)
{
    memory_free(order->authorizations);
    order->authorizations = NULL;
    order->authorization_count = 0;
}

/* ---- authorizations ---- */

static enum err take_challenge(const json_t *challenge, struct acme_authorization *out,
                               struct why *why)
{
    const char *token = json_string_value(json_object_get(challenge, "token"));
    if (token == NULL || !challenges_is_token(text_of(token)) ||
        !copy(out->token, sizeof(out->token), token))
        return fail(why, ERR_PROTOCOL, "a challenge of the CA has no good token");
    if (json_is_object(json_object_get(challenge, "error")))
        describe(json_object_get(challenge, "error"), out->reason);
    out->has_challenge = true;
    return take_url(challenge, "url", out->url, why);
}

enum err acme_authorization_parse(struct text json, const char *type,
                                  struct acme_authorization *out, struct why *why)
{
    struct acme_authorization result = { 0 };
    json_t *root = read_object(json, why);
    if (root == NULL)
        return ERR_SYNTAX;
    const json_t *list = json_object_get(root, "challenges"), *challenge;
    const char *name =
        json_string_value(json_object_get(json_object_get(root, "identifier"), "value"));
    enum err err = OK;
    size_t i;
    if (!take_status(root, &result.status) || result.status == ACME_READY)
        err = fail(why, ERR_PROTOCOL, "the CA's authorization has no known status");
    else if (name == NULL || !is_graphic(name) || !copy(result.name, sizeof(result.name), name))
        err = fail(why, ERR_PROTOCOL, "the CA's authorization has no name");
    json_array_foreach(list, i, challenge)
    {
        const char *its_type = json_string_value(json_object_get(challenge, "type"));
        if (err == OK && its_type != NULL && strcmp(its_type, type) == 0) {
            err = take_challenge(challenge, &result, why);
            break;
        }
    }
    json_decref(root);
    if (err == OK)
        *out = result;
    return err;
}

/* ---- problems ---- */

void acme_problem_parse(struct text json, int64_t http_status, struct acme_problem *out)
{
    static const char prefix[] = "urn:ietf:params:acme:error:";
    json_t *root = read_object(json, NULL);
    const char *type = json_string_value(json_object_get(root, "type"));
    *out = (struct acme_problem){ 0 };
    if (type != NULL && text_starts_with(text_of(type), T("urn:ietf:params:acme:error:")))
        show(out->type, sizeof(out->type), type + sizeof(prefix) - 1);
    if (root != NULL)
        describe(root, out->reason);
    if (out->reason[0] == '\0')
        snprintf(out->reason, sizeof(out->reason), "HTTP status %lld", (long long)http_status);
    json_decref(root);
}

/* ---- heads ---- */

static bool take_value(struct text line, struct text name, struct text *value_out)
{
    if (line.len <= name.len || line.data[name.len] != ':' ||
        !text_equal_fold(text_part(line, 0, name.len), name))
        return false;
    *value_out = text_trim(text_skip(line, name.len + 1));
    return true;
}

static int64_t retry_after(struct text value, int64_t now_s)
{
    uint64_t seconds;
    int64_t at_s = clock_parse_http(value.data, value.len);
    int64_t after_s = text_to_uint(value, RETRY_MOST_S, &seconds) ? (int64_t)seconds : at_s - now_s;
    if (after_s <= 0)
        return 0;
    return after_s < RETRY_MOST_S ? after_s : RETRY_MOST_S;
}

void acme_head_read(struct text line, int64_t now_s, struct acme_head *head)
{
    struct text value;
    char text[ACME_URL_SIZE];
    while (line.len > 0 && (line.data[line.len - 1] == '\n' || line.data[line.len - 1] == '\r'))
        line.len--;
    if (take_value(line, T("Retry-After"), &value))
        head->retry_after_s = retry_after(value, now_s);
    else if (take_value(line, T("Replay-Nonce"), &value) && challenges_is_token(value))
        text_copy_to(value, head->nonce, sizeof(head->nonce));
    else if (take_value(line, T("Location"), &value) && text_copy_to(value, text, sizeof(text)) &&
             is_url(text))
        memcpy(head->location, text, sizeof(text));
}
