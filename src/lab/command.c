/*
 * `trilith lab ...`: what the user types and sees. Everything but `up` and `ls` is a question to
 * the holder over its control socket.
 */
#include "lab/lab.h"
#include "lab/ask.h"
#include "lab/lab_private.h"

#include "core/sys.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

const char lab_usage[] =
    "Usage: trilith lab up SITE [--state DIR] [--port PORT] [--quiet] [--json]\n"
    "       trilith lab ls\n"
    "       trilith lab status [--json]\n"
    "       trilith lab exec MACHINE -- COMMAND...\n"
    "       trilith lab sh MACHINE\n"
    "       trilith lab link MACHINE [delay=20ms] [loss=1%] [rate=10mbit]\n"
    "       trilith lab partition MACHINE,...  MACHINE,...\n"
    "       trilith lab heal\n"
    "       trilith lab logs MACHINE\n"
    "       trilith lab capture MACHINE [FILTER...] [> FILE.pcap]\n"
    "       trilith lab kill|stop|start|pause|resume|cut|heal MACHINE\n"
    "       trilith lab down\n"
    "\n"
    "Run the whole topology of a site on this machine\n"
    "\n"
    "Each server is a network namespace with its own address that runs what would run\n"
    "in production; 'client' plays the internet. Nothing of it is visible on the\n"
    "machine itself, and nothing is left when the lab ends. The databases and logs of\n"
    "a lab stay in its folder (--state, lab/SITE) for the next time.\n"
    "\n"
    "Options:\n"
    "  --lab NAME     Which lab, when several run (default: the only one).\n"
    "  --state DIR    Where labs keep what stays.\n"
    "  --port PORT    Port of the door on 127.0.0.1 (default: 8080, or a free one).\n"
    "  -h, --help     Show this help.\n"
    "  --quiet        Print nothing but errors.\n"
    "  --json         Print for programs.\n"
    "\n"
    "Examples:\n"
    "  trilith lab up site.yaml\n"
    "  trilith lab exec client -- curl http://www.foobar.com/\n"
    "  trilith lab kill web-01; trilith lab status; trilith lab start web-01\n"
    "  trilith lab link web-02 delay=20ms loss=1%\n"
    "  trilith lab partition web-01,client web-02; trilith lab heal\n";

/* What stands behind the machine's name is somebody else's. */
static bool takes_words(const char *subcommand)
{
    return strcmp(subcommand, "exec") == 0 || strcmp(subcommand, "capture") == 0;
}

static bool read_options(int count, char **words, struct lab_options *options)
{
    static const struct option long_options[] = {
        { "lab", required_argument, NULL, 'l' },  { "state", required_argument, NULL, 's' },
        { "port", required_argument, NULL, 'p' }, { "quiet", no_argument, NULL, 'q' },
        { "json", no_argument, NULL, 'j' },       { 0 }
    };
    int letter;
    uint64_t port;
    *options = (struct lab_options){ .port = -1 };
    opterr = 0;
    optind = 0;
    while ((letter = getopt_long(count, words, takes_words(words[0]) ? "+" : "", long_options,
                                 NULL)) != -1) {
        if (letter == 'l')
            options->lab = optarg;
        else if (letter == 's')
            options->state = optarg;
        else if (letter == 'q')
            options->quiet = true;
        else if (letter == 'j')
            options->json = true;
        else if (letter == 'p' && text_to_uint(text_of(optarg), 65535, &port))
            options->port = (int)port;
        else
            return false;
    }
    if (takes_words(words[0]) && optind + 1 < count && strcmp(words[optind + 1], "--") == 0) {
        words[optind + 1] = words[optind]; /* exec MACHINE -- COMMAND */
        optind++;
    }
    options->arguments = words + optind;
    options->argument_count = count - optind;
    return true;
}

static int usage(const char *problem)
{
    fprintf(stderr, "trilith lab: %s; see: trilith lab --help\n", problem);
    return LAB_USAGE;
}

struct subcommand {
    const char *name;
    int least, most;
    int (*run)(const char *name, const struct lab_options *options);
};

static const struct subcommand subcommands[] = {
    { "up", 1, 1, lab_up },
    { "ls", 0, 0, lab_ls },
    { "status", 0, 0, lab_status },
    { "exec", 2, 9999, lab_exec },
    { "sh", 1, 1, lab_sh },
    { "down", 0, 0, lab_down },
    { "kill", 1, 1, lab_tell },
    { "stop", 1, 1, lab_tell },
    { "start", 1, 1, lab_tell },
    { "pause", 1, 1, lab_tell },
    { "resume", 1, 1, lab_tell },
    { "cut", 1, 1, lab_tell },
    { "heal", 0, 1, lab_tell },
    { "link", 1, 4, lab_tell },
    { "partition", 2, 2, lab_tell },
    { "logs", 1, 1, lab_logs },
    { "capture", 1, 9999, lab_capture },
};

int lab_command(int count, char **words)
{
    struct lab_options options;
    char problem[128];
    if (count < 1)
        return usage("a command is missing");
    if (strcmp(words[0], "--help") == 0 || strcmp(words[0], "-h") == 0 ||
        strcmp(words[0], "help") == 0)
        return sys_write_all(STDOUT_FILENO, text_of(lab_usage)) == OK ? 0 : LAB_FAILED;
    for (size_t i = 0; i < COUNT(subcommands); i++) {
        const struct subcommand *at = &subcommands[i];
        if (strcmp(at->name, words[0]) != 0)
            continue;
        if (!read_options(count, words, &options))
            return usage("an option is not known or lacks its value");
        if (options.argument_count < at->least || options.argument_count > at->most)
            return usage(options.argument_count < at->least ? "an argument is missing"
                                                            : "there are too many arguments");
        return at->run(at->name, &options);
    }
    snprintf(problem, sizeof(problem), "there is no command '%.60s'", words[0]);
    return usage(problem);
}
