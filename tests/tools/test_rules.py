"""The rule scripts find what they should, and nothing in good code."""
import os
import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]

GOOD = '''/* Reads a zone. */
#include "dns/dns.h"

#include "core/text.h"
#include "http/http.h"

#include <stdio.h>

/* system("rm") and strcpy( in a comment are words only */
static const char *name = "system(1) http://example.com/";

int dns_count(struct reader *reader)
{
    reader->close(reader);
    return name != NULL && reader->time(1);
}
'''

FENCE = [
    ("src/core/text.c", '#include "site/site.h"', "src/core may not include src/site"),
    ("src/site/a.c", '#include "process/process.h"', "src/site may not include src/process"),
    ("src/http/a.c", '#include "web/web.h"', "src/http may not include src/web"),
    ("src/dns/zone.c", '#  include "web/web.h"', "src/dns may not include src/web"),
    ("src/web/a.c", '#include "app/app.h"', "src/web may not include src/app"),
    ("src/web/a.c", '#include "http/parse.h"', "private to src/http"),
    ("src/web/a.c", '#include "files.h"', 'written from src: "web/files.h"'),
    ("src/web/a.c", '#include "../app/app.h"', "written from src"),
]

BANNED = [
    ("src/dns/a.c", "    strcpy(a, b);", "strcpy() is not used"),
    ("src/dns/a.c", "    return atoi (a);", "atoi() is not used"),
    ("src/dns/a.c", "    void *a = malloc(3);", "use core/memory.h"),
    ("src/dns/a.c", "    close(fd);", "use core/sys.h"),
    ("src/core/text.c", "    return time(NULL);", "use core/clock.h"),
    ("src/dns/a.c", "    int a; // count", "// comments"),
    ("src/dns/a.c", "    /* TODO: more */", "'TODO'"),
    ("src/dns/a.c", "    open(\"" + "/".join(["", "root", "x"]) + "\", 0);", "does not belong"),
]

ALLOWED = [
    ("src/core/memory.c", "    return malloc(3);"),
    ("src/stream/tcp.c", "    return read(fd, a, 3);"),
    ("src/core/clock.c", "    return time(NULL);"),
    ("src/dns/a.c", '    log("https://example.com/ // no comment");'),
    ("src/dns/a.c", "    fd_close(&fd), list->free(list), list.read(3);"),
]


@pytest.fixture
def rule(tmp_path):
    """rule(tool, path, text) -> (exit status, output), in a tree of its own."""
    shutil.copytree(ROOT / "tools", tmp_path / "tools", ignore=shutil.ignore_patterns("*.pyc"))

    def run(tool, path, text):
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        done = subprocess.run([tmp_path / "tools" / tool], capture_output=True, text=True,
                              env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
        return done.returncode, done.stdout + done.stderr
    return run


def body(lines):
    return "/* A file. */\nint thing(void)\n{\n" + lines + "\n}\n"


@pytest.mark.parametrize("tool", ["fence", "sizes", "banned"])
def test_good_code_passes(rule, tool):
    assert rule(tool, "src/dns/zone.c", GOOD) == (0, "")


@pytest.mark.parametrize("path,line,message", FENCE)
def test_fence_names_the_include(rule, path, line, message):
    status, output = rule("fence", path, "/* A file. */\n" + line + "\n")
    assert status == 1 and output.startswith(f"{path}:2: ") and message in output


@pytest.mark.parametrize("path,line", [
    ("src/balancer/a.c", '#include "http/http1.h"'), ("src/web/a_test.c", '#include "http/parse.h"'),
    ("src/web/web_fixture.c", '#include "http/server_fixture.h"')])
def test_fence_knows_what_is_shared(rule, path, line):
    assert rule("fence", path, "/* A file. */\n" + line + "\n") == (0, "")


def test_fence_lets_main_include_everything(rule):
    text = "/* All. */\n" + "\n".join(f'#include "{x}/{x}.h"' for x in ("web", "app", "core"))
    assert rule("fence", "src/main.c", text) == (0, "")


@pytest.mark.parametrize("path,line,message", BANNED)
def test_banned_names_the_call(rule, path, line, message):
    status, output = rule("banned", path, body(line))
    assert status == 1 and output.startswith(f"{path}:4: ") and message in output


@pytest.mark.parametrize("path,line", ALLOWED)
def test_banned_knows_where_calls_are_at_home(rule, path, line):
    assert rule("banned", path, body(line)) == (0, "")


def test_banned_wants_a_first_comment(rule):
    status, output = rule("banned", "src/dns/a.c", "int a;\n")
    assert status == 1 and "what this file does" in output


@pytest.mark.parametrize("lines,front,status", [
    (57, "", 0), (59, "", 1), (90, "/* Long: one table of steps. */\n", 0),
    (99, "/* Long: no. */\n", 1),
])
def test_sizes_measures_functions(rule, lines, front, status):
    text = "/* A file. */\n\n" + front + "int thing(int a,\n          int b)\n{\n" + \
        "    a++;\n" * lines + "}\n"
    got, output = rule("sizes", "src/dns/a.c", text)
    assert got == status
    if status:
        assert "thing() has" in output


def test_sizes_does_not_count_tables(rule):
    table = "    static const struct {\n        int a;\n    } cases[] = {\n" + \
        "        { 1 },\n" * 80 + "    };\n"
    assert rule("sizes", "src/dns/a.c", body(table)) == (0, "")


@pytest.mark.parametrize("lines,first,status", [
    (600, "/* A file. */", 0), (601, "/* A file. */", 1),
    (990, "/* Long: one table. */", 0), (1001, "/* Long: one table. */", 1),
])
def test_sizes_measures_files(rule, lines, first, status):
    text = first + "\n" + "int a;\n" * (lines - 1)
    got, output = rule("sizes", "src/dns/a.c", text)
    assert got == status
    if status:
        assert "split it" in output


def test_sizes_measures_columns(rule):
    status, output = rule("sizes", "src/dns/a.c", "/* A. */\nint a;" + " " * 100 + "\n")
    assert status == 1 and output.startswith("src/dns/a.c:2: 106 columns")
