/* See judge.h. */
#include "health/judge.h"

bool judge_result(struct judge *judge, bool is_good, int64_t rise, int64_t fall)
{
    enum health_state before = judge->state;
    judge->good = is_good ? judge->good + 1 : 0;
    judge->bad = is_good ? 0 : judge->bad + 1;
    if (is_good && (!judge->has_been_up || judge->good >= rise)) {
        judge->state = HEALTH_UP;
        judge->has_been_up = true;
    }
    if (!is_good && judge->bad >= fall)
        judge->state = HEALTH_DOWN;
    return judge->state != before;
}

int64_t judge_next_ms(int64_t started_ms, int64_t interval_ms, int64_t now_ms, uint32_t random)
{
    int64_t spread_ms = interval_ms / 5;
    int64_t next_ms = started_ms + interval_ms - spread_ms / 2;
    if (spread_ms > 0)
        next_ms += (int64_t)random % (spread_ms + 1);
    return next_ms > now_ms ? next_ms : now_ms;
}
