#ifndef MONITOR_SESSION_H
#define MONITOR_SESSION_H

/*
 * Who may see the page. There is one secret, the token: 64 hex digits in secrets/monitor-token of
 * the site's state folder (0600). Who shows it gets a cookie, which names an end and a number and
 * is signed with the token: the monitor keeps nothing of it, so a login outlives its restart, and a
 * new token ends all of them. Pure but for the random number.
 *
 *   trilith-page-XXXXXXXX=END.NUMBER.SIGNATURE     XXXXXXXX: of the token, as cookies of all
 *                                                  ports of a host are one collection
 */

#include "core/text.h"

enum {
    SESSION_TOKEN_LEN = 64,
    SESSION_SECONDS = 12 * 3600, /* a login lasts that long after the page was last opened */
    SESSION_NUMBER_LEN = 16,
    SESSION_NAME_SIZE = 32,
    SESSION_COOKIE_SIZE = 256,
    SESSION_ENDED_LIMIT = 256, /* logouts that are remembered; the oldest is forgotten first */
};

struct session_keys {
    char token[SESSION_TOKEN_LEN + 1];
    char name[SESSION_NAME_SIZE]; /* of the cookie */
    struct session_ended {
        char number[SESSION_NUMBER_LEN + 1];
        int64_t end_s;
    } ended[SESSION_ENDED_LIMIT]; /* logged out before their end */
    size_t ended_next;
};

/* What a good cookie says. */
struct session {
    char number[SESSION_NUMBER_LEN + 1];
    int64_t end_s; /* wall clock */
};

/* Whether it has the form of a token. */
bool session_token_is_valid(struct text token);

/* For this token, which is valid. What was logged out stays so when it is the same. */
void session_use(struct session_keys *keys, struct text token);

/* Compares in constant time. */
bool session_token_is_right(const struct session_keys *keys, struct text shown);

/* A new one. */
void session_start(struct session *session_out, int64_t now_s);

/* Value for Set-Cookie. is_secure: only over TLS. */
void session_write_cookie(const struct session_keys *keys, const struct session *session,
                          int64_t now_s, bool is_secure, char out[SESSION_COOKIE_SIZE]);

/* Value for Set-Cookie that makes the browser forget it. */
void session_write_no_cookie(const struct session_keys *keys, char out[SESSION_COOKIE_SIZE]);

/* From the value of a Cookie header: false when there is none that is ours, whole and in time. */
bool session_read(const struct session_keys *keys, struct text cookies, int64_t now_s,
                  struct session *session_out);

/* It counts no more. */
void session_end(struct session_keys *keys, const struct session *session);

#endif
