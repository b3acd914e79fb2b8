/* The list of bans, see bans.h. A list is enough: it is short, or an attack makes it long. */
#include "firewall/bans.h"

#include "core/memory.h"

#include <arpa/inet.h>
#include <jansson.h>
#include <stdio.h>

enum { V6_BITS = 64 };

void bans_done(struct bans *bans)
{
    memory_free(bans->items);
    *bans = (struct bans){ 0 };
}

bool ban_of(const struct address *address, struct network *who_out)
{
    struct network who;
    if (!network_of(address, &who))
        return false;
    if (!who.is_v4) {
        who.bits = V6_BITS;
        memset(who.ip + V6_BITS / 8, 0, sizeof(who.ip) - V6_BITS / 8);
    }
    *who_out = who;
    return true;
}

static bool is_same(const struct network *a, const struct network *b)
{
    return a->is_v4 == b->is_v4 && memcmp(a->ip, b->ip, a->is_v4 ? 4 : sizeof(a->ip)) == 0;
}

static struct ban *find(const struct bans *bans, const struct network *who)
{
    for (size_t i = 0; i < bans->count; i++)
        if (is_same(&bans->items[i].who, who))
            return &bans->items[i];
    return NULL;
}

const struct ban *bans_find(const struct bans *bans, const struct network *who)
{
    return find(bans, who);
}

/* Printable, so that it can stand in a log and a terminal. */
static void copy_why(struct text why, char out[BAN_WHY_SIZE])
{
    size_t len = why.len < BAN_WHY_SIZE - 1 ? why.len : BAN_WHY_SIZE - 1;
    for (size_t i = 0; i < len; i++)
        out[i] = why.data[i] >= ' ' && why.data[i] <= '~' ? why.data[i] : '?';
    out[len] = '\0';
}

enum err bans_add(struct bans *bans, const struct network *who, int64_t until_s, struct text why)
{
    struct ban *ban = find(bans, who);
    if (ban == NULL) {
        if (bans->count == BANS_LIMIT)
            return ERR_LIMIT;
        if (bans->count == bans->room) {
            bans->room = bans->room > 0 ? 2 * bans->room : 16;
            bans->items = memory_resize(bans->items, bans->room * sizeof(*bans->items));
        }
        ban = &bans->items[bans->count++];
        *ban = (struct ban){ .who = *who };
    }
    if (until_s > ban->until_s)
        ban->until_s = until_s;
    copy_why(why, ban->why);
    return OK;
}

bool bans_remove(struct bans *bans, const struct network *who)
{
    struct ban *ban = find(bans, who);
    if (ban == NULL)
        return false;
    *ban = bans->items[--bans->count];
    return true;
}

size_t bans_expire(struct bans *bans, int64_t now_s)
{
    size_t before = bans->count;
    for (size_t i = 0; i < bans->count;) {
        if (bans->items[i].until_s <= now_s)
            bans->items[i] = bans->items[--bans->count];
        else
            i++;
    }
    return before - bans->count;
}

void ban_format(const struct network *who, char out[ADDRESS_TEXT_SIZE])
{
    out[0] = '\0';
    (void)inet_ntop(who->is_v4 ? AF_INET : AF_INET6, who->ip, out, ADDRESS_TEXT_SIZE);
    size_t len = strlen(out);
    if (!who->is_v4)
        snprintf(out + len, ADDRESS_TEXT_SIZE - len, "/%d", V6_BITS);
}

/* ---- JSON ---- */

void bans_write(const struct bans *bans, struct buffer *out)
{
    char who[ADDRESS_TEXT_SIZE];
    buffer_append_byte(out, '[');
    for (size_t i = 0; i < bans->count; i++) {
        const struct ban *ban = &bans->items[i];
        ban_format(&ban->who, who);
        buffer_print(out, "%s{\"address\":\"%s\",\"until\":%lld,\"why\":\"", i > 0 ? "," : "", who,
                     (long long)ban->until_s);
        buffer_append_json(out, text_of(ban->why));
        buffer_print(out, "\"}");
    }
    buffer_append_byte(out, ']');
}

static enum err read_one(const json_t *item, int64_t now_s, struct bans *bans)
{
    struct address address;
    struct network who;
    const char *name = json_string_value(json_object_get(item, "address"));
    const char *why = json_string_value(json_object_get(item, "why"));
    const json_t *until = json_object_get(item, "until");
    struct text rest = text_of(name != NULL ? name : "");
    if (address_parse_ip(text_next(&rest, '/'), 0, &address) != OK || !ban_of(&address, &who) ||
        !json_is_integer(until) || why == NULL)
        return ERR_SYNTAX;
    if (json_integer_value(until) <= now_s)
        return OK;
    return bans_add(bans, &who, json_integer_value(until), text_of(why));
}

enum err bans_read(struct text json, int64_t now_s, struct bans *bans)
{
    json_t *list = json_loadb(json.data, json.len, 0, NULL), *item;
    enum err err = json_is_array(list) ? OK : ERR_SYNTAX;
    size_t index;
    json_array_foreach(list, index, item)
    {
        if (err == OK)
            err = read_one(item, now_s, bans);
    }
    json_decref(list);
    if (err != OK)
        bans_done(bans);
    return err;
}
