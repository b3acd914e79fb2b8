/* `trilith firewall ...`: asks the process `firewall` of this server and prints what it says. */
#include "firewall/firewall.h"

#include "core/clock.h"
#include "core/memory.h"
#include "firewall/kernel.h"
#include "firewall/talk.h"

#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <unistd.h>

enum { DONE = 0, FAILED = 1, USAGE = 2, NOT_RUNNING = 3, DEFAULT_BAN_S = 3600 };

const char firewall_usage[] =
    "Usage: trilith firewall show|list|verify [--json] [--site NAME] [--state DIR]\n"
    "       trilith firewall ban ADDRESS [--for TIME] [--because TEXT] [--site NAME] ...\n"
    "       trilith firewall unban ADDRESS [--site NAME] [--state DIR]\n"
    "       trilith firewall clear\n"
    "\n"
    "Look at the packet filter, shut clients out\n"
    "\n"
    "show prints what is open at this server, for whom and why, how often it was used, and\n"
    "who was refused. verify lets every server try every port of all others and holds what\n"
    "it finds against the site file. ban shuts an address out at all servers of the site (of\n"
    "IPv6 its /64), connections that are open included; list prints who is. clear takes the\n"
    "rules away that stay when a site was stopped.\n"
    "\n"
    "Options:\n"
    "  --for TIME      How long a ban lasts: 90s, 10m (default: 1h), 7d.\n"
    "  --because TEXT  Why, for those who read the list.\n"
    "  --json          For programs.\n"
    "  --site NAME     Which site, when several run here.\n"
    "  --state DIR     The state folder.\n"
    "  -h, --help      Show this help.\n"
    "\n"
    "Examples:\n"
    "  trilith firewall show\n"
    "  trilith firewall ban 192.0.2.66 --for 1d --because 'tries passwords'\n"
    "  trilith lab exec web-01 -- trilith firewall verify\n";

struct request {
    const char *action, *who, *site, *state, *why;
    struct text time;
    bool is_json;
};

static const struct action {
    const char *name;
    int words;
    int64_t timeout_ms;
} actions[] = {
    { "show", 0, TALK_MS },       { "list", 0, TALK_MS },  { "verify", 0, TALK_VERIFY_MS },
    { "ban", 1, TALK_VERIFY_MS }, { "clear", 0, TALK_MS }, { "unban", 1, TALK_VERIFY_MS },
};

static const struct action *find_action(const char *name)
{
    for (size_t i = 0; i < COUNT(actions); i++)
        if (strcmp(actions[i].name, name) == 0)
            return &actions[i];
    return NULL;
}

static bool read_options(int count, char **words, struct request *request)
{
    static const struct option options[] = {
        { "for", required_argument, NULL, 'f' },   { "because", required_argument, NULL, 'b' },
        { "json", no_argument, NULL, 'j' },        { "site", required_argument, NULL, 'n' },
        { "state", required_argument, NULL, 's' }, { 0 }
    };
    int letter;
    opterr = 0;
    optind = 0;
    while ((letter = getopt_long(count, words, "", options, NULL)) != -1) {
        if (letter == 'f')
            request->time = text_of(optarg);
        else if (letter == 'b')
            request->why = optarg;
        else if (letter == 'j')
            request->is_json = true;
        else if (letter == 'n')
            request->site = optarg;
        else if (letter == 's')
            request->state = optarg;
        else
            return false;
    }
    const struct action *action = find_action(words[0]);
    if (action == NULL || count - optind != action->words)
        return false;
    request->action = words[0];
    request->who = action->words > 0 ? words[optind] : NULL;
    bool is_ban = strcmp(request->action, "ban") == 0;
    return is_ban || (request->time.len == 0 && request->why == NULL);
}

/* ---- printing ---- */

static const char *word(const json_t *object, const char *name)
{
    const char *value = json_string_value(json_object_get(object, name));
    return value != NULL ? value : "";
}

static long long number(const json_t *object, const char *name)
{
    return (long long)json_integer_value(json_object_get(object, name));
}

static void print_ways(const json_t *answer)
{
    json_t *way;
    size_t index;
    printf("%-4s %-10s %-24s %-26s %8s  %s\n", "", "PORT", "WAY", "WHO", "USED", "WHY");
    json_array_foreach(json_object_get(answer, "ways"), index, way)
    {
        char port[32], place[32] = "";
        snprintf(port, sizeof(port), "%lld/%s", number(way, "port"), word(way, "protocol"));
        if (number(way, "line") > 0)
            snprintf(place, sizeof(place), " (line %lld)", number(way, "line"));
        printf("%-4s %-10s %-24s %-26s %8lld  %s%s\n", word(way, "direction"), port,
               word(way, "name"), word(way, "who"), number(way, "count"), word(way, "why"), place);
    }
}

static void print_refused(const json_t *answer)
{
    enum { SHOWN = 20 };
    json_t *item;
    size_t index;
    const json_t *list = json_object_get(answer, "refused");
    if (json_array_size(list) == 0)
        return;
    printf("\nRefused in the last hour:\n");
    json_array_foreach(list, index, item)
    {
        const json_t *port = json_object_get(item, "port");
        char name[32];
        if (index == SHOWN) {
            printf("  ... and %zu more (--json)\n", json_array_size(list) - SHOWN);
            break;
        }
        snprintf(name, sizeof(name), "%lld", (long long)json_integer_value(port));
        printf("  %-4s %-40s %s/%s %lld packets\n", word(item, "direction"), word(item, "address"),
               json_is_integer(port) ? name : word(item, "port"), word(item, "protocol"),
               number(item, "packets"));
    }
}

static void print_show(const json_t *answer)
{
    printf("%s: firewall %s, rules %s\n\n", word(answer, "server"),
           strcmp(word(answer, "mode"), "audit") == 0 ? "audit (nothing is dropped)" : "enforced",
           word(answer, "state"));
    print_ways(answer);
    printf("\nPackets refused: %lld in, %lld out; over the limits: %lld; of banned addresses: %lld "
           "(%lld banned now)\n",
           number(answer, "dropped_in"), number(answer, "dropped_out"), number(answer, "limited"),
           number(answer, "banned"), number(answer, "bans"));
    print_refused(answer);
}

static void print_list(const json_t *answer)
{
    json_t *ban;
    size_t index;
    char until[CLOCK_ISO_SIZE];
    if (json_array_size(answer) == 0)
        printf("nobody is banned\n");
    json_array_foreach(answer, index, ban)
    {
        clock_format_iso(number(ban, "until") * 1000, until);
        printf("%-40s until %.19sZ  %s\n", word(ban, "address"), until, word(ban, "why"));
    }
}

static void print_verify(const json_t *answer)
{
    json_t *line;
    size_t index, good = 0, unheard = 0;
    json_array_foreach(answer, index, line)
    {
        const char *verdict = word(line, "verdict");
        good += strcmp(verdict, "as declared") == 0;
        unheard += strcmp(verdict, "nobody listens") == 0;
        if (strcmp(verdict, "as declared") != 0)
            printf("%s -> %s %lld/%s: %s\n", word(line, "from"), word(line, "to"),
                   number(line, "port"), word(line, "protocol"), verdict);
    }
    printf("%zu ways tried, %zu as the site file says, %zu open with nobody behind them\n",
           json_array_size(answer), good, unheard);
}

static void print_answer(const struct request *request, const struct buffer *data)
{
    json_t *answer = json_loadb(data->data, data->len, 0, NULL);
    if (request->is_json && data->len > 0)
        printf("%.*s\n", FMT(buffer_text(data)));
    else if (strcmp(request->action, "show") == 0)
        print_show(answer);
    else if (strcmp(request->action, "list") == 0)
        print_list(answer);
    else if (strcmp(request->action, "verify") == 0 && answer != NULL)
        print_verify(answer);
    json_decref(answer);
}

/* ---- asking ---- */

static int listen_to(const struct request *request, struct peer_stream *stream)
{
    struct buffer data AUTO(buffer_done) = buffer_of(TALK_JSON_LIMIT);
    struct peer_frame frame;
    enum err err;
    while ((err = peer_receive(stream, &frame)) == OK) {
        if (frame.type == PEER_DATA)
            buffer_append(&data, frame.payload);
        if (frame.type == PEER_NOTE && !request->is_json && isatty(STDERR_FILENO) == 1)
            fprintf(stderr, "%.*s\n", FMT(frame.payload));
        if (frame.type != PEER_ANSWER && frame.type != PEER_REFUSAL)
            continue;
        print_answer(request, &data);
        if (frame.type == PEER_REFUSAL)
            fprintf(stderr, "trilith firewall: %.*s\n", FMT(frame.payload));
        return frame.type == PEER_ANSWER ? DONE : FAILED;
    }
    fprintf(stderr, "trilith firewall: the process `firewall` hung up (%s)\n", err_text(err));
    return FAILED;
}

static bool write_words(const struct request *request, struct buffer *out)
{
    int64_t for_ms = DEFAULT_BAN_S * 1000;
    buffer_print(out, "%s", request->action);
    if (request->who == NULL)
        return true;
    buffer_print(out, " %s", request->who);
    if (strcmp(request->action, "ban") != 0)
        return true;
    if (request->time.len > 0 && (!site_parse_time(request->time, &for_ms) || for_ms < 1000))
        return false;
    buffer_print(out, " %lld %s", (long long)for_ms / 1000,
                 request->why != NULL ? request->why : "by hand");
    return !out->failed;
}

static bool is_address(const char *word_given)
{
    struct text rest = text_of(word_given);
    struct address address;
    return address_parse_ip(text_next(&rest, '/'), 0, &address) == OK;
}

static int ask(const struct request *request)
{
    char folder[4096];
    struct why why = { "" };
    struct buffer words AUTO(buffer_done) = buffer_of(TALK_WORDS_LIMIT - 1);
    if (request->who != NULL && !is_address(request->who)) {
        fprintf(stderr, "trilith firewall: '%s' is not an IP address\n", request->who);
        return USAGE;
    }
    if (!write_words(request, &words)) {
        fprintf(stderr, "trilith firewall: --for needs a time like 90s, 10m or 7d\n");
        return USAGE;
    }
    enum err err = process_find_site(request->state, request->site, PEER_FIREWALL_SOCKET, folder,
                                     sizeof(folder), &why);
    if (err == ERR_NOT_FOUND)
        fprintf(stderr, "trilith firewall: no site with a firewall runs here (%s)\n", why.text);
    else if (err != OK)
        fprintf(stderr, "trilith firewall: %s\n", why.text);
    if (err != OK)
        return err == ERR_NOT_FOUND ? NOT_RUNNING : USAGE;
    struct peer_stream *stream = NEW(struct peer_stream);
    int64_t timeout_ms = find_action(request->action)->timeout_ms;
    int status = NOT_RUNNING;
    if (peer_connect_here(text_of(folder), PEER_FIREWALL, timeout_ms, stream, &why) != OK)
        fprintf(stderr, "trilith firewall: %s\n", why.text);
    else if (peer_send(stream, PEER_COMMAND, buffer_text(&words)) != OK)
        fprintf(stderr, "trilith firewall: only root may do this\n");
    else
        status = listen_to(request, stream);
    peer_stream_close(stream);
    memory_free(stream);
    return status;
}

/* ---- clear ---- */

static int clear(const struct request *request)
{
    char folder[4096];
    struct why why = { "" };
    struct peer_stream *stream = NEW(struct peer_stream);
    bool runs = process_find_site(request->state, request->site, PEER_FIREWALL_SOCKET, folder,
                                  sizeof(folder), &why) == OK &&
                peer_connect_here(text_of(folder), PEER_FIREWALL, TALK_MS, stream, &why) == OK;
    if (runs)
        peer_stream_close(stream);
    memory_free(stream);
    if (runs) {
        fprintf(stderr, "trilith firewall: a site runs with these rules: stop it first, or remove "
                        "firewall: from its file and reload\n");
        return FAILED;
    }
    enum err err = nft_apply(T(RULES_NONE), &why);
    if (err == OK)
        return DONE;
    fprintf(stderr, "trilith firewall: %s\n", why.text);
    return FAILED;
}

int firewall_command(int count, char **words)
{
    struct request request = { 0 };
    if (count > 0 && (strcmp(words[0], "--help") == 0 || strcmp(words[0], "-h") == 0)) {
        fputs(firewall_usage, stdout);
        return DONE;
    }
    if (count == 0 || !read_options(count, words, &request)) {
        fputs(firewall_usage, stderr);
        return USAGE;
    }
    return strcmp(request.action, "clear") == 0 ? clear(&request) : ask(&request);
}
