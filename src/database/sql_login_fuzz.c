/* Any bytes of a client or a server at the beginning of a connection: the first byte chooses whom
 * they come from. */
#include "database/sql_login.h"
#include "database/sql_upload.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_inside(struct text whole, struct text part)
{
    return part.len == 0 ||
           (part.data >= whole.data && part.data + part.len <= whole.data + whole.len);
}

static void check_login(struct text body, bool is_change)
{
    struct sql_login login;
    bool is_good = is_change ? sql_change_user_read(body,
                                                    SQL_PROTOCOL_41 | SQL_SECURE_CONNECTION |
                                                        SQL_PLUGIN_AUTH | SQL_CONNECT_ATTRS,
                                                    &login)
                             : sql_login_read(body, &login);
    if (is_good)
        assert(is_inside(body, login.user) && is_inside(body, login.answer) &&
               is_inside(body, login.schema) && is_inside(body, login.plugin) &&
               is_inside(body, login.attributes));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sql_greeting greeting;
    struct sql_ok ok;
    char challenge[SQL_SCRAMBLE];
    if (size < 1)
        return 0;
    struct text body = text_from((const char *)data + 1, size - 1);
    switch (data[0] % 6) {
    case 0:
        (void)!sql_greeting_read(body, &greeting);
        break;
    case 1:
        check_login(body, false);
        break;
    case 2:
        check_login(body, true);
        break;
    case 3:
        (void)!sql_switch_read(body, challenge);
        break;
    case 4:
        if (sql_ok_read(body, SQL_SESSION_TRACK, &ok))
            assert(ok.tracked_at <= body.len && (!ok.has_schema || is_inside(body, ok.schema)));
        break;
    default: {
        struct sql_upload upload = sql_upload_of((data[0] & 8) != 0);
        size_t used = sql_upload_read(&upload, body);
        assert(used == body.len || upload.is_done);
    }
    }
    return 0;
}
