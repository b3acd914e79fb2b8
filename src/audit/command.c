/*
 * `trilith audit`: the file, the options, what is printed.
 */
#include "audit/audit.h"
#include "audit/report.h"
#include "audit/say.h"

#include "core/clock.h"
#include "core/memory.h"

#include <getopt.h>
#include <stdio.h>
#include <unistd.h>

const char audit_usage[] =
    "Usage: trilith audit SITE [--order N] [--fail high|medium|low] [--json]\n"
    "\n"
    "Name the weaknesses of a site\n"
    "\n"
    "What fails when one, two or three things fail (servers; racks and data centres\n"
    "where the file names them), how much of the time each journey of a visitor is\n"
    "expected to work, and what is open, unencrypted, unwatched or promised too much:\n"
    "each with its line, what it means and what to write. Nothing has to run.\n"
    "\n"
    "Options:\n"
    "  --order N         Look for sets of up to N failures, 1 to 3. Default: 3, of more\n"
    "                    than 100 servers 2.\n"
    "  --fail SEVERITY   Exit status 1 when there is a finding as bad as that or worse\n"
    "                    that the file does not bear (`audit: { accept: [ID] }`).\n"
    "  -h, --help        Show this help.\n"
    "  --json            Print JSON, for programs.\n"
    "\n"
    "Examples:\n"
    "  trilith audit examples/1-distributed.yaml\n"
    "  trilith audit site.yaml --fail high\n"
    "  trilith audit site.yaml --json | jq '.findings[] | .id'\n";

enum { MANY_SERVERS = 100, OUTPUT_LIMIT = 64 << 20 };

struct audit_options {
    const char *path;
    size_t order; /* 0: by the size of the site */
    int fail;     /* enum severity; -1: never */
    bool json, help;
};

static bool read_severity(const char *word, int *out)
{
    for (int i = SEVERITY_LOW; i <= SEVERITY_HIGH; i++) {
        if (strcmp(word, finding_severity((enum severity)i)) != 0)
            continue;
        *out = i;
        return true;
    }
    return false;
}

static bool read_order(const char *word, size_t *out)
{
    uint64_t number;
    if (!text_to_uint(text_of(word), CUT_ORDER, &number) || number == 0)
        return false;
    *out = number;
    return true;
}

/* NULL: good; else what is wrong. */
static const char *read_options(int count, char **words, struct audit_options *options)
{
    static const struct option long_options[] = { { "order", required_argument, NULL, 'o' },
                                                  { "fail", required_argument, NULL, 'f' },
                                                  { "json", no_argument, NULL, 'j' },
                                                  { "help", no_argument, NULL, 'h' },
                                                  { 0 } };
    int letter;
    *options = (struct audit_options){ .fail = -1 };
    opterr = 0;
    optind = 0;
    while ((letter = getopt_long(count, words, "h", long_options, NULL)) != -1) {
        if (letter == 'o' && !read_order(optarg, &options->order))
            return "--order takes 1, 2 or 3";
        if (letter == 'f' && !read_severity(optarg, &options->fail))
            return "--fail takes high, medium or low";
        if (letter == '?')
            return "unknown option";
        options->json = options->json || letter == 'j';
        options->help = options->help || letter == 'h';
    }
    if (options->help)
        return NULL;
    if (optind + 1 != count)
        return "one SITE is needed: a site file";
    options->path = words[optind];
    return NULL;
}

static int print_audit(const struct audit *audit, const struct audit_options *options)
{
    struct buffer out AUTO(buffer_done) = buffer_of(OUTPUT_LIMIT);
    if (options->json)
        report_json(audit, options->path, &out);
    else
        report_text(audit, options->path, say_has_colour(STDOUT_FILENO), &out);
    bool is_bad = !say(&out);
    for (size_t i = 0; i < audit->finding_count && options->fail >= 0; i++)
        is_bad = is_bad || (!audit->findings[i].is_accepted &&
                            (int)audit->findings[i].severity >= options->fail);
    return is_bad ? SAY_FAILED : SAY_OK;
}

static int run(const struct site *site, const struct audit_options *options)
{
    struct arena *arena = arena_new(MODEL_ARENA, 1 << 16);
    struct audit *audit = NULL;
    size_t order = options->order;
    if (order == 0)
        order = site->server_count > MANY_SERVERS ? 2 : CUT_ORDER;
    int status = SAY_FAILED;
    if (audit_make(site, arena, order, &audit) == OK) {
        find_files(audit, clock_wall_ms() / 1000);
        status = print_audit(audit, options);
    } else {
        fprintf(stderr,
                "trilith audit: the site is too large for its sets of %zu failures; try "
                "--order 1\n",
                order);
    }
    arena_free(arena);
    return status;
}

int audit_command(int count, char **words)
{
    struct audit_options options;
    struct site *site;
    char **all = say_words("audit", count, words);
    const char *problem = read_options(count + 1, all, &options);
    memory_free(all);
    if (problem != NULL)
        return say_usage("audit", problem);
    if (options.help)
        return fputs(audit_usage, stdout) < 0 ? SAY_FAILED : SAY_OK;
    site = say_site(options.path);
    if (site == NULL)
        return SAY_FAILED;
    int status = run(site, &options);
    site_free(site);
    return status;
}
