/*
 * `trilith draw`: the file, the form, what is printed.
 */
#include "audit/audit.h"
#include "audit/live.h"
#include "audit/picture.h"
#include "audit/say.h"

#include "core/memory.h"

#include <getopt.h>
#include <stdio.h>
#include <unistd.h>

const char draw_usage[] =
    "Usage: trilith draw SITE [--svg|--mermaid|--dot|--json] [--state DIR]\n"
    "\n"
    "Draw a site: its tiers, servers and who talks to whom\n"
    "\n"
    "Single points of failure and what can be read along are marked. When the site runs\n"
    "on this machine, what is up and what is down is marked, too.\n"
    "\n"
    "Options:\n"
    "  --svg          A picture for browsers.\n"
    "  --mermaid      For Mermaid (GitHub shows it in Markdown).\n"
    "  --dot          For Graphviz.\n"
    "  --json         The places on a grid, for programs.\n"
    "  --state DIR    Where the running site keeps its state.\n"
    "  -h, --help     Show this help.\n"
    "\n"
    "Examples:\n"
    "  trilith draw examples/1-distributed.yaml\n"
    "  trilith draw site.yaml --svg > site.svg\n"
    "  trilith draw site.yaml --dot | dot -Tpng > site.png\n";

enum { OUTPUT_LIMIT = 64 << 20 };

struct draw_options {
    const char *path, *state;
    int form; /* 't' 's' 'm' 'd' 'j' */
    bool help;
};

/* NULL: good; else what is wrong. */
static const char *read_options(int count, char **words, struct draw_options *options)
{
    static const struct option long_options[] = {
        { "svg", no_argument, NULL, 's' },
        { "mermaid", no_argument, NULL, 'm' },
        { "dot", no_argument, NULL, 'd' },
        { "json", no_argument, NULL, 'j' },
        { "help", no_argument, NULL, 'h' },
        { "state", required_argument, NULL, 'D' },
        { 0 },
    };
    int letter;
    *options = (struct draw_options){ .form = 't' };
    opterr = 0;
    optind = 0;
    while ((letter = getopt_long(count, words, "h", long_options, NULL)) != -1) {
        if (letter == '?')
            return "unknown option";
        if (letter == 'h')
            options->help = true;
        else if (letter == 'D')
            options->state = optarg;
        else if (options->form != 't')
            return "one form at a time";
        else
            options->form = letter;
    }
    if (options->help)
        return NULL;
    if (optind + 1 != count)
        return "one SITE is needed: a site file";
    options->path = words[optind];
    return NULL;
}

static void draw(const struct audit *audit, const struct picture *picture, int form,
                 struct buffer *out)
{
    if (form == 's')
        draw_svg(audit, picture, out);
    else if (form == 'm')
        draw_mermaid(audit, picture, out);
    else if (form == 'd')
        draw_dot(audit, picture, out);
    else if (form == 'j')
        draw_json(audit, picture, out);
    else
        draw_text(audit, picture, say_has_colour(STDOUT_FILENO), out);
}

static int run(const struct site *site, const struct draw_options *options)
{
    struct buffer out AUTO(buffer_done) = buffer_of(OUTPUT_LIMIT);
    struct arena *arena = arena_new(MODEL_ARENA, 1 << 16);
    struct audit *audit;
    struct picture picture;
    int status = SAY_FAILED;
    if (audit_make(site, arena, 1, &audit) == OK && picture_make(audit, &picture) == OK) {
        live_ask(&picture, site, options->state);
        draw(audit, &picture, options->form, &out);
        status = say(&out) ? SAY_OK : SAY_FAILED;
    } else {
        fprintf(stderr, "trilith draw: the site is too large to be drawn\n");
    }
    arena_free(arena);
    return status;
}

int draw_command(int count, char **words)
{
    struct draw_options options;
    struct site *site;
    char **all = say_words("draw", count, words);
    const char *problem = read_options(count + 1, all, &options);
    memory_free(all);
    if (problem != NULL)
        return say_usage("draw", problem);
    if (options.help)
        return fputs(draw_usage, stdout) < 0 ? SAY_FAILED : SAY_OK;
    site = say_site(options.path);
    if (site == NULL)
        return SAY_FAILED;
    int status = run(site, &options);
    site_free(site);
    return status;
}
