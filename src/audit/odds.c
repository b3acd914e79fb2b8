/*
 * Expected availability. Machines stand in racks, racks in data centres: a tree, through which one
 * pass keeps the probability of each state "so many of this need are met, so many of that". What is
 * left in the state "all are met" at the end is exact, also where tiers share servers and servers
 * share fates; failures of components are independent of each other.
 */
#include "audit/model.h"

#include <string.h>

struct reckoning {
    const struct model *model;
    const struct journey *journey;
    size_t state_count;
    size_t steps[NEED_LIMIT]; /* a state is the sum of met[i] * steps[i] */
    size_t perfect;           /* a component that never fails; component_count: none */
    double *inside[2];        /* room for the states in a rack, in a data centre */
};

static double broken(const struct reckoning *reckoning, size_t component)
{
    return component == reckoning->perfect ? 0 : reckoning->model->components[component].broken;
}

/* The state when that machine lives, too. */
static size_t next_state(const struct reckoning *reckoning, size_t state, size_t machine)
{
    const struct journey *journey = reckoning->journey;
    for (size_t i = 0; i < journey->need_count; i++) {
        const struct need *need = &journey->needs[i];
        size_t met = state / reckoning->steps[i] % (need->least + 1);
        if (met < need->least && machine_is_in(need->members, machine))
            state += reckoning->steps[i];
    }
    return state;
}

static void pass_machine(const struct reckoning *reckoning, size_t machine, double *states)
{
    double dead = broken(reckoning, machine);
    /* states only grow: from the last to the first, none is moved twice */
    for (size_t i = reckoning->state_count; i-- > 0;) {
        size_t next = next_state(reckoning, i, machine);
        double moved = next != i ? states[i] * (1 - dead) : 0;
        states[next] += moved;
        states[i] -= moved;
    }
}

static void pass_children(struct reckoning *reckoning, size_t parent, double *states);

static void pass(struct reckoning *reckoning, size_t component, double *states)
{
    const struct model *model = reckoning->model;
    size_t count = reckoning->state_count;
    double dead = broken(reckoning, component);
    double *inside = reckoning->inside[model->components[component].kind == COMPONENT_LOCATION];
    if (component < model->machine_count) {
        pass_machine(reckoning, component, states);
        return;
    }
    memcpy(inside, states, count * sizeof(double));
    pass_children(reckoning, component, inside);
    for (size_t i = 0; i < count; i++)
        states[i] = dead * states[i] + (1 - dead) * inside[i];
}

/* All that stand directly in it. */
static void pass_children(struct reckoning *reckoning, size_t parent, double *states)
{
    const struct model *model = reckoning->model;
    for (size_t i = 0; i < model->component_count; i++)
        if (model->components[i].parent == parent && i != parent)
            pass(reckoning, i, states);
}

static double reckon(struct reckoning *reckoning, double *states)
{
    const struct model *model = reckoning->model;
    memset(states, 0, reckoning->state_count * sizeof(double));
    states[0] = 1;
    for (size_t i = 0; i < model->component_count; i++)
        if (model->components[i].parent == i)
            pass(reckoning, i, states);
    double working = states[reckoning->state_count - 1];
    return working < 1 ? 1 - working : 0;
}

static void note(struct odds *odds, size_t component, double share)
{
    size_t at = odds->most_count;
    if (share <= 0)
        return;
    while (at > 0 && odds->most[at - 1].share < share)
        at--;
    if (at == CONTRIBUTORS)
        return;
    size_t last = odds->most_count < CONTRIBUTORS ? odds->most_count++ : CONTRIBUTORS - 1;
    for (size_t i = last; i > at; i--)
        odds->most[i] = odds->most[i - 1];
    odds->most[at].component = component;
    odds->most[at].share = share;
}

enum err odds_reckon(const struct model *model, const struct journey *journey,
                     struct odds *odds_out)
{
    struct reckoning reckoning = {
        .model = model, .journey = journey, .state_count = 1, .perfect = model->component_count
    };
    for (size_t i = 0; i < journey->need_count; i++) {
        reckoning.steps[i] = reckoning.state_count;
        reckoning.state_count *= journey->needs[i].least + 1;
    }
    size_t size = reckoning.state_count * sizeof(double);
    double *states = arena_alloc(model->arena, size);
    for (size_t i = 0; i < COUNT(reckoning.inside); i++)
        reckoning.inside[i] = arena_alloc(model->arena, size);
    if (states == NULL || reckoning.inside[0] == NULL || reckoning.inside[1] == NULL)
        return ERR_LIMIT;
    *odds_out = (struct odds){ .broken = reckon(&reckoning, states) };
    for (size_t i = 0; i < model->component_count && odds_out->broken > 0; i++) {
        reckoning.perfect = i;
        double without = reckon(&reckoning, states);
        note(odds_out, i, (odds_out->broken - without) / odds_out->broken);
    }
    return OK;
}
