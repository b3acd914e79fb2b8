#ifndef DATABASE_SQL_REPLY_H
#define DATABASE_SQL_REPLY_H

/*
 * Reads the answer to one command while it passes through: finds where it ends and what it says of
 * the session, without looking into rows and without holding them. Pure: bytes in, bytes out; may
 * be cut anywhere.
 *
 *   FIRST ─ OK, ERR ──────────────────────────► done
 *     │ └── 0xfb ─► the client sends a file ──► LAST (OK, ERR)
 *     └─ number of columns ─► COLUMNS ─► [EOF] ─► ROWS ─ EOF, OK, ERR ─► done, or FIRST with "more"
 */

#include "database/sql_packet.h"

enum sql_reply_kind {
    SQL_REPLY_QUERY,   /* OK, ERR, a file is wanted, or results */
    SQL_REPLY_PREPARE, /* of COM_STMT_PREPARE */
    SQL_REPLY_FIELDS,  /* columns up to an EOF: COM_FIELD_LIST */
    SQL_REPLY_ROWS,    /* rows up to an EOF: COM_STMT_FETCH */
    SQL_REPLY_LINE,    /* one packet, whatever it is: COM_STATISTICS */
    SQL_REPLY_SHORT,   /* one OK, EOF or ERR */
};

struct sql_reply {
    /* what came of it */
    bool is_done;
    bool wants_file;  /* the client has to send a file; sql_reply_go_on when it did */
    bool is_bad;      /* what came cannot be an answer: the connection is of no use */
    bool has_status;  /* status and warnings are those of the last OK or EOF */
    bool has_changed; /* something that is not named changed in the session */
    bool has_schema;
    char schema[256]; /* the default database now, when has_schema */
    uint16_t status;
    uint16_t error; /* number of the ERR that ended it, 0: none */
    uint64_t insert_id;
    struct sql_gtid gtid; /* of what was written; sequence 0: not told */
    uint32_t statement;   /* PREPARE: the server's number of it */
    uint16_t parameters;  /* PREPARE */
    uint64_t packets;     /* whole ones so far */
    bool asks_cursor;     /* set after begin: the command asks for one, so rows may come later */
    /* private */
    uint64_t capabilities; /* of the connection to the server */
    uint64_t client;       /* of the client */
    uint32_t show_as;      /* PREPARE: what the client gets as the statement's number */
    enum sql_reply_kind kind;
    uint8_t step;
    bool is_continued;    /* the packet goes on in the next one */
    uint64_t columns;     /* definitions still to come */
    uint32_t definitions; /* PREPARE: of columns, behind those of parameters */
    size_t skip;          /* bytes of the packet that pass unread */
    size_t length;        /* of its body */
    struct buffer held;   /* a packet that has to be seen whole and is cut */
};

/* Begins the next answer; memory of the last one is used again. capabilities: agreed with the
 * server; client: agreed with the client, which gets no session changes when it did not ask. */
void sql_reply_begin(struct sql_reply *reply, enum sql_reply_kind kind, uint64_t capabilities,
                     uint64_t client);
void sql_reply_done(struct sql_reply *reply); /* frees */

/* Reads on and appends to out (NULL: nobody) what the client gets. Returns how many bytes of data
 * were used: less than all only when the answer is done, wants a file, or is bad. */
size_t sql_reply_read(struct sql_reply *reply, struct text data, struct buffer *out);

/* The client has sent its file: the last OK or ERR follows. */
void sql_reply_go_on(struct sql_reply *reply);

#endif
