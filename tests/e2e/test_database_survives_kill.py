"""The private MariaDB: made once, kept for good, its secrets kept secret."""
import os
import signal
import stat
import subprocess

import pytest

import harness
import sites


@pytest.fixture
def site(workshop):
    return workshop.up(sites.DATABASE, {"app/notes.py": sites.NOTES})


def test_kill_everything_and_start_again(workshop, site):
    texts = []
    for round_number in range(3):
        for n in range(5):
            texts.append(f"note {round_number} {n}")
            assert site.request("POST", "/", body=texts[-1].encode()).text.split("\n") == texts
        site.kill_all()
        site = workshop.again(site)
        assert site.get("/").text.split("\n") == texts


def test_unicode(site):
    text = "grüße 🗿 漢字"
    assert site.request("POST", "/", body=text.encode()).text == text


def test_secrets_are_in_no_argument_list_and_files_are_private(site):
    secret = next((pid for pid in site.tree()
                   if b"DATABASE_URL=" in _read(f"/proc/{pid}/environ")), None)
    password = None
    if secret:
        for item in _read(f"/proc/{secret}/environ").split(b"\0"):
            if item.startswith(b"DATABASE_URL="):
                password = item.split(b":", 2)[2].split(b"@")[0].decode()
    holders = []
    for path in site.state.rglob("*"):
        if path.is_file() and not path.is_symlink() and "password" in path.name:
            holders.append(path)
            password = password or path.read_text().strip()
    assert password and len(password) >= 16
    for path in holders:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    for pid in site.tree():
        assert password not in harness.command_line(pid)
    assert password not in site.all_logs()


def _read(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def test_no_tcp_unless_asked(site):
    server = [pid for pid in site.tree() if "mariadbd" in harness.command_line(pid)]
    assert server
    sockets = {os.readlink(f"/proc/{server[0]}/fd/{fd}") for fd in os.listdir(f"/proc/{server[0]}/fd")}
    with open("/proc/net/tcp") as file, open("/proc/net/tcp6") as file6:
        listening = {line.split()[9] for line in list(file)[1:] + list(file6)[1:]
                     if line.split()[3] == "0A"}
    assert not {s for s in sockets if s.startswith("socket:") and s[8:-1] in listening}


def test_least_privilege(site):
    """The app's user can do its work and nothing for other databases."""
    code = site.folder / "app/notes.py"
    code.write_text(sites.NOTES + '''
def grants(environ, start_response):
    connection = connect()
    with connection, connection.cursor() as cursor:
        cursor.execute("SHOW GRANTS")
        rows = [row[0] for row in cursor.fetchall()]
        cursor.execute("SHOW DATABASES")
        rows += [row[0] for row in cursor.fetchall()]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return ["\\n".join(rows).encode()]
''')
    (site.folder / "site.yaml").write_text(
        (site.folder / "site.yaml").read_text().replace("notes:app", "notes:grants"))
    site.reload()
    text = site.get("/").text
    assert "SUPER" not in text and "FILE" not in text and "WITH GRANT OPTION" not in text
    assert "ALL PRIVILEGES ON *.*" not in text
    assert "mysql" not in text.split("\n")[-3:] and "notes" in text


def test_killed_database_alone(site):
    site.request("POST", "/", body=b"before")
    server, = [pid for pid in site.tree() if "mariadbd" in harness.command_line(pid)][:1]
    os.kill(server, signal.SIGKILL)
    harness.wait_for(lambda: site.get("/").status == 200, 15, "the database again")
    assert site.get("/").text == "before"


def test_missing_server_names_the_package(workshop):
    """Without mariadbd on this machine (hidden by an empty PATH and a mount namespace)."""
    program = "/usr/sbin/mariadbd"
    if not harness.IS_ROOT or subprocess.run(["unshare", "-m", "true"]).returncode != 0:
        pytest.skip("needs root and mount namespaces to hide mariadbd")
    workshop.write("site.yaml", sites.DATABASE.replace("HTTP_PORT", str(harness.free_port()))
                   .replace("DNS_PORT", str(harness.free_port())))
    workshop.write("app/notes.py", sites.NOTES)
    hidden = workshop.write("hidden", "")
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", f"mount --bind {hidden} {program} && exec \"$@\"", "sh",
         str(harness.PROGRAM), "up", "site.yaml", "--state", "state"],
        cwd=workshop.folder, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    assert done.returncode == 1 and "mariadb-server-core" in done.stderr + done.stdout, done.stderr


def test_a_data_folder_of_another_kind_is_not_touched(workshop):
    """A folder that is not ours stays as it is."""
    site = workshop.up(sites.DATABASE, {"app/notes.py": sites.NOTES})
    site.stop()
    before = sorted(str(p) for p in site.state.rglob("ibdata1"))
    assert len(before) == 1
    inode = os.stat(before[0]).st_ino
    again = workshop.again(site)
    assert os.stat(before[0]).st_ino == inode
    again.stop()
