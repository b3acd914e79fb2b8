/*
 * The audit as a whole: model, cut sets, odds, then everyone who looks; the list and its order; and
 * the words that several of them need.
 */
#include "audit/finding.h"

#include <stdlib.h>

const struct finding_kind finding_kinds[FINDING_COUNT] = {
#define X(name, id, severity, what) [FINDING_##name] = { id, SEVERITY_##severity, what },
    FINDINGS(X)
#undef X
};

/* ---- the list ---- */

static bool is_accepted(const struct audit *audit, const struct finding *finding)
{
    const struct site_audit *given = &audit->site->audit;
    for (size_t i = 0; i < given->accept_count; i++)
        if (text_equal(given->accept[i].id, text_of(finding_kinds[finding->id].id)) &&
            (text_is_empty(given->accept[i].element) ||
             text_equal(given->accept[i].element, finding->element)))
            return true;
    return false;
}

struct finding *finding_add(struct audit *audit, enum finding_id id, struct text element,
                            struct site_place place, struct text consequence, struct text fix)
{
    audit->failed = audit->failed || element.data == NULL || consequence.data == NULL;
    for (size_t i = 0; i < audit->finding_count; i++)
        if (audit->findings[i].id == id && text_equal(audit->findings[i].element, element))
            return NULL;
    if (audit->finding_count == FINDING_LIMIT || audit->failed)
        return NULL;
    struct finding *finding = &audit->findings[audit->finding_count++];
    *finding = (struct finding){ .id = id,
                                 .severity = finding_kinds[id].severity,
                                 .element = element,
                                 .place = place,
                                 .consequence = consequence,
                                 .fix = fix };
    finding->is_accepted = is_accepted(audit, finding);
    return finding;
}

static int compare(const void *left, const void *right)
{
    const struct finding *a = left, *b = right;
    if (a->severity != b->severity)
        return a->severity > b->severity ? -1 : 1;
    if (a->id != b->id)
        return a->id < b->id ? -1 : 1;
    return a->place.line != b->place.line ? (a->place.line < b->place.line ? -1 : 1)
                                          : text_compare(a->element, b->element);
}

void findings_sort(struct audit *audit)
{
    qsort(audit->findings, audit->finding_count, sizeof(*audit->findings), compare);
}

/* Those of find_files are not known yet. */
static bool is_of_files(struct text id)
{
    return text_equal(id, text_of(finding_kinds[FINDING_KEY_READABLE].id)) ||
           text_equal(id, text_of(finding_kinds[FINDING_CERTIFICATE_ENDS].id));
}

/* What the file bears and nobody found. */
static void find_unused(struct audit *audit)
{
    const struct site_audit *given = &audit->site->audit;
    for (size_t i = 0; i < given->accept_count; i++) {
        const struct site_accepted *accepted = &given->accept[i];
        bool is_used = false;
        for (size_t j = 0; j < audit->finding_count && !is_used; j++)
            is_used = text_equal(accepted->id, text_of(finding_kinds[audit->findings[j].id].id)) &&
                      (text_is_empty(accepted->element) ||
                       text_equal(accepted->element, audit->findings[j].element));
        if (!is_used && !is_of_files(accepted->id))
            finding_add(audit, FINDING_ACCEPT_UNUSED, accepted->id, accepted->place,
                        arena_print(audit->arena,
                                    "`audit.accept` names '%.*s', which was not found: it would "
                                    "hide it when it comes back.",
                                    FMT(accepted->id)),
                        T("# remove it from audit: { accept: [...] }\n"));
    }
}

enum err audit_make(const struct site *site, struct arena *arena, size_t order,
                    struct audit **audit_out)
{
    struct audit *audit = ARENA_NEW(arena, struct audit);
    if (audit == NULL)
        return ERR_LIMIT;
    *audit = (struct audit){ .site = site, .arena = arena, .order = order };
    enum err err = model_make(site, arena, &audit->model);
    if (err != OK)
        return err;
    size_t journeys = audit->model->journey_count;
    audit->edges = site_edges(site, arena, &audit->edge_count);
    audit->findings = arena_alloc(arena, FINDING_LIMIT * sizeof(*audit->findings));
    audit->cuts = arena_alloc(arena, (journeys + 1) * sizeof(*audit->cuts));
    audit->odds = arena_alloc(arena, (journeys + 1) * sizeof(*audit->odds));
    if (audit->findings == NULL || audit->cuts == NULL || audit->odds == NULL)
        return ERR_LIMIT;
    for (size_t i = 0; i < journeys && err == OK; i++) {
        err = cuts_find(audit->model, &audit->model->journeys[i], order, &audit->cuts[i]);
        if (err == OK)
            err = odds_reckon(audit->model, &audit->model->journeys[i], &audit->odds[i]);
    }
    if (err != OK)
        return err;
    find_single_points(audit);
    find_fates(audit);
    find_cleartext(audit);
    find_open(audit);
    find_data(audit);
    find_rest(audit);
    find_unused(audit);
    findings_sort(audit);
    *audit_out = audit;
    return audit->failed ? ERR_LIMIT : OK;
}

/* ---- words ---- */

bool has_key(const struct audit *audit, const char *path)
{
    for (size_t i = 0; i < audit->site->key_count; i++)
        if (text_equal(audit->site->keys[i].path, text_of(path)))
            return true;
    return false;
}

/* "a, b and c": one more of `count`, the index-th. */
static void join(struct buffer *out, struct text name, size_t index, size_t count,
                 const char *joint)
{
    if (index > 0 && index + 1 == count)
        buffer_print(out, " %s ", joint);
    else if (index > 0)
        buffer_print(out, ", ");
    buffer_append(out, name);
}

static struct text keep(struct audit *audit, struct buffer *out)
{
    struct text kept = arena_copy(audit->arena, buffer_text(out));
    audit->failed = audit->failed || kept.data == NULL || out->failed;
    buffer_done(out);
    return kept;
}

enum { WORDS_LIMIT = 1 << 16, NAMES_SHOWN = 8 };

struct text name_machines(struct audit *audit, const machine_word *set, const char *joint)
{
    struct buffer out = buffer_of(WORDS_LIMIT);
    size_t count = 0, index = 0;
    for (size_t i = 0; i < audit->model->machine_count; i++)
        count += machine_is_in(set, i) ? 1 : 0;
    size_t shown = count > NAMES_SHOWN + 1 ? NAMES_SHOWN : count;
    for (size_t i = 0; i < audit->model->machine_count && index < shown; i++)
        if (machine_is_in(set, i))
            join(&out, audit->model->components[i].name, index++, count > shown ? shown + 1 : count,
                 joint);
    if (count > shown)
        buffer_print(&out, " %s %zu others", joint, count - shown);
    return keep(audit, &out);
}

struct text name_servers(struct audit *audit, const struct site_on *on)
{
    const struct model *model = audit->model;
    machine_word *set = arena_alloc(audit->arena, model->word_count * sizeof(machine_word));
    audit->failed = audit->failed || set == NULL;
    for (size_t i = 0; i < audit->site->server_count && set != NULL; i++)
        if (site_is_on(audit->site, on, &audit->site->servers[i]))
            set[i / 64] |= 1ULL << (i % 64);
    return set != NULL ? name_machines(audit, set, "and") : T("");
}

struct text name_journeys(struct audit *audit, const machine_word *dead)
{
    const struct model *model = audit->model;
    struct buffer out = buffer_of(WORDS_LIMIT);
    size_t count = 0, index = 0;
    for (size_t i = 0; i < model->journey_count; i++)
        count += journey_fails(model, &model->journeys[i], dead) ? 1 : 0;
    for (size_t i = 0; i < model->journey_count; i++)
        if (journey_fails(model, &model->journeys[i], dead))
            join(&out, model->journeys[i].name, index++, count, "or");
    return keep(audit, &out);
}

/* ---- servers that are not there yet ---- */

struct text free_name(struct audit *audit, const struct site_server *like)
{
    struct text stem = like->name;
    while (stem.len > 0 && stem.data[stem.len - 1] >= '0' && stem.data[stem.len - 1] <= '9')
        stem.len--;
    bool has_number = stem.len < like->name.len;
    for (size_t i = 1; i <= audit->site->server_count + 1; i++) {
        struct text name = has_number ? arena_print(audit->arena, "%.*s%0*zu", FMT(stem),
                                                    (int)(like->name.len - stem.len), i)
                                      : arena_print(audit->arena, "%.*s-%zu", FMT(stem), i + 1);
        if (name.data != NULL && site_server_find(audit->site, name) == NULL)
            return name;
    }
    return T("another");
}

static bool is_used(const struct site *site, const struct address *address)
{
    for (size_t i = 0; i < site->server_count; i++)
        if (address_equal(&site->servers[i].address, address))
            return true;
    for (size_t i = 0; i < site->vip.address_count; i++)
        if (address_equal(&site->vip.addresses[i], address))
            return true;
    return false;
}

struct text free_address(struct audit *audit, const struct site_server *like, size_t nth)
{
    struct address address = like->address;
    bool is_v6 = address_family(&address) == AF_INET6;
    uint8_t *last =
        is_v6 ? &address.u.v6.sin6_addr.s6_addr[15] : (uint8_t *)&address.u.v4.sin_addr + 3;
    char ip[ADDRESS_TEXT_SIZE];
    for (unsigned i = 0; i < 254; i++) {
        *last = (uint8_t)(*last >= 254 ? 1 : *last + 1);
        if (is_used(audit->site, &address) || nth-- > 0)
            continue;
        address_format_ip(&address, ip);
        return arena_print(audit->arena, "%s%s%s", is_v6 ? "\"" : "", ip, is_v6 ? "\"" : "");
    }
    return T("ADDRESS");
}
