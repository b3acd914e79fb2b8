/*
 * `trilith database ...`: asks the keeper of a server, which does the work (keeper.h), and prints
 * its steps as they are taken. It may be interrupted: the keeper goes on.
 */
#include "database/database.h"

#include "core/clock.h"
#include "process/peer.h"

#include <getopt.h>
#include <stdio.h>

enum { DONE = 0, FAILED = 1, USAGE = 2, NOT_RUNNING = 3, ANSWER_MS = 600000 };

const char database_usage[] =
    "Usage: trilith database switchover SERVER [--force] [--site NAME] [--state DIR] [--quiet]\n"
    "       trilith database rebuild SERVER [--site NAME] [--state DIR] [--quiet]\n"
    "\n"
    "Move the primary, fill a replica anew\n"
    "\n"
    "switchover makes SERVER the primary, in order: new statements are held, SERVER gets\n"
    "every transaction, then it takes over. No acknowledged write is lost, and clients of\n"
    "the SQL proxy see a pause at most. What fails on the way leaves the old primary.\n"
    "\n"
    "rebuild copies the data of another server of the tier to SERVER while its old data\n"
    "stays in use, and removes that only when the new replica runs.\n"
    "\n"
    "Both run on any server of the site.\n"
    "\n"
    "Options:\n"
    "  --force        The primary is lost for good, on your word: SERVER takes its place\n"
    "                 with what it has.\n"
    "  --site NAME    Which site, when several run here.\n"
    "  --state DIR    The state folder.\n"
    "  --quiet        Print nothing but errors.\n"
    "  -h, --help     Show this help.\n"
    "\n"
    "Examples:\n"
    "  trilith database switchover web-02\n"
    "  trilith database rebuild web-01\n";

struct request {
    const char *action, *server, *site, *state;
    bool is_forced, is_quiet;
};

static bool read_options(int count, char **words, struct request *request)
{
    static const struct option options[] = { { "force", no_argument, NULL, 'f' },
                                             { "site", required_argument, NULL, 'n' },
                                             { "state", required_argument, NULL, 's' },
                                             { "quiet", no_argument, NULL, 'q' },
                                             { 0 } };
    int letter;
    opterr = 0;
    optind = 0;
    while ((letter = getopt_long(count, words, "", options, NULL)) != -1) {
        if (letter == 'f')
            request->is_forced = true;
        else if (letter == 'n')
            request->site = optarg;
        else if (letter == 's')
            request->state = optarg;
        else if (letter == 'q')
            request->is_quiet = true;
        else
            return false;
    }
    request->action = words[0];
    if (count - optind != 1)
        return false;
    request->server = words[optind];
    return strcmp(request->action, "switchover") == 0 ||
           (strcmp(request->action, "rebuild") == 0 && !request->is_forced);
}

/* The folder of the only site that has a channel between servers, or of the one that was named. */
static int find_folder(const struct request *request, char *out, size_t size)
{
    struct why why = { "" };
    enum err err =
        process_find_site(request->state, request->site, "run/peer/peer.sock", out, size, &why);
    if (err == OK)
        return DONE;
    if (err == ERR_UNKNOWN)
        fprintf(stderr, "trilith database: %s\n", why.text);
    else
        fprintf(stderr,
                "trilith database: no site of several servers with a database runs here (%s)\n",
                why.text);
    return err == ERR_UNKNOWN ? USAGE : NOT_RUNNING;
}

static int print_answer(const struct request *request, struct peer_stream *stream)
{
    int64_t started_ms = clock_now_ms();
    struct peer_frame frame;
    enum err err;
    while ((err = peer_receive(stream, &frame)) == OK) {
        switch (frame.type) {
        case PEER_NOTE:
            if (!request->is_quiet)
                printf("%6lld ms  %.*s\n", (long long)(clock_now_ms() - started_ms),
                       FMT(frame.payload));
            fflush(stdout);
            break;
        case PEER_ANSWER:
            if (!request->is_quiet)
                printf("%.*s\n", FMT(frame.payload));
            return DONE;
        case PEER_REFUSAL:
            fprintf(stderr, "trilith database: %.*s\n", FMT(frame.payload));
            return FAILED;
        case PEER_COMMAND:
        case PEER_DATA:
        case PEER_END:
            break;
        }
    }
    fprintf(stderr,
            "trilith database: %s: the connection ended before it said how it went (%s): `trilith "
            "status` shows what holds now; the same command may be given again\n",
            request->server, err_text(err));
    return FAILED;
}

static int ask(const struct request *request, const char *folder)
{
    struct peer_stream stream;
    struct why why = { "" };
    char command[PEER_LINE_LIMIT];
    enum err err = peer_connect(text_of(folder), text_of(request->server), PEER_DATABASE, ANSWER_MS,
                                &stream, &why);
    if (err != OK) {
        fprintf(stderr, "trilith database: %s\n", why.text);
        return FAILED;
    }
    bool is_rebuild = strcmp(request->action, "rebuild") == 0;
    snprintf(command, sizeof(command), "%s%s%s%s", request->action, is_rebuild ? "" : " ",
             is_rebuild ? "" : request->server, request->is_forced ? " force" : "");
    if (peer_send(&stream, PEER_COMMAND, text_of(command)) != OK)
        fprintf(stderr, "trilith database: %s hung up\n", request->server);
    int status = print_answer(request, &stream);
    peer_stream_close(&stream);
    return status;
}

int database_command(int count, char **words)
{
    char folder[4096];
    struct request request = { 0 };
    if (count > 0 && (strcmp(words[0], "--help") == 0 || strcmp(words[0], "-h") == 0)) {
        fputs(database_usage, stdout);
        return DONE;
    }
    if (count == 0 || !read_options(count, words, &request)) {
        fputs(database_usage, stderr);
        return USAGE;
    }
    int status = find_folder(&request, folder, sizeof(folder));
    return status == DONE ? ask(&request, folder) : status;
}
