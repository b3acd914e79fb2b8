/*
 * Fronts of layer 4 and what they share. A front belongs to a generation; when another takes its
 * place its listeners go, its connections stay, and the last of them frees it.
 */
#include "balancer/tcp_private.h"

#include "core/memory.h"
#include "metrics/metrics.h"

enum { IDLE_BUFFERS = 64 }; /* kept for the next bytes */

/* ---- buffers ---- */

struct tcp_buffer *tcp_buffer_take(struct tcp_service *service)
{
    struct tcp_buffer *buffer = service->idle;
    if (buffer != NULL) {
        service->idle = buffer->next;
        service->idle_count--;
    } else {
        buffer = memory_resize(NULL, sizeof(*buffer)); /* not zeroed: its pages come with use */
    }
    buffer->len = 0;
    return buffer;
}

void tcp_buffer_give(struct tcp_service *service, struct tcp_buffer **buffer)
{
    struct tcp_buffer *given = *buffer;
    *buffer = NULL;
    if (given == NULL)
        return;
    if (service->idle_count >= IDLE_BUFFERS) {
        memory_free(given);
        return;
    }
    given->next = service->idle;
    service->idle = given;
    service->idle_count++;
}

/* ---- fronts ---- */

static void front_free_if_done(struct tcp_front *front)
{
    if (!front->is_left || !list_is_empty(&front->connections))
        return;
    pool_stop(&front->pool);
    pool_done(&front->pool);
    list_each (at, &front->doors)
        memory_free(list_entry(at, struct tcp_door, link));
    list_remove(&front->link);
    memory_free(front->proxies);
    memory_free(front);
}

static void pool_went_down(struct pool *pool, struct target *target)
{
    (void)pool; /* what is open may still get through; the idle time ends what does not */
    (void)target;
}

static void pool_has_room(struct pool *pool)
{
    tcp_queue_serve(list_entry(pool, struct tcp_front, pool));
}

struct tcp_front *tcp_front_new(struct tcp_service *service, const struct tcp_settings *settings)
{
    static const struct pool_events events = { .down = pool_went_down, .room = pool_has_room };
    struct tcp_front *front = NEW(struct tcp_front);
    front->service = service;
    front->idle_ms = settings->idle_ms;
    front->limit = settings->limit;
    front->proxies = memory_new_array(settings->proxy_count + 1, sizeof(*front->proxies));
    front->proxy_count = settings->proxy_count;
    if (settings->proxy_count > 0)
        memcpy(front->proxies, settings->proxies, settings->proxy_count * sizeof(*front->proxies));
    list_init(&front->doors);
    list_init(&front->connections);
    list_init(&front->waiting);
    list_init(&front->link);
    list_append(&service->fronts, &front->link);
    pool_init(&front->pool, service->loop, &settings->pool, &events);
    return front;
}

static void accepted(void *owner, int fd, const struct address *peer)
{
    struct tcp_door *door = owner;
    struct tcp_service *service = door->front->service;
    service->open++;
    if (service->metrics != NULL) {
        metrics_add(&service->metrics->tcp_connections, 1);
        metrics_add(&service->metrics->tcp_open, 1);
    }
    tcp_connection_start(door, fd, peer);
}

void tcp_front_listen(struct tcp_front *front, int fd)
{
    struct tcp_door *door = NEW(struct tcp_door);
    door->front = front;
    list_init(&door->link);
    list_append(&front->doors, &door->link);
    door->listener = stream_listener_new(front->service->loop, fd, front->limit, accepted, door);
}

void tcp_front_leave(struct tcp_front *front)
{
    if (front == NULL || front->is_left)
        return;
    front->is_left = true;
    list_each (at, &front->doors) {
        struct tcp_door *door = list_entry(at, struct tcp_door, link);
        stream_listener_free(door->listener);
        door->listener = NULL;
    }
    front_free_if_done(front);
}

void tcp_connection_over(struct tcp_connection *conn)
{
    struct tcp_door *door = conn->door;
    struct tcp_front *front = door->front;
    struct tcp_service *service = front->service;
    list_remove(&conn->link);
    for (size_t i = 0; i < TCP_SIDES; i++) /* the other side's socket was sending it until now */
        tcp_buffer_give(service, &conn->sides[i].held);
    memory_free(conn->told);
    memory_free(conn);
    if (door->listener != NULL)
        stream_listener_released(door->listener);
    front_free_if_done(front);
    service->open--;
    if (service->metrics != NULL)
        metrics_add(&service->metrics->tcp_open, -1);
    if (service->open == 0 && service->drained != NULL)
        loop_defer(service->loop, &service->task);
}

/* ---- the service ---- */

static void on_task(struct loop_task *task)
{
    struct tcp_service *service = list_entry(task, struct tcp_service, task);
    void (*drained)(void *) = service->drained;
    service->drained = NULL;
    if (drained != NULL)
        drained(service->argument);
}

struct tcp_service *tcp_service_new(struct loop *loop, struct metrics *metrics, tcp_ended *ended,
                                    void *argument)
{
    struct tcp_service *service = NEW(struct tcp_service);
    service->loop = loop;
    service->metrics = metrics;
    service->ended = ended;
    service->ended_argument = argument;
    list_init(&service->fronts);
    loop_task_init(&service->task, on_task);
    if (metrics != NULL)
        metrics_set(&metrics->tcp_open, 0); /* those of a crashed process are gone */
    return service;
}

void tcp_service_free(struct tcp_service *service)
{
    if (service == NULL)
        return;
    loop_task_cancel(&service->task);
    while (service->idle != NULL) {
        struct tcp_buffer *buffer = service->idle;
        service->idle = buffer->next;
        memory_free(buffer);
    }
    memory_free(service);
}

size_t tcp_service_open(const struct tcp_service *service)
{
    return service->open;
}

void tcp_service_drain(struct tcp_service *service, void (*drained)(void *), void *argument)
{
    service->drained = drained;
    service->argument = argument;
    if (service->open == 0)
        loop_defer(service->loop, &service->task);
}

void tcp_service_cut(struct tcp_service *service)
{
    list_each (at, &service->fronts) {
        struct tcp_front *front = list_entry(at, struct tcp_front, link);
        list_each (item, &front->connections)
            tcp_abort(list_entry(item, struct tcp_connection, link), "the process ends");
    }
}
