"""Servers behind the SQL proxy that restart, die, hang or change roles, and clients that are slow:
real MariaDB servers, and what an application sees of it."""
import contextlib
import os
import pathlib
import secrets
import signal
import subprocess
import threading
import time

import pymysql
import pytest

import harness
import mariadb_tier

USER, PASSWORD = "shop", "secret"


class Proxy:
    def __init__(self, tier, folder, hold, path=None):
        self.socket = path or folder / f"proxy-{secrets.token_hex(4)}.sock"
        self.process = subprocess.Popen(
            [harness.PROGRAM, "sql", "--listen", f"unix:{self.socket}", "--hold", str(hold),
             "--primary", f"127.0.0.1:{tier.primary.port}",
             "--replica", f"127.0.0.1:{tier.replica.port}"],
            env={"SQL_USER": USER, "SQL_PASSWORD": PASSWORD, "PATH": harness.PATH,
                 **{k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")}},
            stdout=subprocess.PIPE, stderr=open(folder / "proxy.log", "ab"))
        assert self.process.stdout.readline() == b"ready\n", "it listens"

    @contextlib.contextmanager
    def session(self, **options):
        connection = pymysql.connect(unix_socket=str(self.socket), user=USER, password=PASSWORD,
                                     database="shop", autocommit=True, **options)
        try:
            yield connection.cursor()
        finally:
            connection.close()

    def resident_kib(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if "VmRSS" in line).split()[1])

    def stop(self):
        self.process.terminate()
        assert self.process.wait(20) == 0, "the proxy ends well"


@pytest.fixture(scope="module")
def tier(module_workshop):
    with mariadb_tier.Tier(module_workshop.folder / "tier") as tier:
        tier.primary.ask(
            "CREATE DATABASE shop CHARSET utf8mb4;"
            f"CREATE USER {USER}@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';"
            f"GRANT ALL ON shop.* TO {USER}@'127.0.0.1';"
            "CREATE TABLE shop.t (id INT PRIMARY KEY, a TEXT) ENGINE=InnoDB;"
            "CREATE TABLE shop.here (name VARCHAR(20)) ENGINE=InnoDB;"
            "INSERT INTO shop.here VALUES ('primary')")
        tier.replica.ask("STOP SLAVE; CHANGE MASTER TO MASTER_CONNECT_RETRY=1; START SLAVE")
        assert tier.catch_up() is None
        tier.replica.ask("SET sql_log_bin=0; UPDATE shop.here SET name = 'replica'")
        yield tier


@pytest.fixture
def proxy(tier, module_workshop):
    running = Proxy(tier, module_workshop.folder, 30)
    yield running
    running.stop()


def one(cursor, sql):
    cursor.execute(sql)
    return cursor.fetchone()[0]


def start_again(server):
    server.process = subprocess.Popen(
        ["mariadbd", f"--defaults-file={server.folder}/my.cnf"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    server.wait()


def replica_reads(cursor):
    return one(cursor, "SELECT name FROM here") == "replica"


def test_a_slow_reader_costs_its_own_buffer(tier, proxy):
    with proxy.session(cursorclass=pymysql.cursors.SSCursor) as slow, proxy.session() as quick:
        slow.execute("SELECT REPEAT('x', 1000000) FROM seq_1_to_200")
        assert len(slow.fetchone()[0]) == 1000000
        end = time.monotonic() + 1
        while time.monotonic() < end:
            assert one(quick, "SELECT 1") == 1
        limit = 400_000 if harness.IS_SANITIZED else 60_000
        assert proxy.resident_kib() < limit, "200 MB are not held"
        assert sum(len(row[0]) for row in slow) == 199 * 1000000


def test_a_restart_of_the_primary_is_a_pause(tier, proxy):
    with proxy.session() as cursor:
        cursor.execute("INSERT INTO t VALUES (1, 'before')")
        tier.primary.stop()
        again = threading.Thread(target=start_again, args=(tier.primary,))
        again.start()
        cursor.execute("INSERT INTO t VALUES (2, 'meanwhile')")
        again.join()
        cursor.execute("INSERT INTO t VALUES (3, 'after')")
        assert one(cursor, "SELECT COUNT(*) FROM t WHERE id < 10") == 3


def test_a_transaction_does_not_go_on_behind_a_restart(tier, proxy):
    with proxy.session() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("INSERT INTO t VALUES (11, 'lost')")
        tier.primary.stop()
        start_again(tier.primary)
        with pytest.raises((pymysql.err.OperationalError, pymysql.err.InterfaceError)):
            cursor.execute("INSERT INTO t VALUES (12, 'half')")
    with proxy.session() as cursor:
        assert one(cursor, "SELECT COUNT(*) FROM t WHERE id IN (11, 12) FOR UPDATE") == 0


def test_a_hung_replica_is_left(tier, proxy):
    assert tier.catch_up() is None
    with proxy.session() as cursor:
        harness.wait_for(lambda: replica_reads(cursor), 20, "a read on the replica")
        tier.replica.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, tier.replica.process.pid, os.WSTOPPED)  # every thread of it
        try:
            assert one(cursor, "SELECT name FROM here") == "primary"
            assert one(cursor, "SELECT name FROM here") == "primary"
        finally:
            tier.replica.process.send_signal(signal.SIGCONT)
        harness.wait_for(lambda: replica_reads(cursor), 20, "the replica's return")


def test_without_a_primary_reads_go_on_and_writes_fail(tier, module_workshop):
    proxy = Proxy(tier, module_workshop.folder, 1)
    try:
        with proxy.session() as old:
            harness.wait_for(lambda: replica_reads(old), 20, "a read on the replica")
            tier.primary.process.kill()
            tier.primary.process.wait()
            for _ in range(5):
                assert replica_reads(old)
            with pytest.raises(pymysql.err.OperationalError) as failure:
                old.execute("INSERT INTO t VALUES (21, 'nobody takes it')")
            assert failure.value.args[0] in (1053, 2013)
            with proxy.session() as new:
                assert replica_reads(new)
                with pytest.raises(pymysql.err.OperationalError) as failure:
                    new.execute("INSERT INTO t VALUES (21, 'nobody takes it')")
                assert failure.value.args[0] == 1053
                start_again(tier.primary)

                def works():
                    with contextlib.suppress(pymysql.err.OperationalError):
                        return new.execute("INSERT INTO t VALUES (22, 'again')") == 1

                harness.wait_for(works, 20, "writing again")
    finally:
        proxy.stop()


def test_roles_that_change_places_are_a_pause(tier, proxy):
    """The last one: the servers stay as they are then."""
    failures, written = [], []
    is_over = threading.Event()

    def write(worker):
        with proxy.session() as cursor:
            number = 1000 * worker
            while not is_over.is_set():
                number += 1
                try:
                    cursor.execute(f"INSERT INTO t VALUES ({number}, 'x')")
                    written.append(number)
                except pymysql.err.Error as error:
                    failures.append(error)
                    return

    writers = [threading.Thread(target=write, args=(worker,)) for worker in range(1, 4)]
    for writer in writers:
        writer.start()
    harness.wait_for(lambda: len(written) > 20, 20, "writes before")
    tier.primary.ask("SET GLOBAL read_only = 1")
    assert tier.catch_up() is None
    tier.replica.ask("STOP SLAVE; RESET SLAVE ALL; SET GLOBAL read_only = 0")
    before = len(written)
    harness.wait_for(lambda: len(written) > before + 20 or failures, 20, "writes after")
    is_over.set()
    for writer in writers:
        writer.join()
    assert not failures
    there = tier.replica.ask("SELECT id FROM shop.t WHERE id > 1000").stdout.split()
    assert sorted(map(int, there)) == sorted(written)


def test_the_socket_file_goes_with_its_proxy(tier, module_workshop):
    first = Proxy(tier, module_workshop.folder, 1)
    command = [harness.PROGRAM, "sql", "--primary", f"127.0.0.1:{tier.primary.port}", "--listen"]

    def refused(path):
        done = subprocess.run([*command, f"unix:{path}"], capture_output=True, text=True,
                              timeout=20, check=False)
        return done.returncode != 0 and "in use" in done.stderr
    assert refused(first.socket), "another proxy's is not taken away"
    with first.session() as cursor:
        assert one(cursor, "SELECT 1") == 1, "and goes on"
        first.stop()  # with a client that is still there
    assert not first.socket.exists()
    first.socket.write_text("precious")
    assert refused(first.socket) and first.socket.read_text() == "precious"
    first.socket.unlink()
    killed = Proxy(tier, module_workshop.folder, 1)
    killed.process.kill()
    killed.process.wait()
    assert killed.socket.exists()
    heir = Proxy(tier, module_workshop.folder, 1, killed.socket)
    heir.stop()
    assert not killed.socket.exists()
