/* The only caller of the kernel's clocks. Dates are made without the C library's locale. */
#include "core/clock.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static const char days[] = "SunMonTueWedThuFriSat";
static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

static int64_t now_us(clockid_t id)
{
    struct timespec now;
    clock_gettime(id, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t clock_now_ms(void)
{
    return now_us(CLOCK_MONOTONIC) / 1000;
}

int64_t clock_now_us(void)
{
    return now_us(CLOCK_MONOTONIC);
}

int64_t clock_wall_ms(void)
{
    return now_us(CLOCK_REALTIME) / 1000;
}

static struct tm broken_down(int64_t wall_s)
{
    struct tm tm = { 0 };
    time_t seconds = (time_t)wall_s;
    gmtime_r(&seconds, &tm);
    return tm;
}

void clock_format_iso(int64_t wall_ms, char out[CLOCK_ISO_SIZE])
{
    struct tm tm = broken_down(wall_ms / 1000);
    snprintf(out, CLOCK_ISO_SIZE, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ",
             (tm.tm_year + 1900) % 10000, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min,
             tm.tm_sec, (int)(wall_ms % 1000));
}

void clock_format_http(int64_t wall_s, char out[CLOCK_HTTP_SIZE])
{
    struct tm tm = broken_down(wall_s);
    snprintf(out, CLOCK_HTTP_SIZE, "%.3s, %02d %.3s %04d %02d:%02d:%02d GMT", days + 3 * tm.tm_wday,
             tm.tm_mday, months + 3 * tm.tm_mon, (tm.tm_year + 1900) % 10000, tm.tm_hour, tm.tm_min,
             tm.tm_sec);
}

void clock_format_log(int64_t wall_s, char out[CLOCK_LOG_SIZE])
{
    struct tm tm = broken_down(wall_s);
    snprintf(out, CLOCK_LOG_SIZE, "%02d/%.3s/%04d:%02d:%02d:%02d +0000", tm.tm_mday,
             months + 3 * tm.tm_mon, (tm.tm_year + 1900) % 10000, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

static int month_of(const char *name)
{
    for (int i = 0; i < 12; i++)
        if (memcmp(months + 3 * i, name, 3) == 0)
            return i;
    return -1;
}

int64_t clock_parse_http(const char *data, size_t len)
{
    char text[64], month[4] = "", weekday[16];
    struct tm tm = { 0 };
    int used = 0;
    if (len == 0 || len >= sizeof(text))
        return -1;
    memcpy(text, data, len);
    text[len] = '\0';
    bool fits =
        sscanf(text, "%3[A-Za-z], %2d %3[A-Za-z] %4d %2d:%2d:%2d GMT%n", weekday, &tm.tm_mday,
               month, &tm.tm_year, &tm.tm_hour, &tm.tm_min, &tm.tm_sec, &used) == 7 ||
        sscanf(text, "%3[A-Za-z] %3[A-Za-z] %2d %2d:%2d:%2d %4d%n", weekday, month, &tm.tm_mday,
               &tm.tm_hour, &tm.tm_min, &tm.tm_sec, &tm.tm_year, &used) == 7;
    if (!fits) {
        int matched =
            sscanf(text, "%9[A-Za-z], %2d-%3[A-Za-z]-%2d %2d:%2d:%2d GMT%n", weekday, &tm.tm_mday,
                   month, &tm.tm_year, &tm.tm_hour, &tm.tm_min, &tm.tm_sec, &used);
        tm.tm_year += tm.tm_year < 70 ? 2000 : 1900;
        fits = matched == 7;
    }
    tm.tm_mon = strlen(month) == 3 ? month_of(month) : -1;
    if (!fits || (size_t)used != len || tm.tm_mon < 0 || tm.tm_year < 1970 || tm.tm_mday < 1 ||
        tm.tm_mday > 31 || tm.tm_hour > 23 || tm.tm_min > 59 || tm.tm_sec > 60)
        return -1;
    tm.tm_year -= 1900;
    return (int64_t)timegm(&tm);
}

void clock_sleep_ms(int64_t ms)
{
    struct timespec left = { .tv_sec = ms / 1000, .tv_nsec = (ms % 1000) * 1000000 };
    while (nanosleep(&left, &left) != 0 && errno == EINTR)
        continue;
}
