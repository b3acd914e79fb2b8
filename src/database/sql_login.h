#ifndef DATABASE_SQL_LOGIN_H
#define DATABASE_SQL_LOGIN_H

/*
 * The beginning of a connection of the MySQL/MariaDB protocol, both sides of it: greeting, login,
 * change of user, and the answer to a challenge by mysql_native_password. Pure.
 *
 *   server ── greeting (version, challenge) ──► client
 *   client ── login (user, answer, database, character set) ──►
 *   server ── OK, ERR, or "use this method instead" (AuthSwitch) with another challenge
 */

#include "database/sql_packet.h"

#define SQL_NATIVE "mysql_native_password"

struct sql_greeting {
    char version[64];
    uint32_t thread;
    uint64_t capabilities;
    char challenge[SQL_SCRAMBLE];
    uint8_t collation;
    uint16_t status;
};

/* The body of a server's first packet. False: not one that we can talk to. */
bool sql_greeting_read(struct text body, struct sql_greeting *greeting_out);
void sql_greeting_write(struct buffer *out, const struct sql_greeting *greeting);

struct sql_login { /* texts are slices of the packet */
    uint64_t capabilities;
    uint16_t collation;
    struct text user;
    struct text answer; /* to the challenge */
    struct text schema;
    struct text plugin; /* method of the answer; empty: native */
    struct text attributes;
    bool wants_tls; /* no more than that was said; TLS should begin now */
};

/* The body of a client's first packet. */
bool sql_login_read(struct text body, struct sql_login *login_out);
/* What comes before the login where it is to be encrypted; capabilities as in the login. */
void sql_login_write_tls(struct buffer *out, uint64_t capabilities, uint16_t collation,
                         uint8_t sequence);
void sql_login_write(struct buffer *out, const struct sql_login *login, uint8_t sequence);

/* The body of COM_CHANGE_USER, command byte included; capabilities are those of the connection. */
bool sql_change_user_read(struct text body, uint64_t capabilities, struct sql_login *login_out);
void sql_change_user_write(struct buffer *out, const struct sql_login *login);

/* "Answer this challenge by mysql_native_password." */
void sql_switch_write(struct buffer *out, const char challenge[SQL_SCRAMBLE], uint8_t sequence);
/* False: another method, or no challenge of the right length. */
bool sql_switch_read(struct text body, char challenge_out[SQL_SCRAMBLE]);

/* The answer to a challenge; empty for an empty password. */
struct text sql_native_answer(struct text password, const char challenge[SQL_SCRAMBLE],
                              char out[SQL_SCRAMBLE]);

/* Does the answer show that the client knows the password? Takes the same time for every answer. */
bool sql_native_check(struct text password, const char challenge[SQL_SCRAMBLE], struct text answer);

#endif
