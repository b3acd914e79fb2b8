/* Files, addresses, log lines: on real descriptors. */
#include "core/address.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/sys.h"
#include "core/test.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

TEST(sys_replaces_a_file_as_a_whole)
{
    char folder[] = "/tmp/trilith-test-XXXXXX", path[64], deep[64];
    struct why why;
    struct text data;
    struct stat status;
    REQUIRE(mkdtemp(folder) != NULL, "temporary folder");
    snprintf(path, sizeof(path), "%s/secret", folder);
    snprintf(deep, sizeof(deep), "%s/a/b", folder);
    CHECK(sys_replace_file(path, T("one"), 0600, (uid_t)-1, (gid_t)-1, &why) == OK, "%s", why.text);
    sys_fault_set("write", 0, ENOSPC);
    CHECK(sys_replace_file(path, T("two"), 0600, (uid_t)-1, (gid_t)-1, &why) == ERR_SYSTEM,
          "a full disk is an error");
    REQUIRE(sys_read_file(path, 100, &data, &why) == OK, "%s", why.text);
    CHECK(text_equal(data, T("one")), "the old content stays");
    memory_free((void *)data.data);
    sys_fault_set("write", 0, 0);
    CHECK(sys_replace_file(path, T("three"), 0600, (uid_t)-1, (gid_t)-1, &why) == OK,
          "short writes are continued");
    REQUIRE(sys_read_file(path, 5, &data, &why) == OK && text_equal(data, T("three")), "new");
    memory_free((void *)data.data);
    CHECK(sys_read_file(path, 4, &data, &why) == ERR_LIMIT, "over the limit");
    CHECK(stat(path, &status) == 0 && (status.st_mode & 0777) == 0600, "mode");
    CHECK(sys_make_folder(deep, 0700, (uid_t)-1, (gid_t)-1, &why) == OK, "%s", why.text);
    CHECK(sys_make_folder(deep, 0700, (uid_t)-1, (gid_t)-1, &why) == OK, "again");
    CHECK(sys_read_file("/nonexistent/x", 4, &data, &why) == ERR_NOT_FOUND, "missing");
    CHECK(sys_read_file(deep, 4, &data, &why) == ERR_UNSUPPORTED, "a folder");
    rmdir(deep);
    REQUIRE(mkfifo(deep, 0600) == 0, "FIFO");
    CHECK(sys_read_file(deep, 4, &data, &why) == ERR_UNSUPPORTED, "a FIFO is not waited for");
    unlink(deep);
    rmdir(deep);
    snprintf(deep, sizeof(deep), "%s/a", folder);
    rmdir(deep);
    unlink(path);
    CHECK(rmdir(folder) == 0, "nothing is left");
}

TEST(address_reads_and_writes)
{
    static const struct {
        const char *in, *out;
    } cases[] = {
        { "192.0.2.1:80", "192.0.2.1:80" },
        { "[2001:db8::1]:8080", "[2001:db8::1]:8080" },
        { ":80", "[::]:80" },
        { "80", "[::]:80" },
        { "unix:/run/x.sock", "unix:/run/x.sock" },
        { "0.10.200.255:1", "0.10.200.255:1" },
        { "192.0.2.1", NULL },
        { "192.0.2.1:65536", NULL },
        { "192.0.2:80", NULL },
        { "example.com:80", NULL },
        { "unix:", NULL },
        { "", NULL },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct address address;
        char out[ADDRESS_TEXT_SIZE];
        enum err err = address_parse(text_of(cases[i].in), &address);
        CHECK((err == OK) == (cases[i].out != NULL), "'%s'", cases[i].in);
        if (err != OK)
            continue;
        address_format(&address, out);
        CHECK(strcmp(out, cases[i].out) == 0, "'%s' became '%s'", cases[i].in, out);
    }
}

TEST(log_escapes_outside_text)
{
    int ends[2];
    char line[512];
    REQUIRE(pipe(ends) == 0, "pipe");
    log_start(ends[1], "tests", LOG_INFO);
    log_debug("core", "below the level");
    log_warn("core", "odd input", STRING("from", "a b\n\"x\""), MS("after", 30), INT("n", -1));
    log_start(2, "tests", LOG_INFO);
    ssize_t got = sys_read(ends[0], line, sizeof(line));
    REQUIRE(got > 0, "a line");
    struct text text = text_from(line, (size_t)got);
    CHECK(text_ends_with(text, T(" warn  tests core: odd input from=\"a b\\x0a\\\"x\\\"\" "
                                 "after=30ms n=-1\n")),
          "%.*s", FMT(text));
    fd_close(&ends[0]);
    fd_close(&ends[1]);
}

TEST(error_reasons_nest)
{
    struct why why;
    CHECK(fail(&why, ERR_SYNTAX, "line %d", 3) == ERR_SYNTAX, "code");
    fail_in(&why, ERR_SYNTAX, "%s", "site.pem");
    CHECK(strcmp(why.text, "site.pem: line 3") == 0, "%s", why.text);
    CHECK(strcmp(err_text((enum err)999), "unknown error") == 0, "any code has a text");
}
