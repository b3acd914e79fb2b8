/*
 * A load of TLS 1.3 handshakes: handshakes PORT SECONDS new|resume CLIENTS PATH
 *
 * Each client connects, asks for PATH once, reads to the end and comes again: with a new session,
 * or with the ticket that it was given last. Prints one line of JSON. bench/tls.py compiles it.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { CLIENTS_LIMIT = 64, BYTES = 65536, SAMPLES = 100000 };

struct result {
    int64_t done, resumed, errors;
    size_t samples;
    float ms[SAMPLES];
};

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int keep_session(SSL *ssl, SSL_SESSION *session)
{
    SSL_SESSION **place = SSL_get_app_data(ssl);
    SSL_SESSION_free(*place);
    *place = session;
    return 1;
}

static bool ask(SSL *ssl, const char *path)
{
    char request[512], answer[BYTES];
    int total = 0, got;
    int len =
        snprintf(request, sizeof(request),
                 "GET %s HTTP/1.1\r\nHost: www.foobar.com\r\nConnection: close\r\n\r\n", path);
    bool is_good = false;
    if (SSL_connect(ssl) != 1 || SSL_write(ssl, request, len) != len)
        return false;
    while ((got = SSL_read(ssl, answer, sizeof(answer))) > 0) {
        if (total == 0)
            is_good = got > 12 && memcmp(answer + 9, "200", 3) == 0;
        total += got;
    }
    return is_good;
}

static bool once(SSL_CTX *settings, const struct sockaddr_in *address, const char *path,
                 bool resumes, SSL_SESSION **session, struct result *result)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    SSL *ssl = SSL_new(settings);
    double began = now_s();
    SSL_set_app_data(ssl, session);
    SSL_set_tlsext_host_name(ssl, "www.foobar.com");
    SSL_set_fd(ssl, fd);
    if (resumes && *session != NULL)
        SSL_set_session(ssl, *session);
    bool is_good =
        connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 && ask(ssl, path);
    if (is_good && SSL_session_reused(ssl) == 1)
        result->resumed++;
    if (is_good && result->samples < SAMPLES)
        result->ms[result->samples++] = (float)((now_s() - began) * 1000);
    SSL_set_shutdown(ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(ssl);
    close(fd);
    return is_good;
}

static void run(const struct sockaddr_in *address, double seconds, bool resumes, const char *path,
                struct result *result)
{
    SSL_CTX *settings = SSL_CTX_new(TLS_client_method());
    SSL_SESSION *session = NULL;
    double end = now_s() + seconds;
    SSL_CTX_set_min_proto_version(settings, TLS1_3_VERSION);
    SSL_CTX_set1_groups_list(settings, "X25519");
    SSL_CTX_set_ciphersuites(settings, "TLS_AES_128_GCM_SHA256");
    SSL_CTX_set_session_cache_mode(settings,
                                   SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL_STORE);
    SSL_CTX_sess_set_new_cb(settings, keep_session);
    while (now_s() < end) {
        if (once(settings, address, path, resumes, &session, result))
            result->done++;
        else
            result->errors++;
    }
}

static int compare(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void report(struct result *results, int clients)
{
    static float ms[CLIENTS_LIMIT * 4096];
    struct result sum = { 0 };
    size_t count = 0;
    for (int i = 0; i < clients; i++) {
        sum.done += results[i].done;
        sum.resumed += results[i].resumed;
        sum.errors += results[i].errors;
        for (size_t j = 0; j < results[i].samples && j < 4096; j++)
            ms[count++] = results[i].ms[j];
    }
    qsort(ms, count, sizeof(*ms), compare);
    printf("{\"done\": %lld, \"resumed\": %lld, \"errors\": %lld, \"p50_ms\": %.3f, "
           "\"p99_ms\": %.3f}\n",
           (long long)sum.done, (long long)sum.resumed, (long long)sum.errors,
           count > 0 ? ms[count / 2] : 0, count > 0 ? ms[count * 99 / 100] : 0);
}

int main(int count, char **words)
{
    if (count != 6)
        return 2;
    int clients = (int)strtol(words[4], NULL, 10);
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)strtol(words[1], NULL, 10)),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    if (clients < 1 || clients > CLIENTS_LIMIT)
        return 2;
    struct result *results = mmap(NULL, sizeof(*results) * (size_t)clients, PROT_READ | PROT_WRITE,
                                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    signal(SIGPIPE, SIG_IGN);
    for (int i = 0; i < clients; i++) {
        if (fork() != 0)
            continue;
        run(&address, strtod(words[2], NULL), strcmp(words[3], "resume") == 0, words[5],
            &results[i]);
        _exit(0);
    }
    while (wait(NULL) > 0)
        continue;
    report(results, clients);
    return 0;
}
