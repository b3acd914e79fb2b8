/*
 * A WebSocket to an ASGI application. The handshake is a call like any other (call.c) until the
 * worker accepts; from then on the edge does the frames, pings and closes, and only messages pass:
 *
 *   client ── frames ──► reader ──► ring in slot->request ──► worker
 *          ◄── frames ── look  ◄── ring in slot->response ◄──
 *
 *   opening ── accepted ──► open ──┬─ client closes, breaks the protocol, is gone ──► over
 *                                  └─ worker closes or dies ──► closing ── its answer, 5 s ──► over
 *
 * Who does not read stops the other side: a full ring to the worker stops reading from the client,
 * a client that takes nothing stops the worker. The worker is not trusted: its count of what it has
 * taken is checked against ours.
 */
#include "app/bridge_private.h"

#include "core/log.h"
#include "http/websocket.h"

enum {
    BEAT_MS = 20000, /* silence after which a ping is sent, and again until the client is lost */
    CLOSE_MS = 5000, /* for the client's part of a close */
    RECORD_BYTES = sizeof(struct segment_record),
    UNREAD_LIMIT = 1 << 20, /* a piece of input is far smaller */
};

struct socket {
    struct call *call;
    struct websocket_reader reader;
    struct buffer unread; /* of the client, while the ring to the worker is full */
    uint64_t written;     /* into that ring; the segment only tells it to the worker */
    struct loop_timer beat;
    bool is_open; /* the client has its 101 */
    bool is_closing;
    bool is_ended;   /* the client ended its side behind what is unread */
    bool was_heard;  /* since the last beat */
    bool was_pinged; /* and did not answer yet */
    bool is_in_message;
    bool is_in_text;
};

/* ---- the handshake ---- */

static bool is_wanted(const struct http_request *request)
{
    return request->is_upgrade && request->method == HTTP_GET && !request->has_body &&
           http_headers_has_token(&request->headers, FIELD_UPGRADE, T("websocket"));
}

static struct text value_of(const struct http_request *request, struct text name)
{
    const struct http_header *header = http_headers_find_name(&request->headers, name);
    return header != NULL ? header->value : T("");
}

static void add_version(struct http_filter *filter, struct http_exchange *exchange)
{
    http_response_header_name(exchange, T("Sec-WebSocket-Version"), T("13"));
}

/* RFC 6455 4.2.1 and 4.4. */
static bool is_handshake_right(struct http_exchange *exchange)
{
    const struct http_request *request = http_exchange_request(exchange);
    if (!text_equal(value_of(request, T("Sec-WebSocket-Version")), T("13"))) {
        struct http_filter *filter = ARENA_NEW(http_exchange_arena(exchange), struct http_filter);
        if (filter != NULL) {
            filter->head = add_version;
            http_filter_add(exchange, filter);
        }
        http_reply_error(exchange, 426);
        return false;
    }
    if (websocket_is_key(value_of(request, T("Sec-WebSocket-Key"))))
        return true;
    http_reply_error(exchange, 400);
    return false;
}

static void on_beat(struct loop_timer *timer);

enum socket_want socket_prepare(struct call *call)
{
    struct http_exchange *exchange = call->exchange;
    if (call->bridge->app->kind != APP_ASGI || !is_wanted(http_exchange_request(exchange)))
        return SOCKET_NOT_WANTED;
    if (!is_handshake_right(exchange))
        return SOCKET_ANSWERED;
    if (call->bridge->sockets >= call->bridge->segment.slots_per_edge * 3 / 4) {
        http_reply_error(exchange, 503); /* the rest is for requests */
        return SOCKET_ANSWERED;
    }
    struct socket *socket = ARENA_NEW(http_exchange_arena(exchange), struct socket);
    if (socket == NULL) {
        http_reply_error(exchange, 431);
        return SOCKET_ANSWERED;
    }
    *socket = (struct socket){ .call = call, .unread = buffer_of(UNREAD_LIMIT) };
    socket->reader.is_server = true;
    socket->reader.message_limit = call->bridge->app->max_message;
    loop_timer_init(&socket->beat, on_beat);
    call->socket = socket;
    return SOCKET_WANTED;
}

bool socket_is_open(const struct call *call)
{
    return call->socket != NULL && call->socket->is_open;
}

/* ---- the end ---- */

void socket_done(struct call *call)
{
    if (call->socket == NULL)
        return;
    loop_timer_stop(call->bridge->loop, &call->socket->beat);
    buffer_done(&call->socket->unread);
    call->bridge->sockets -= call->socket->is_open;
    call->socket->is_open = false;
}

/* The worker's application gets websocket.disconnect. */
static void tell_worker(struct call *call, uint16_t code)
{
    struct bridge *bridge = call->bridge;
    if (call->place < 0)
        return;
    atomic_store(&bridge_slot(bridge, call->place)->close_code, code);
    if (!segment_cancel(&bridge->segment, bridge_number(bridge, call->place), CANCEL_CLIENT))
        knock_place(bridge, call->place);
}

/* Nothing follows to either side. */
static void end(struct call *call, uint16_t code)
{
    struct http_exchange *exchange = call->exchange;
    tell_worker(call, code);
    call_let_go(call);
    http_response_send(exchange, T(""), true);
}

/* ---- to the client ---- */

static void send_frame(struct socket *socket, enum websocket_opcode opcode, bool is_final,
                       struct text data)
{
    char head[WEBSOCKET_HEAD_LIMIT];
    size_t len = websocket_write_head(head, opcode, is_final, data.len, NULL);
    http_response_send(socket->call->exchange, text_from(head, len), false);
    if (data.len > 0)
        http_response_send(socket->call->exchange, data, false);
}

static void send_close(struct socket *socket, uint16_t code, struct text reason)
{
    char data[WEBSOCKET_CONTROL_LIMIT] = { (char)(uint8_t)(code >> 8), (char)(uint8_t)code };
    if (code == WEBSOCKET_CODE_NONE) {
        send_frame(socket, WEBSOCKET_CLOSE_FRAME, true, T(""));
        return;
    }
    reason = text_part(reason, 0, sizeof(data) - 2);
    if (reason.len > 0)
        memcpy(data + 2, reason.data, reason.len);
    send_frame(socket, WEBSOCKET_CLOSE_FRAME, true, text_from(data, 2 + reason.len));
}

static void ask(struct socket *socket)
{
    http_body_read(socket->call->exchange);
}

/* The client has said all it wanted, or what nobody may say. */
static void answer_close(struct socket *socket, uint16_t code)
{
    if (!socket->is_closing)
        send_close(socket, code, T(""));
    end(socket->call, code);
}

/* While we wait for the client's close: messages are dropped. */
static void read_until_close(struct socket *socket, struct text *input)
{
    char space[4096];
    struct websocket_piece piece;
    enum websocket_event event;
    do {
        event = websocket_read(&socket->reader, input, space, sizeof(space), &piece);
        if (event == WEBSOCKET_CLOSE || event == WEBSOCKET_BAD) {
            answer_close(socket, WEBSOCKET_CODE_NORMAL);
            return;
        }
    } while (event != WEBSOCKET_MORE);
}

/* Our side is closed; the client may answer. The worker is done with it. */
static void begin_close(struct socket *socket, uint16_t code, struct text reason)
{
    struct call *call = socket->call;
    send_close(socket, websocket_is_close_code(code) ? code : WEBSOCKET_CODE_FAILED, reason);
    tell_worker(call, code);
    call_leave(call);
    socket->is_closing = true;
    struct text rest = buffer_text(&socket->unread);
    bool was_stopped = rest.len > 0;
    read_until_close(socket, &rest); /* frames must not be cut, though nobody wants them */
    if (!socket->is_open)
        return;
    buffer_clear(&socket->unread);
    loop_timer_start(call->bridge->loop, &socket->beat, CLOSE_MS);
    if (socket->is_ended)
        end(call, WEBSOCKET_CODE_LOST);
    else if (was_stopped)
        ask(socket);
}

static void on_beat(struct loop_timer *timer)
{
    struct socket *socket = list_entry(timer, struct socket, beat);
    if (socket->is_closing || (!socket->was_heard && socket->was_pinged)) {
        end(socket->call, WEBSOCKET_CODE_LOST);
        return;
    }
    if (!socket->was_heard) {
        socket->was_pinged = true;
        send_frame(socket, WEBSOCKET_PING_FRAME, true, T(""));
    }
    socket->was_heard = false;
    loop_timer_start(socket->call->bridge->loop, timer, BEAT_MS);
}

/* A message of the worker, or a part of it. False when it is not what a worker of ours writes. */
static bool pass_message(struct socket *socket, enum segment_record_kind kind, struct text data)
{
    bool is_text = kind == RECORD_TEXT || kind == RECORD_TEXT_PART;
    bool is_last = kind == RECORD_TEXT || kind == RECORD_BINARY;
    if (socket->is_in_message && socket->is_in_text != is_text)
        return false;
    enum websocket_opcode opcode = socket->is_in_message ? WEBSOCKET_CONTINUATION
                                   : is_text             ? WEBSOCKET_TEXT
                                                         : WEBSOCKET_BINARY;
    send_frame(socket, opcode, is_last, data);
    socket->is_in_message = !is_last;
    socket->is_in_text = is_text;
    return true;
}

static void pass_close(struct socket *socket, struct text shared)
{
    char data[WEBSOCKET_CONTROL_LIMIT];
    uint16_t code;
    struct text copy = text_part(shared, 0, sizeof(data));
    memcpy(data, copy.data, copy.len); /* the worker could change it meanwhile */
    memcpy(&code, data, sizeof(code));
    begin_close(socket, code, text_from(data + sizeof(code), copy.len - sizeof(code)));
}

/* ---- from the client ---- */

/* How many bytes the next record to the worker may have, at slot->request + *at; 0: none now. */
static size_t find_room(struct socket *socket, struct segment_slot *slot, size_t *at)
{
    uint64_t used = socket->written - atomic_load(&slot->in_taken);
    *at = socket->written % SEGMENT_REQUEST_BYTES;
    size_t to_end = SEGMENT_REQUEST_BYTES - *at;
    if (used > SEGMENT_REQUEST_BYTES) /* it never took more than there was */
        return 0;
    size_t room = SEGMENT_REQUEST_BYTES - (size_t)used;
    size_t usable = room < to_end ? room : to_end;
    if (usable >= 4 * RECORD_BYTES)
        return usable - RECORD_BYTES;
    if (room < to_end + 4 * RECORD_BYTES)
        return 0;
    struct segment_record skip = { .kind = RECORD_SKIP,
                                   .bytes = (uint32_t)(to_end - RECORD_BYTES) };
    memcpy(slot->request + *at, &skip, sizeof(skip));
    socket->written += to_end;
    *at = 0;
    return room - to_end - RECORD_BYTES;
}

/* The same; marks that room is wanted when there is none. */
static size_t want_room(struct socket *socket, struct segment_slot *slot, size_t *at)
{
    size_t room = find_room(socket, slot, at);
    if (room > 0)
        return room;
    atomic_store(&slot->in_waiting, 1);
    return find_room(socket, slot, at); /* it may have been made before the mark */
}

static void put_record(struct socket *socket, struct segment_slot *slot, size_t at,
                       const struct websocket_piece *piece)
{
    uint32_t kind = piece->is_text ? (piece->is_last ? RECORD_TEXT : RECORD_TEXT_PART)
                                   : (piece->is_last ? RECORD_BINARY : RECORD_BINARY_PART);
    struct segment_record record = { .kind = kind, .bytes = (uint32_t)piece->data.len };
    memcpy(slot->request + at, &record, sizeof(record));
    socket->written += sizeof(record) + (piece->data.len + 7) / 8 * 8;
    atomic_store(&slot->in_written, socket->written);
}

/* Frames of the client, as far as there is room for what they bring. The socket may be over
 * afterwards. */
static void read_frames(struct socket *socket, struct text *input)
{
    struct segment_slot *slot = bridge_slot(socket->call->bridge, socket->call->place);
    struct websocket_piece piece;
    size_t at;
    for (;;) {
        size_t room = want_room(socket, slot, &at);
        if (room == 0 || http_response_is_full(socket->call->exchange))
            return;
        char *space = (char *)slot->request + at + RECORD_BYTES;
        switch (websocket_read(&socket->reader, input, space, room, &piece)) {
        case WEBSOCKET_MORE:
            return;
        case WEBSOCKET_DATA:
            put_record(socket, slot, at, &piece);
            break;
        case WEBSOCKET_PING:
            send_frame(socket, WEBSOCKET_PONG_FRAME, true, piece.data);
            break;
        case WEBSOCKET_PONG:
            break;
        case WEBSOCKET_CLOSE:
            answer_close(socket, piece.code);
            return;
        case WEBSOCKET_BAD:
            log_info("app", "a WebSocket is closed: the client broke the protocol",
                     TEXT("app", socket->call->bridge->app->name),
                     STRING("reason", socket->reader.problem), INT("code", socket->reader.code));
            answer_close(socket, socket->reader.code);
            return;
        }
    }
}

/* What came, or what was left of it. */
static void take(struct socket *socket, struct text *input)
{
    struct call *call = socket->call;
    int place = call->place;
    uint64_t before = socket->written;
    if (socket->is_closing)
        read_until_close(socket, input);
    else
        read_frames(socket, input);
    if (socket->is_open && socket->written != before)
        knock_place(call->bridge, place);
    if (!socket->is_open)
        return;
    if (input->len == 0 && socket->is_ended)
        end(call, WEBSOCKET_CODE_LOST);
    else if (input->len == 0)
        ask(socket);
}

static void take_unread(struct socket *socket)
{
    struct text input = buffer_text(&socket->unread);
    if (input.len == 0)
        return;
    take(socket, &input);
    if (socket->is_open)
        buffer_consume(&socket->unread, socket->unread.len - input.len);
}

static void on_body(struct http_exchange *exchange, struct text data, bool is_last)
{
    struct call *call = http_exchange_state(exchange);
    struct socket *socket = call->socket;
    socket->was_heard = true;
    socket->was_pinged = false;
    socket->is_ended = is_last;
    take(socket, &data);
    if (socket->is_open && data.len > 0)
        buffer_append(&socket->unread, data);
}

/* ---- from the worker ---- */

static void fail_worker(struct socket *socket, const char *message)
{
    struct call *call = socket->call;
    metrics_add(&call->bridge->metrics->app_failures, 1);
    log_warn("app", message, TEXT("app", call->bridge->app->name),
             STRING("request", http_exchange_request(call->exchange)->id));
    begin_close(socket, WEBSOCKET_CODE_FAILED, T(""));
}

/* Passes on what there is. False when the socket is not open any more. */
static bool pass_all(struct socket *socket)
{
    struct call *call = socket->call;
    struct text data;
    while (!http_response_is_full(call->exchange)) {
        switch (response_next(&call->reader, &data)) {
        case RESPONSE_NONE:
            return true;
        case RESPONSE_MESSAGE:
            if (!pass_message(socket, call->reader.message_kind, data)) {
                fail_worker(socket, "a worker mixed two messages of a WebSocket");
                return false;
            }
            response_took(&call->reader);
            break;
        case RESPONSE_CLOSE:
            pass_close(socket, data);
            return false;
        case RESPONSE_HEAD:
        case RESPONSE_BODY:
        case RESPONSE_END:
        case RESPONSE_FILE:
        case RESPONSE_ERROR:
        case RESPONSE_ACCEPT:
        case RESPONSE_BAD:
            fail_worker(socket, "a worker broke the protocol of a WebSocket");
            return false;
        }
    }
    return true;
}

void socket_look(struct call *call)
{
    struct bridge *bridge = call->bridge;
    struct socket *socket = call->socket;
    if (socket->is_closing || call->place < 0)
        return;
    /* the state before the bytes: what a finished worker wrote is all there */
    enum slot_state state = segment_state(&bridge->segment, bridge_number(bridge, call->place));
    if (!pass_all(socket))
        return;
    if (call->reader.must_knock) {
        call->reader.must_knock = false;
        knock_place(bridge, call->place);
    }
    if (http_response_is_full(call->exchange)) /* the rest when the client has taken this */
        return;
    if (state == SLOT_FAILED)
        fail_worker(socket, "a worker died that had a WebSocket");
    else if (state == SLOT_DONE || state == SLOT_FREE)
        begin_close(socket, WEBSOCKET_CODE_FAILED, T(""));
    else
        take_unread(socket);
}

static void on_drained(struct http_exchange *exchange)
{
    struct call *call = http_exchange_state(exchange);
    socket_look(call);
}

static void on_aborted(struct http_exchange *exchange)
{
    struct call *call = http_exchange_state(exchange);
    tell_worker(call, WEBSOCKET_CODE_LOST);
    call_let_go(call);
}

static const struct http_exchange_events events = {
    .body = on_body,
    .drained = on_drained,
    .aborted = on_aborted,
};

/* ---- accepted ---- */

static bool is_ours(struct text name)
{
    return text_equal_fold(text_part(name, 0, 14), T("sec-websocket-")) &&
           !text_equal_fold(name, T("sec-websocket-protocol"));
}

/* The worker's headers and ours. */
static bool send_head(struct call *call, struct text shared)
{
    struct bridge *bridge = call->bridge;
    struct http_exchange *exchange = call->exchange;
    const struct http_request *request = http_exchange_request(exchange);
    char accept[WEBSOCKET_ACCEPT_SIZE];
    struct text name, value;
    memcpy(bridge->head, shared.data, shared.len);
    struct response_head head = response_head_of(text_from(bridge->head, shared.len));
    if (head.is_bad)
        return false;
    websocket_accept_key(value_of(request, T("Sec-WebSocket-Key")), accept);
    http_response_start(exchange, 101, -1);
    http_response_header(exchange, FIELD_UPGRADE, T("websocket"));
    http_response_header_name(exchange, T("Sec-WebSocket-Accept"), text_of(accept));
    while (response_head_next(&head, &name, &value)) {
        if (!is_ours(name))
            http_response_header_name(exchange, name, value);
    }
    return !head.is_bad;
}

bool socket_accept(struct call *call, struct text head)
{
    struct socket *socket = call->socket;
    if (socket == NULL || socket->is_open || !send_head(call, head))
        return false;
    response_took(&call->reader);
    call->is_started = true;
    call_note(call); /* the handshake is what took time, not the life of the connection */
    loop_timer_stop(call->bridge->loop, &call->deadline);
    socket->is_open = true;
    call->bridge->sockets++;
    http_exchange_attach(call->exchange, &events, call);
    http_response_send(call->exchange, T(""), false);
    loop_timer_start(call->bridge->loop, &socket->beat, BEAT_MS);
    ask(socket);
    return true;
}
