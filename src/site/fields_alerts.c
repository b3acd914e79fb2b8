/*
 * The section alerts of monitor: receivers, the limits of the rules that are always there, and the
 * file's own rules.
 */
#include "site/field.h"

#include <math.h>
#include <stdlib.h>

enum { URL_LIMIT = 2000, NUMBER_LIMIT = 24, HTTP = 80, HTTPS = 443, SMTP = 25, SMTPS = 465 };

const char *const alerts_defaults[] = {
    "server-silent", "disk-full",           "memory-full", "process-restarts", "database-down",
    "no-database",   "replication-stopped", "replica-lag", "backend-down",     "errors",
    "latency",       "certificate-ends",    NULL,
};

/* ---- URLs ---- */

struct scheme {
    const char *prefix;
    int64_t port;
};

static bool is_graphic(struct text text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.data[i] <= ' ' || text.data[i] > '~' || text.data[i] == '"' ||
            text.data[i] == '\\')
            return false;
    return text.len > 0 && text.len <= URL_LIMIT;
}

/* "HOST", "HOST:PORT" or "[IP]:PORT" in front of a path. */
static bool read_authority(struct text rest, struct site_receiver *receiver)
{
    uint64_t port;
    size_t end = 0;
    while (end < rest.len && strchr("/?#", rest.data[end]) == NULL)
        end++;
    struct text host = text_part(rest, 0, end), number = { NULL, 0 };
    ssize_t at = text_find(host, '@');
    if (at >= 0) /* a password belongs into a file */
        return false;
    ssize_t bracket = text_find(host, ']'),
            colon = text_find(text_skip(host, bracket > 0 ? (size_t)bracket : 0), ':');
    if (colon >= 0) {
        size_t from = (size_t)colon + (bracket > 0 ? (size_t)bracket : 0);
        number = text_skip(host, from + 1);
        host = text_part(host, 0, from);
        if (!text_to_uint(number, 65535, &port) || port == 0)
            return false;
        receiver->port = (int64_t)port;
    }
    if (host.len > 2 && host.data[0] == '[' && host.data[host.len - 1] == ']')
        host = text_part(host, 1, host.len - 2);
    receiver->host = host;
    return host.len > 0 && host.len <= 253;
}

static bool read_url(struct text value, const struct scheme *schemes, size_t count,
                     struct site_receiver *receiver)
{
    for (size_t i = 0; i < count && is_graphic(value); i++) {
        struct text prefix = text_of(schemes[i].prefix);
        if (!text_starts_with(value, prefix))
            continue;
        receiver->url = value;
        receiver->port = schemes[i].port;
        return read_authority(text_skip(value, prefix.len), receiver);
    }
    return false;
}

/* ---- receivers ---- */

static struct site_receiver *add_receiver(struct reading *reading, const struct node *node,
                                          const struct path *path, struct site_alerts *alerts,
                                          enum site_receiver_kind kind)
{
    if (alerts->receiver_count == ALERTS_RECEIVERS) {
        mistakes_add(reading->mistakes, node->place, path, "at most %d receivers",
                     ALERTS_RECEIVERS);
        return NULL;
    }
    struct site_receiver *receiver =
        append_item(reading->arena, &alerts->receivers, &alerts->receiver_count, sizeof(*receiver));
    *receiver = (struct site_receiver){ .kind = kind, .place = node->place };
    return receiver;
}

static void add_webhook(struct reading *reading, const struct node *node, const struct path *path,
                        struct site_alerts *alerts)
{
    static const struct scheme schemes[] = { { "https://", HTTPS }, { "http://", HTTP } };
    struct text value;
    if (!value_text(reading, node, path, &value))
        return;
    struct site_receiver *receiver = add_receiver(reading, node, path, alerts, RECEIVER_WEBHOOK);
    if (receiver != NULL && !read_url(value, schemes, COUNT(schemes), receiver))
        mistakes_add(reading->mistakes, node->place, path,
                     "must be a URL without a password, like https://ops.example.com/hook");
}

static void read_webhook(struct reading *reading, const struct node *node, const struct path *path,
                         void *section)
{
    size_t index = 0;
    if (node->kind != NODE_LIST) {
        add_webhook(reading, node, path, section);
        return;
    }
    for (const struct node_entry *entry = node->first; entry != NULL; entry = entry->next) {
        struct path item = { path, { NULL, 0 }, index++ };
        add_webhook(reading, entry->value, &item, section);
    }
}

static void read_alert_command(struct reading *reading, const struct node *node,
                               const struct path *path, void *section)
{
    struct site_receiver *receiver = add_receiver(reading, node, path, section, RECEIVER_COMMAND);
    if (receiver == NULL ||
        !read_words(reading, node, path, &receiver->arguments, &receiver->argument_count))
        return;
    if (receiver->argument_count == 0 || !text_starts_with(receiver->arguments[0], T("/")))
        mistakes_add(reading->mistakes, node->place, path,
                     "must be a program with its whole path, like [/usr/local/bin/page, web]");
}

/* ---- mail ---- */

enum { EMAIL_LIMIT = 254 };

static bool is_mail_address(struct text value)
{
    ssize_t at = text_find(value, '@');
    bool is_good =
        at > 0 && (size_t)at + 1 < value.len && value.len <= EMAIL_LIMIT && is_graphic(value);
    return is_good && text_find(value, '<') < 0 && text_find(value, '>') < 0;
}

static void check_mail_address(struct reading *reading, const struct node *node,
                               const struct path *path, struct text value)
{
    if (!is_mail_address(value))
        mistakes_add(reading->mistakes, node->place, path,
                     "must be a mail address, like ops@example.com");
}

static void add_to(struct reading *reading, const struct node *node, const struct path *path,
                   struct site_receiver *receiver)
{
    struct text value;
    if (!value_text(reading, node, path, &value))
        return;
    check_mail_address(reading, node, path, value);
    struct text *place =
        append_item(reading->arena, &receiver->to, &receiver->to_count, sizeof(*place));
    *place = value;
}

static void read_to(struct reading *reading, const struct node *node, const struct path *path,
                    void *section)
{
    size_t index = 0;
    if (node->kind != NODE_LIST) {
        add_to(reading, node, path, section);
        return;
    }
    for (const struct node_entry *entry = node->first; entry != NULL; entry = entry->next) {
        struct path item = { path, { NULL, 0 }, index++ };
        add_to(reading, entry->value, &item, section);
    }
}

static void read_server(struct reading *reading, const struct node *node, const struct path *path,
                        void *section)
{
    static const struct scheme schemes[] = { { "smtp://", SMTP }, { "smtps://", SMTPS } };
    struct site_receiver *receiver = section;
    struct text value;
    if (value_text(reading, node, path, &value) &&
        !read_url(value, schemes, COUNT(schemes), receiver))
        mistakes_add(reading->mistakes, node->place, path,
                     "must be smtp://HOST:PORT, or smtps:// where it is encrypted from the start");
}

#define LIST_OR_TEXT                                                                               \
    "{\"oneOf\":[{\"type\":\"string\"},{\"type\":\"array\",\"minItems\":1,"                        \
    "\"items\":{\"type\":\"string\"}}]}"

static const struct field mail_rows[] = {
    { .name = "to",
      .kind = FIELD_OWN,
      .read = read_to,
      .is_required = true,
      .form = "mail address, or a list of them",
      .schema = LIST_OR_TEXT,
      .example = "ops@example.com",
      .help = "Who gets a mail." },
    { .name = "server",
      .kind = FIELD_OWN,
      .read = read_server,
      .is_required = true,
      .form = "smtp://HOST:PORT or smtps://HOST:PORT",
      .schema = "{\"type\":\"string\"}",
      .example = "smtp://mail.example.com:587",
      .help = "The mail server that takes them. With `smtp://` it is encrypted when the server "
              "offers that, and has to be when there is a `user`." },
    { .name = "from",
      .kind = FIELD_TEXT,
      .offset = AT(struct site_receiver, from, struct text),
      .check = check_mail_address,
      .otherwise = "trilith@ the site's name",
      .form = "mail address",
      .example = "trilith@example.com",
      .help = "The sender." },
    { .name = "user",
      .kind = FIELD_TEXT,
      .offset = AT(struct site_receiver, user, struct text),
      .otherwise = "no login",
      .form = "text",
      .example = "trilith",
      .help = "Name for the mail server." },
    { .name = "password-file",
      .kind = FIELD_FILE,
      .offset = AT(struct site_receiver, password_file, struct text),
      .otherwise = "none",
      .example = "/etc/trilith/mail-password",
      .help = "File with the password for the mail server." },
};
const struct fields alert_mail_fields = { mail_rows, COUNT(mail_rows) };

static void read_mail(struct reading *reading, const struct node *node, const struct path *path,
                      void *section)
{
    struct site_receiver *receiver = add_receiver(reading, node, path, section, RECEIVER_MAIL);
    if (receiver == NULL)
        return;
    fields_read(reading, node, path, &alert_mail_fields, receiver);
    if (text_is_empty(receiver->user) != text_is_empty(receiver->password_file))
        mistakes_add(reading->mistakes, node->place, path,
                     "`user` and `password-file` belong together: give both or none");
}

/* ---- defaults that are not wanted ---- */

static void add_off(struct reading *reading, const struct node *node, const struct path *path,
                    struct site_alerts *alerts)
{
    struct text value, names[ALERTS_RULES];
    char word[SHOWN_SIZE];
    size_t count = 0;
    if (!value_text(reading, node, path, &value))
        return;
    for (; alerts_defaults[count] != NULL; count++) {
        names[count] = text_of(alerts_defaults[count]);
        if (!text_equal(value, names[count]))
            continue;
        struct text *place =
            append_item(reading->arena, &alerts->off, &alerts->off_count, sizeof(*place));
        *place = value;
        return;
    }
    struct text near = nearest(value, names, count);
    if (text_is_empty(near))
        mistakes_add(reading->mistakes, node->place, path,
                     "'%s' is none of the alerts that are always there, which are server-silent, "
                     "disk-full, memory-full, process-restarts, database-down, no-database, "
                     "replication-stopped, replica-lag, backend-down, errors, latency, "
                     "certificate-ends",
                     shown(value, word));
    else
        mistakes_add(reading->mistakes, node->place, path,
                     "'%s' is none of the alerts that are always there, did you mean '%.*s'?",
                     shown(value, word), FMT(near));
}

static void read_off(struct reading *reading, const struct node *node, const struct path *path,
                     void *section)
{
    size_t index = 0;
    if (node->kind != NODE_LIST) {
        add_off(reading, node, path, section);
        return;
    }
    for (const struct node_entry *entry = node->first; entry != NULL; entry = entry->next) {
        struct path item = { path, { NULL, 0 }, index++ };
        add_off(reading, entry->value, &item, section);
    }
}

/* ---- rules of the file ---- */

/* "90", "0.5", "-3": no exponent, no locale. */
static bool read_decimal(struct text text, double *out)
{
    uint64_t whole = 0, part = 0;
    bool is_negative = text_starts_with(text, T("-"));
    struct text rest = text_skip(text, is_negative ? 1 : 0);
    struct text digits = text_next(&rest, '.');
    if (text.len > NUMBER_LIMIT || !text_to_uint(digits, UINT64_C(1) << 53, &whole))
        return false;
    if (rest.data != NULL && (rest.len > 9 || !text_to_uint(rest, UINT64_C(1) << 53, &part)))
        return false;
    double value = (double)whole + (double)part / pow(10, (double)rest.len);
    *out = is_negative ? -value : value;
    return true;
}

/* A number in the unit of the series: a duration in us, ms or s as its name ends, else ms. */
static bool read_amount(struct text series, bool is_us, struct text text, double *out)
{
    int64_t number;
    if (read_decimal(text, out))
        return true;
    if (text_ends_with(text, T("%")))
        return read_decimal(text_part(text, 0, text.len - 1), out);
    if (parse_time(text, &number)) {
        double factor = is_us || text_ends_with(series, T("_us")) ? 1000
                        : text_ends_with(series, T("_s"))         ? 0.001
                                                                  : 1;
        *out = (double)number * factor;
        return true;
    }
    if (!parse_size(text, &number))
        return false;
    *out = (double)number;
    return true;
}

struct rule_draft {
    struct site_rule rule;
    struct text above, below, clear;
};

static void check_series(struct reading *reading, const struct node *node, const struct path *path,
                         struct text value)
{
    size_t stars = 0;
    bool is_good = value.len <= 200;
    for (size_t i = 0; i < value.len; i++) {
        stars += value.data[i] == '*';
        is_good = is_good && value.data[i] > ' ' && value.data[i] <= '~';
    }
    if (!is_good || stars > 1)
        mistakes_add(reading->mistakes, node->place, path,
                     "must be the name of a series with at most one '*', like cpu.busy or "
                     "route/*/5xx; the page of the monitor shows them all");
}

static const struct field rule_rows[] = {
    { .name = "series",
      .kind = FIELD_TEXT,
      .offset = AT(struct rule_draft, rule.series, struct text),
      .is_required = true,
      .check = check_series,
      .form = "name of a series",
      .example = "cpu.busy",
      .help = "What is looked at each second; one `*` stands for any part of a name." },
    { .name = "on",
      .kind = FIELD_ON,
      .offset = AT(struct rule_draft, rule.on, struct site_on),
      .otherwise = "every server",
      .help = "Servers on which it is looked at." },
    { .name = "above",
      .kind = FIELD_TEXT,
      .offset = AT(struct rule_draft, above, struct text),
      .form = "number, percent, duration or size",
      .example = "90%",
      .help = "Values above it are bad." },
    { .name = "below",
      .kind = FIELD_TEXT,
      .offset = AT(struct rule_draft, below, struct text),
      .form = "number, percent, duration or size",
      .example = "10",
      .help = "Values below it are bad. A rule has `above` or `below`." },
    { .name = "clear",
      .kind = FIELD_TEXT,
      .offset = AT(struct rule_draft, clear, struct text),
      .form = "number, percent, duration or size",
      .otherwise = "a tenth on the good side of the limit",
      .example = "80%",
      .help = "The alert ends on this side of it, so that a value at the limit does not make one "
              "alert after the other." },
    { .name = "quantile",
      .kind = FIELD_PERCENT,
      .offset = AT(struct rule_draft, rule.quantile, int64_t),
      .otherwise = "the value itself",
      .min = 1,
      .max = 99,
      .example = "99%",
      .help = "Of a series that is a histogram, such as `http.latency`: the value that this part "
              "of the last minute's requests did not exceed." },
    { .name = "for",
      .kind = FIELD_TIME,
      .offset = AT(struct rule_draft, rule.for_ms, int64_t),
      .preset = "30s",
      .min = 0,
      .max = 86400000,
      .help = "How long it has to last." },
    { .name = "severity",
      .kind = FIELD_CHOICE,
      .offset = AT(struct rule_draft, rule.severity, int64_t),
      .choices = "warning critical",
      .preset = "warning",
      .help = "What receivers are told." },
};
const struct fields alert_rule_fields = { rule_rows, COUNT(rule_rows) };

static void read_limit(struct reading *reading, const struct node *node, const struct path *path,
                       const char *key, const struct rule_draft *draft, struct text text,
                       double *out)
{
    struct path at = { path, text_of(key), 0 };
    const struct node *value = node_find(node, text_of(key));
    char word[SHOWN_SIZE];
    if (value != NULL && !text_is_empty(text) &&
        !read_amount(draft->rule.series, draft->rule.quantile > 0, text, out))
        mistakes_add(reading->mistakes, value->place, &at,
                     "'%s' is not a number, percent, duration or size; write one like 90, 90%%, "
                     "500ms or 2GiB",
                     shown(text, word));
}

static void finish_rule(struct reading *reading, const struct node *node, const struct path *path,
                        struct rule_draft *draft)
{
    struct site_rule *rule = &draft->rule;
    bool has_above = !text_is_empty(draft->above), has_below = !text_is_empty(draft->below);
    if (has_above == has_below) {
        mistakes_add(reading->mistakes, node->place, path,
                     "must have either `above` or `below`, the limit beyond which it is bad");
        return;
    }
    rule->is_below = has_below;
    read_limit(reading, node, path, has_below ? "below" : "above", draft,
               has_below ? draft->below : draft->above, &rule->limit);
    rule->clear = rule->limit + (has_below ? 0.1 : -0.1) * fabs(rule->limit);
    read_limit(reading, node, path, "clear", draft, draft->clear, &rule->clear);
    if (has_below ? rule->clear < rule->limit : rule->clear > rule->limit)
        mistakes_add(reading->mistakes, node->place, path,
                     "`clear` must be on the good side of the limit");
}

static bool is_rule_name(struct text name)
{
    bool is_good = name.len > 0 && name.len <= 60;
    for (size_t i = 0; i < name.len; i++) {
        char c = text_lower(name.data[i]);
        is_good = is_good && ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-');
    }
    for (size_t i = 0; alerts_defaults[i] != NULL; i++)
        is_good = is_good && !text_equal(name, text_of(alerts_defaults[i]));
    return is_good;
}

static void read_rules(struct reading *reading, const struct node *node, const struct path *path,
                       void *section)
{
    struct site_alerts *alerts = section;
    if (!expect_kind(reading, node, path, NODE_MAP,
                     "a map of names and rules, like busy: { series: cpu.busy, above: 90 }"))
        return;
    const struct node_entry *entry = NULL;
    while ((entry = entries_next(reading, node, path, entry)) != NULL) {
        struct path at = { path, entry->key->value, 0 };
        struct rule_draft draft = { .rule = { .name = entry->key->value,
                                              .place = entry->key->place } };
        if (!is_rule_name(entry->key->value))
            mistakes_add(reading->mistakes, entry->key->place, &at,
                         "a rule's name is one word of letters, digits and '-', and none of the "
                         "alerts that are always there");
        if (alerts->rule_count == ALERTS_RULES) {
            mistakes_add(reading->mistakes, entry->key->place, path, "at most %d rules",
                         ALERTS_RULES);
            return;
        }
        fields_read(reading, entry->value, &at, &alert_rule_fields, &draft);
        finish_rule(reading, entry->value, &at, &draft);
        struct site_rule *rule =
            append_item(reading->arena, &alerts->rules, &alerts->rule_count, sizeof(*rule));
        *rule = draft.rule;
    }
}

/* ---- the section ---- */

#define LIMIT(name_, member_, kind_, preset_, min_, max_, help_)                                   \
    {                                                                                              \
        .name = name_, .kind = kind_, .offset = AT(struct site_alerts, member_, int64_t),          \
        .preset = preset_, .min = min_, .max = max_, .help = help_                                 \
    }

static const struct field rows[] = {
    { .name = "webhook",
      .kind = FIELD_OWN,
      .read = read_webhook,
      .form = "URL, or a list of them",
      .otherwise = "none",
      .schema = LIST_OR_TEXT,
      .example = "https://ops.example.com/hook",
      .help = "Gets each alert once as JSON by POST, and once more when it is over." },
    { .name = "command",
      .kind = FIELD_OWN,
      .read = read_alert_command,
      .form = "command line, or a list of its words",
      .otherwise = "none",
      .schema = LIST_OR_TEXT,
      .example = "[/usr/local/bin/page, web]",
      .help = "Is run for each alert and for its end, with the same JSON on its standard input." },
    { .name = "mail",
      .kind = FIELD_OWN,
      .read = read_mail,
      .fields = &alert_mail_fields,
      .form = "map of keys",
      .otherwise = "none",
      .schema = "%",
      .help = "Gets each alert and its end by mail." },
    { .name = "ca-file",
      .kind = FIELD_FILE,
      .offset = AT(struct site_alerts, ca_file, struct text),
      .otherwise = "the system's list",
      .example = "/etc/ssl/private-ca.pem",
      .help = "PEM file: whose signature webhooks and the mail server must show." },
    LIMIT("silent", silent_ms, FIELD_TIME, "5s", 3000, 3600000,
          "A server that says nothing for so long (alert server-silent)."),
    LIMIT("errors", errors, FIELD_PERCENT, "5%", 1, 100,
          "Answers with 5xx among those of the last half minute (alert errors)."),
    LIMIT("latency", latency_ms, FIELD_TIME, "2s", 1, 600000,
          "More than 1 % of the requests of half a minute take longer (alert latency)."),
    LIMIT("disk", disk, FIELD_PERCENT, "90%", 1, 100, "Used part of a disk (alert disk-full)."),
    LIMIT("memory", memory, FIELD_PERCENT, "95%", 1, 100,
          "Used part of a server's memory (alert memory-full)."),
    LIMIT("lag", lag_ms, FIELD_TIME, "30s", 100, 86400000,
          "How far a replica may be behind (alert replica-lag)."),
    LIMIT("certificate", certificate_s, FIELD_SECONDS, "14d", 3600, 31536000,
          "How long before its end a certificate counts (alert certificate-ends)."),
    { .name = "off",
      .kind = FIELD_OWN,
      .read = read_off,
      .form = "name of an alert, or a list of them",
      .otherwise = "none",
      .schema = LIST_OR_TEXT,
      .example = "[latency]",
      .help = "Alerts that are always there but not wanted." },
    { .name = "rules",
      .kind = FIELD_OWN,
      .read = read_rules,
      .fields = &alert_rule_fields,
      .form = "map of name: rule",
      .otherwise = "none",
      .schema = "{\"type\":[\"object\",\"null\"],\"additionalProperties\":%}",
      .example = "{ busy: { series: cpu.busy, above: 90, for: 5m } }",
      .help = "Alerts of your own." },
};
const struct fields alerts_fields = { rows, COUNT(rows) };
