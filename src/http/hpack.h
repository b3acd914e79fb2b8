#ifndef HTTP_HPACK_H
#define HTTP_HPACK_H

/*
 * HPACK (RFC 7541): header fields of HTTP/2 as bytes. Pure: no I/O, no clock.
 *
 *   block ── hpack_decode, field by field ──► names and values
 *   names and values ── hpack_encode ──► block
 *
 * Each direction of a connection has a table of fields that both sides keep in step; it holds no
 * memory before its first field and nothing is allocated for fields that fit into what it has.
 */

#include "core/buffer.h"

enum {
    HPACK_TABLE_BYTES = 4096,   /* the initial size of a table (RFC 9113 6.5.2); we use no other */
    HPACK_STRING_BYTES = 65536, /* of a name or value as it is sent; longer ones are refused */
    HPACK_FIELD_MOST = 16,      /* what hpack_encode may add to a name and its value */
    HPACK_BEGIN_MOST = 12,      /* what hpack_encode_begin writes */
    HPACK_STATUS_MOST = 8,
};

/* ---- the table (2.3) ---- */

struct hpack_entry {
    uint32_t at;   /* private: in the bytes that were ever put into the table */
    uint32_t hash; /* of name and value, for the encoder */
    uint16_t name_len;
    uint16_t value_len;
};

struct hpack_table { /* all private */
    struct hpack_entry *entries;
    char *bytes; /* names and values, oldest first, without gaps */
    uint32_t base;
    uint32_t start;
    uint32_t end;
    uint32_t capacity;
    uint32_t entry_capacity; /* a power of two */
    uint32_t first;
    uint32_t count;
    uint32_t size;  /* as RFC 7541 4.1 counts it */
    uint32_t limit; /* of size */
};

struct hpack_field {
    struct text name;
    struct text value;
};

void hpack_table_init(struct hpack_table *table);
void hpack_table_done(struct hpack_table *table);
/* Evicts what does not fit any more. At most HPACK_TABLE_BYTES. */
void hpack_table_resize(struct hpack_table *table, uint32_t limit);
/* As the newest; what is too large empties the table (4.4). Neither text may be in the table. */
void hpack_table_add(struct hpack_table *table, struct text name, struct text value, uint32_t hash);
/* index: of the whole index space (2.3.3), 1 is the first. False: there is none. Valid until the
 * next add. */
bool hpack_table_get(const struct hpack_table *table, uint32_t index, struct hpack_field *out);

/* ---- Huffman (5.2) ---- */

size_t hpack_huffman_len(struct text plain);
/* Room for hpack_huffman_len bytes. Returns the end. */
char *hpack_huffman_encode(struct text plain, char *at);
/* Room for 8/5 of the input. Returns the length, -1: no valid code, or wrong padding. */
ssize_t hpack_huffman_decode(struct text coded, char *out);

/* ---- decoding ---- */

struct hpack_decoder {
    struct hpack_table table;
    bool may_resize; /* private: no field of the block yet (4.2) */
};

enum hpack_state {
    HPACK_MORE,  /* nothing is left, or not all of a field: *input begins with it */
    HPACK_FIELD, /* *out holds one */
    HPACK_BAD,   /* COMPRESSION_ERROR: the table is out of step */
};

void hpack_decoder_init(struct hpack_decoder *decoder);
void hpack_decoder_done(struct hpack_decoder *decoder);
/* A block begins. */
void hpack_decode_begin(struct hpack_decoder *decoder);
/* Takes a field from the front of *input. Its texts are valid until the next call, as long as the
 * input and `scratch` are; scratch may be shared by decoders and needs a limit of at least five
 * times HPACK_STRING_BYTES. What the block holds is not checked in any way. */
enum hpack_state hpack_decode(struct hpack_decoder *decoder, struct text *input,
                              struct buffer *scratch, struct hpack_field *out);

/* ---- encoding ---- */

struct hpack_encoder {
    struct hpack_table table;
    uint32_t changes;    /* of the table, ever: while it stays the same, so does every block */
    uint32_t least;      /* private: the smallest limit since the last block ... */
    uint32_t limit;      /* ... and the last one */
    bool has_new_limits; /* private */
};

/* Whether a field may go into the table. */
enum hpack_use {
    HPACK_KEEP,  /* it will come again */
    HPACK_PASS,  /* it differs from answer to answer */
    HPACK_NEVER, /* a secret: nobody on the way may keep it either (7.1.3) */
};

void hpack_encoder_init(struct hpack_encoder *encoder);
void hpack_encoder_done(struct hpack_encoder *encoder);
/* The peer's SETTINGS_HEADER_TABLE_SIZE; what is over ours is not used. */
void hpack_encoder_limit(struct hpack_encoder *encoder, uint32_t bytes);
/* A block begins: room for HPACK_BEGIN_MOST bytes. Returns the end, as all of these do. */
char *hpack_encode_begin(struct hpack_encoder *encoder, char *at);
/* ":status", 100 to 999: room for HPACK_STATUS_MOST bytes. */
char *hpack_encode_status(struct hpack_encoder *encoder, char *at, int status);
/* The name in lower case: room for both texts and HPACK_FIELD_MOST bytes. */
char *hpack_encode(struct hpack_encoder *encoder, char *at, struct text name, struct text value,
                   enum hpack_use use);

#endif
