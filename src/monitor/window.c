/* See rule.h: two numbers per second, of the last half minute. */
#include "monitor/rule.h"

static size_t place_of(int64_t second)
{
    return (size_t)(second % WINDOW_SECONDS);
}

void window_add(struct window *window, int64_t second, double part, double whole)
{
    if (second - window->second >= WINDOW_SECONDS || second < window->second)
        *window = (struct window){ .second = second };
    for (int64_t i = window->second + 1; i <= second; i++)
        window->part[place_of(i)] = window->whole[place_of(i)] = 0;
    window->second = second;
    window->part[place_of(second)] += (float)part;
    window->whole[place_of(second)] += (float)whole;
}

void window_sum(const struct window *window, int64_t second, double *part_out, double *whole_out)
{
    *part_out = *whole_out = 0;
    for (int64_t i = second - WINDOW_SECONDS + 1; i <= window->second; i++) {
        if (i <= window->second - WINDOW_SECONDS || i < 0)
            continue;
        *part_out += (double)window->part[place_of(i)];
        *whole_out += (double)window->whole[place_of(i)];
    }
}
