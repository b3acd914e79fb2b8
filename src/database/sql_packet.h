#ifndef DATABASE_SQL_PACKET_H
#define DATABASE_SQL_PACKET_H

/*
 * The MySQL/MariaDB client protocol on the wire: numbers, packets and the small answers (OK, ERR,
 * EOF). Pure. Every packet is a length of 3 bytes (little-endian), a sequence number and the body;
 * a body of SQL_PACKET_MOST bytes goes on in the next packet. A text of "length-encoded" form has a
 * number of 1 to 9 bytes in front.
 */

#include "core/buffer.h"
#include "core/reader.h"

enum {
    SQL_HEAD = 4,
    SQL_PACKET_MOST = 0xffffff,
    SQL_SCRAMBLE = 20, /* bytes of a challenge, and of the answer to it */
};

enum sql_command {
    SQL_COM_QUIT = 1,
    SQL_COM_INIT_DB,
    SQL_COM_QUERY,
    SQL_COM_FIELD_LIST,
    SQL_COM_STATISTICS = 9,
    SQL_COM_PROCESS_INFO = 10,
    SQL_COM_PROCESS_KILL = 12,
    SQL_COM_DEBUG,
    SQL_COM_PING,
    SQL_COM_CHANGE_USER = 17,
    SQL_COM_STMT_PREPARE = 22,
    SQL_COM_STMT_EXECUTE,
    SQL_COM_STMT_SEND_LONG_DATA,
    SQL_COM_STMT_CLOSE,
    SQL_COM_STMT_RESET,
    SQL_COM_SET_OPTION,
    SQL_COM_STMT_FETCH,
    SQL_COM_RESET_CONNECTION = 31,
    SQL_COM_STMT_BULK_EXECUTE = 250, /* MariaDB */
};

/* Capabilities: the low 32 bits as in MySQL (but bit 0), MariaDB's own from bit 32 on. */
#define SQL_CLIENT_MYSQL (1ULL << 0) /* not set: a MariaDB with extended capabilities */
#define SQL_FOUND_ROWS_CHANGED (1ULL << 1)
#define SQL_LONG_FLAG (1ULL << 2)
#define SQL_CONNECT_WITH_DB (1ULL << 3)
#define SQL_NO_SCHEMA (1ULL << 4)
#define SQL_COMPRESS (1ULL << 5)
#define SQL_ODBC (1ULL << 6)
#define SQL_LOCAL_FILES (1ULL << 7)
#define SQL_IGNORE_SPACE (1ULL << 8)
#define SQL_PROTOCOL_41 (1ULL << 9)
#define SQL_INTERACTIVE (1ULL << 10)
#define SQL_TLS (1ULL << 11)
#define SQL_TRANSACTIONS (1ULL << 13)
#define SQL_SECURE_CONNECTION (1ULL << 15)
#define SQL_MULTI_STATEMENTS (1ULL << 16)
#define SQL_MULTI_RESULTS (1ULL << 17)
#define SQL_PS_MULTI_RESULTS (1ULL << 18)
#define SQL_PLUGIN_AUTH (1ULL << 19)
#define SQL_CONNECT_ATTRS (1ULL << 20)
#define SQL_AUTH_LENENC (1ULL << 21)
#define SQL_SESSION_TRACK (1ULL << 23)
#define SQL_DEPRECATE_EOF (1ULL << 24)
#define SQL_PROGRESS (1ULL << 32)
#define SQL_BULK_OPERATIONS (1ULL << 34)
#define SQL_EXTENDED_METADATA (1ULL << 35)
#define SQL_CACHE_METADATA (1ULL << 36)

enum { /* server status, in OK and EOF packets */
       SQL_STATUS_IN_TRANSACTION = 0x0001,
       SQL_STATUS_AUTOCOMMIT = 0x0002,
       SQL_STATUS_MORE_RESULTS = 0x0008,
       SQL_STATUS_CURSOR_EXISTS = 0x0040,
       SQL_STATUS_LAST_ROW_SENT = 0x0080,
       SQL_STATUS_NO_BACKSLASH_ESCAPES = 0x0200,
       SQL_STATUS_READ_ONLY_TRANSACTION = 0x2000,
       SQL_STATUS_STATE_CHANGED = 0x4000,
       SQL_STATUS_ANSI_QUOTES = 0x8000,
};

/* ---- reading ---- */

/* The next 1 to 8 bytes as a little-endian number. */
uint64_t sql_read_number(struct reader *reader, size_t bytes);

/* A number of 1, 3, 4 or 9 bytes; 0xfb and 0xff are no numbers: reader->bad. */
uint64_t sql_read_length(struct reader *reader);

/* A length and as many bytes. */
struct text sql_read_text(struct reader *reader);

/* Up to a NUL, which is taken too; bad without one. */
struct text sql_read_string(struct reader *reader);

/* Length of the body that a head of SQL_HEAD bytes announces. */
static inline size_t sql_packet_length(const char *head)
{
    const uint8_t *bytes = (const uint8_t *)head;
    return (size_t)bytes[0] | (size_t)bytes[1] << 8 | (size_t)bytes[2] << 16;
}

struct sql_gtid { /* of the last transaction: domain-server-sequence */
    uint32_t domain;
    uint32_t server;
    uint64_t sequence; /* 0: none */
};

/* "0-1-69719"; false when it is none. */
bool sql_gtid_read(struct text text, struct sql_gtid *gtid_out);

struct sql_ok {
    uint64_t insert_id;
    uint16_t status;
    uint16_t warnings;
    size_t tracked_at; /* where the session's changes begin in the body; its length when none */
    bool has_schema;
    struct text schema; /* the new default database, when has_schema */
    struct sql_gtid gtid;
    bool has_changed; /* "state changed": of something that is not named */
};

/* The body of an OK packet (first byte 0x00 or 0xfe). False: malformed. */
bool sql_ok_read(struct text body, uint64_t capabilities, struct sql_ok *ok_out);

/* The status of an EOF packet of 5 bytes, 0 when it is none. */
uint16_t sql_eof_status(struct text body);

/* Number of an ERR packet; 0 when it is none. */
uint16_t sql_error_code(struct text body);

/* ---- writing ---- */

void sql_put(struct buffer *out, uint64_t number, size_t bytes);
void sql_put_length(struct buffer *out, uint64_t number);
void sql_put_text(struct buffer *out, struct text text);

/* Room for a head; the result goes to sql_packet_end, which writes it. */
size_t sql_packet_begin(struct buffer *out);
void sql_packet_end(struct buffer *out, size_t begin, uint8_t sequence);

/* One command packet (sequence 0). */
void sql_write_command(struct buffer *out, enum sql_command command, struct text argument);

void sql_write_ok(struct buffer *out, uint8_t sequence, uint16_t status);
void sql_write_error(struct buffer *out, uint8_t sequence, uint16_t code, const char *state,
                     const char *message);

#endif
