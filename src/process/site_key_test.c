/* The site's key: its file, who makes it, and what is derived from it. */
#include "core/test.h"

#include "core/memory.h"
#include "core/sys.h"
#include "process/generation.h"
#include "process/site_key.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define DIGITS "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

static struct site_key counted(void)
{
    struct site_key key;
    for (size_t i = 0; i < sizeof(key.bytes); i++)
        key.bytes[i] = (uint8_t)i;
    return key;
}

TEST(site_key_is_64_digits)
{
    static const struct {
        const char *file;
        bool want;
    } cases[] = {
        { DIGITS, true },
        { DIGITS "\n", true },
        { DIGITS " \r\n\n", true },
        { "000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F", true },
        { "", false },
        { "\n", false },
        { DIGITS "0", false },
        { DIGITS "00", false },
        { " " DIGITS, false },
        { DIGITS "\n" DIGITS, false },
        { "0x0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f", false },
        { "-00102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f", false },
        { "g00102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f", false },
    };
    struct site_key want = counted();
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct site_key key;
        enum err err = site_key_parse(text_of(cases[i].file), &key);
        CHECK(err == (cases[i].want ? OK : ERR_SYNTAX), "case %zu", i);
        CHECK(err != OK || memcmp(&key, &want, sizeof(key)) == 0, "case %zu", i);
    }
    for (size_t len = 0; len < strlen(DIGITS); len++) {
        struct site_key key;
        CHECK(site_key_parse(text_from(DIGITS, len), &key) == ERR_SYNTAX, "cut at %zu", len);
    }
}

TEST(site_key_derives_hmac_sha256)
{
    /* python3: hmac.new(bytes(range(32)), b"trilith/1/database/replication", "sha256") */
    static const uint8_t want[] = { 0x48, 0xbf, 0xbb, 0xeb, 0xbb, 0x21, 0x42, 0x2c,
                                    0xb8, 0x8c, 0xef, 0x4b, 0x92, 0xfc, 0x07, 0x42,
                                    0x08, 0xaf, 0x7c, 0x07, 0x76, 0x58, 0xed, 0xda,
                                    0x52, 0xb8, 0xe4, 0x6d, 0xc2, 0xd9, 0x74, 0x5a };
    struct site_key key = counted();
    uint8_t made[SITE_KEY_BYTES];
    char password[SITE_PASSWORD_SIZE], other[SITE_PASSWORD_SIZE];
    site_key_derive(&key, "database/replication", made);
    CHECK(memcmp(made, want, sizeof(made)) == 0, "the known answer");
    site_key_password(&key, "database/replication", password);
    CHECK(strcmp(password, "48bfbbebbb21422cb88cef4b92fc074208af7c07") == 0, "%s", password);
    site_key_password(&key, "database/monitor", other);
    CHECK(strcmp(password, other) != 0, "another label, another password");
    key.bytes[31] ^= 1;
    site_key_password(&key, "database/replication", other);
    CHECK(strcmp(password, other) != 0, "another key, another password");
}

static struct generation *generation_of(const char *servers, const char *state)
{
    struct site *site;
    struct site_mistakes mistakes;
    char source[512];
    snprintf(source, sizeof(source), "site: key.test\n%sroutes: [{ path: /, respond: ok }]\n",
             servers);
    enum err err = site_parse(text_of(source), "/nowhere/site.yaml", false, &site, &mistakes);
    bool is_good = CHECK(err == OK, "%.*s", FMT(buffer_text(&mistakes.text)));
    site_mistakes_done(&mistakes);
    return is_good ? generation_new(1, site, &site->servers[0], text_of(state), false, NULL) : NULL;
}

static unsigned mode_of(const char *path)
{
    struct stat about;
    return stat(path, &about) == 0 ? about.st_mode & 07777 : 0;
}

static void make_and_read(const char *state)
{
    static const char two[] = "servers: { a: 192.0.2.1, b: 192.0.2.2 }\n";
    char path[128], folder[96];
    struct site_key first, second;
    struct why why = { "" };
    struct generation *alone = generation_of("", state), *pair = generation_of(two, state);
    snprintf(folder, sizeof(folder), "%s/secrets", state);
    snprintf(path, sizeof(path), "%s/site-key", folder);
    if (alone != NULL && pair != NULL) {
        CHECK(site_key_of(pair, &first, &why) == ERR_MISSING, "one of several makes none");
        CHECK(strstr(why.text, "trilith init") != NULL, "%s", why.text);
        CHECK(site_key_of(alone, &first, &why) == OK, "%s", why.text);
        CHECK(mode_of(folder) == 0700 && mode_of(path) == 0600, "nobody else reads it");
        CHECK(site_key_of(pair, &second, &why) == OK, "%s", why.text);
        CHECK(memcmp(&first, &second, sizeof(first)) == 0, "made once");
        CHECK(sys_replace_file(path, T("no key\n"), 0600, (uid_t)-1, (gid_t)-1, &why) == OK, "%s",
              why.text);
        CHECK(site_key_of(alone, &second, &why) == ERR_SYNTAX, "a broken file is not replaced");
    }
    generation_free(alone);
    generation_free(pair);
    unlink(path);
    rmdir(folder);
}

TEST(site_key_is_made_for_one_server_only)
{
    char state[] = "/tmp/site-key.XXXXXX";
    REQUIRE(mkdtemp(state) != NULL, "folder");
    make_and_read(state);
    CHECK(rmdir(state) == 0, "nothing else is left");
}
