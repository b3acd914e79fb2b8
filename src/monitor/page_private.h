#ifndef MONITOR_PAGE_PRIVATE_H
#define MONITOR_PAGE_PRIVATE_H

/* Private to page*.c. */

#include "metrics/metrics.h"
#include "monitor/page.h"

struct stream_listener;

struct page {
    struct process *self;
    struct loop *loop;
    struct api *api;
    struct page_files *files;
    struct session_keys keys;
    struct http_handler handler;
    struct http_config config;
    struct http_server *server;
    struct stream_listener *listener;
};

/* Answers with a file of the page: "index.html", "page.js"... False: there is none of that name. */
struct page_files *page_files_new(void);
void page_files_free(struct page_files *files); /* accepts NULL */
bool page_files_answer(const struct page_files *files, struct http_exchange *exchange,
                       struct text name);

/* The login page; complaint: a sentence, or empty. */
void page_files_door(struct http_exchange *exchange, int status, struct text complaint);

/* A handler's start(). */
void page_start(struct http_handler *handler, struct http_exchange *exchange);

#endif
