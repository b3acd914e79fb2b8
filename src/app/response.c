/*
 * Reads records out of a ring that somebody else writes. All arithmetic is on our own copies of
 * the positions; a position or length that cannot be is the end of it (RESPONSE_BAD).
 */
#include "app/response.h"

struct response_reader response_reader_of(struct segment_slot *slot)
{
    return (struct response_reader){ .slot = slot };
}

static enum response_item bad(struct response_reader *reader)
{
    reader->is_bad = true;
    return RESPONSE_BAD;
}

static enum response_item item_of(struct response_reader *reader, uint32_t kind, size_t bytes)
{
    switch (kind) {
    case RECORD_HEAD:
        if (reader->has_head || bytes < sizeof(struct segment_head) || bytes > SEGMENT_HEAD_LIMIT)
            return bad(reader);
        reader->has_head = true;
        return RESPONSE_HEAD;
    case RECORD_ACCEPT:
        if (reader->has_head || bytes < sizeof(struct segment_head) || bytes > SEGMENT_HEAD_LIMIT)
            return bad(reader);
        reader->has_head = reader->is_socket = true;
        return RESPONSE_ACCEPT;
    case RECORD_TEXT:
    case RECORD_BINARY:
    case RECORD_TEXT_PART:
    case RECORD_BINARY_PART:
        reader->message_kind = (enum segment_record_kind)kind;
        return reader->is_socket ? RESPONSE_MESSAGE : bad(reader);
    case RECORD_CLOSE:
        reader->has_ended = true;
        return reader->is_socket && bytes >= 2 ? RESPONSE_CLOSE : bad(reader);
    case RECORD_BODY:
        if (reader->is_socket)
            return bad(reader);
        return reader->has_head ? RESPONSE_BODY : bad(reader);
    case RECORD_FILE:
        if (reader->is_socket || bytes != sizeof(struct segment_file))
            return bad(reader);
        return reader->has_head ? RESPONSE_FILE : bad(reader);
    case RECORD_END:
        if (!reader->has_head)
            return bad(reader);
        reader->has_ended = true;
        return RESPONSE_END;
    case RECORD_ERROR:
        reader->has_ended = true;
        return RESPONSE_ERROR;
    default:
        return bad(reader);
    }
}

enum response_item response_next(struct response_reader *reader, struct text *data)
{
    *data = (struct text){ NULL, 0 };
    for (;;) {
        if (reader->is_bad)
            return RESPONSE_BAD;
        uint64_t written = atomic_load(&reader->slot->written);
        uint64_t there = written - reader->taken;
        if (there == 0 || reader->has_ended)
            return RESPONSE_NONE;
        if (there > SEGMENT_RESPONSE_BYTES || written % 8 != 0)
            return bad(reader);
        size_t at = reader->taken % SEGMENT_RESPONSE_BYTES;
        size_t to_end = SEGMENT_RESPONSE_BYTES - at;
        size_t usable = there < to_end ? (size_t)there : to_end;
        struct segment_record record;
        memcpy(&record, reader->slot->response + at, sizeof(record));
        size_t padded = sizeof(record) + ((size_t)record.bytes + 7) / 8 * 8;
        if (padded > usable)
            return bad(reader);
        reader->next = reader->taken + padded;
        if (record.kind == RECORD_SKIP) {
            response_took(reader);
            continue;
        }
        *data = text_from((const char *)reader->slot->response + at + sizeof(record), record.bytes);
        return item_of(reader, record.kind, record.bytes);
    }
}

void response_took(struct response_reader *reader)
{
    reader->taken = reader->next;
    segment_took(reader->slot, reader->taken);
    if (atomic_load(&reader->slot->wants_room) != 0 &&
        atomic_load(&reader->slot->written) - reader->taken <= SEGMENT_RESPONSE_BYTES * 3 / 4 &&
        atomic_exchange(&reader->slot->wants_room, 0) != 0)
        reader->must_knock = true;
}

struct response_head response_head_of(struct text copy)
{
    struct segment_head head;
    if (copy.len < sizeof(head))
        return (struct response_head){ .is_bad = true };
    memcpy(&head, copy.data, sizeof(head));
    bool is_bad = head.status < 200 || head.status > 599 || head.content_length < -1;
    return (struct response_head){ .status = (int)(head.status & 0xffff),
                                   .content_length = head.content_length,
                                   .headers_left = head.header_count,
                                   .rest = text_skip(copy, sizeof(head)),
                                   .is_bad = is_bad };
}

bool response_head_next(struct response_head *head, struct text *name, struct text *value)
{
    uint32_t bytes[2];
    if (head->is_bad || head->headers_left == 0)
        return false;
    head->is_bad = head->rest.len < sizeof(bytes);
    if (head->is_bad)
        return false;
    memcpy(bytes, head->rest.data, sizeof(bytes));
    struct text rest = text_skip(head->rest, sizeof(bytes));
    head->is_bad = bytes[0] > rest.len || bytes[1] > rest.len - bytes[0];
    if (head->is_bad)
        return false;
    *name = text_part(rest, 0, bytes[0]);
    *value = text_part(rest, bytes[0], bytes[1]);
    head->rest = text_skip(rest, (size_t)bytes[0] + bytes[1]);
    head->headers_left--;
    return true;
}
