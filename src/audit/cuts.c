/*
 * Minimal cut sets, by trying: all single components, then all pairs of those that are no cut, then
 * all triples without such a pair. Two hundred servers have a million triples, each a few words to
 * look at.
 */
#include "audit/model.h"

#include <string.h>

struct search {
    const struct model *model;
    const struct journey *journey;
    struct cuts *cuts;
    uint16_t *candidates; /* components that matter to the journey and are no cut alone */
    size_t count;
    uint64_t *pairs; /* a bit for each two candidates: a cut */
    machine_word *dead;
};

/* Machines of the components. */
static void gather(struct search *search, const uint16_t *members, size_t order)
{
    const struct model *model = search->model;
    for (size_t i = 0; i < model->word_count; i++) {
        search->dead[i] = 0;
        for (size_t j = 0; j < order; j++)
            search->dead[i] |= model->components[members[j]].machines[i];
    }
}

static bool is_cut(struct search *search, const uint16_t *members, size_t order)
{
    gather(search, members, order);
    return journey_fails(search->model, search->journey, search->dead);
}

/* Whether inner is a smaller part of outer: fewer machines, all of them outer's. */
static bool is_part(const struct model *model, const struct component *inner,
                    const struct component *outer)
{
    bool is_smaller = false;
    for (size_t i = 0; i < model->word_count; i++) {
        if ((inner->machines[i] & ~outer->machines[i]) != 0)
            return false;
        is_smaller = is_smaller || inner->machines[i] != outer->machines[i];
    }
    return is_smaller;
}

/* Whether a smaller part in the place of one of them would do. */
static bool is_coarse(struct search *search, const struct cut *cut)
{
    const struct model *model = search->model;
    for (size_t i = 0; i < cut->order; i++) {
        const struct component *outer = &model->components[cut->members[i]];
        struct cut finer = *cut;
        for (size_t j = 0; outer->kind >= COMPONENT_RACK && j < model->component_count; j++) {
            finer.members[i] = (uint16_t)j;
            if (is_part(model, &model->components[j], outer) &&
                is_cut(search, finer.members, finer.order))
                return true;
        }
    }
    return false;
}

static void found(struct search *search, const struct cut *cut)
{
    struct cuts *cuts = search->cuts;
    if (is_coarse(search, cut))
        return;
    cuts->counts[cut->order]++;
    if (cuts->count < CUT_LIMIT)
        cuts->items[cuts->count++] = *cut;
    else
        cuts->is_cut_off = true;
}

/* ---- candidates ---- */

static bool matters(const struct search *search, const struct component *component)
{
    for (size_t i = 0; i < search->journey->need_count; i++)
        for (size_t j = 0; j < search->model->word_count; j++)
            if ((search->journey->needs[i].members[j] & component->machines[j]) != 0)
                return true;
    return false;
}

/* A rack with one server is that server. */
static bool has_twin(const struct model *model, size_t index)
{
    for (size_t i = 0; i < index; i++)
        if (memcmp(model->components[i].machines, model->components[index].machines,
                   model->word_count * sizeof(machine_word)) == 0)
            return true;
    return false;
}

static void try_single(struct search *search)
{
    const struct model *model = search->model;
    for (size_t i = 0; i < model->component_count; i++) {
        struct cut cut = { .members = { (uint16_t)i }, .order = 1 };
        if (!matters(search, &model->components[i]) || has_twin(model, i))
            continue;
        if (is_cut(search, cut.members, 1))
            found(search, &cut);
        else
            search->candidates[search->count++] = (uint16_t)i;
    }
}

/* ---- pairs and triples ---- */

static void mark(struct search *search, size_t a, size_t b)
{
    size_t at = a * search->count + b;
    search->pairs[at / 64] |= 1ULL << (at % 64);
}

static bool is_pair(const struct search *search, size_t a, size_t b)
{
    size_t at = a * search->count + b;
    return (search->pairs[at / 64] >> (at % 64) & 1) != 0;
}

static void try_pairs(struct search *search)
{
    for (size_t a = 0; a < search->count; a++)
        for (size_t b = a + 1; b < search->count; b++) {
            struct cut cut = { .members = { search->candidates[a], search->candidates[b] },
                               .order = 2 };
            if (!is_cut(search, cut.members, 2))
                continue;
            mark(search, a, b);
            found(search, &cut);
        }
}

static void try_triples(struct search *search)
{
    for (size_t a = 0; a < search->count; a++)
        for (size_t b = a + 1; b < search->count; b++) {
            if (is_pair(search, a, b))
                continue;
            for (size_t c = b + 1; c < search->count; c++) {
                struct cut cut = { .members = { search->candidates[a], search->candidates[b],
                                                search->candidates[c] },
                                   .order = 3 };
                if (!is_pair(search, a, c) && !is_pair(search, b, c) &&
                    is_cut(search, cut.members, 3))
                    found(search, &cut);
            }
        }
}

enum err cuts_find(const struct model *model, const struct journey *journey, size_t order,
                   struct cuts *cuts_out)
{
    struct arena *arena = model->arena;
    struct search search = { .model = model, .journey = journey, .cuts = cuts_out };
    size_t pair_words = (model->component_count * model->component_count + 63) / 64;
    *cuts_out = (struct cuts){ .items = arena_alloc(arena, CUT_LIMIT * sizeof(struct cut)) };
    search.candidates = arena_alloc(arena, model->component_count * sizeof(uint16_t));
    search.pairs = arena_alloc(arena, pair_words * sizeof(uint64_t));
    search.dead = arena_alloc(arena, model->word_count * sizeof(machine_word));
    if (cuts_out->items == NULL || search.candidates == NULL || search.pairs == NULL ||
        search.dead == NULL || model->component_count > UINT16_MAX)
        return ERR_LIMIT;
    try_single(&search);
    if (order >= 2)
        try_pairs(&search);
    if (order >= 3)
        try_triples(&search);
    return OK;
}
