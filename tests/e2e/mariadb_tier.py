"""Two private MariaDB servers, a primary and a replica that follows it, made for one run below a
folder of their own, with the settings that MariaDB's own tests expect (tests/conformance)."""
import os
import pathlib
import pwd
import random
import shutil
import socket
import subprocess
import time

SETTINGS = """
[mariadbd]
skip-name-resolve
bind-address=127.0.0.1
character-set-server=latin1
collation-server=latin1_swedish_ci
default-storage-engine=myisam
local-infile
plugin-maturity=unknown
use_stat_tables=preferably
histogram_type=json_hb
key_buffer_size=1M
sort_buffer_size=256K
max_heap_table_size=1M
aria-pagecache-buffer-size=8M
innodb_data_file_path=ibdata1:12M:autoextend
innodb_buffer_pool_size=8M
innodb_log_file_size=10M
innodb_flush_log_at_trx_commit=0
connect-timeout=60
max_connections=200
performance_schema=OFF
slave-net-timeout=120
log-bin-trust-function-creators=1
gtid_strict_mode=OFF
session_track_schema=ON
session_track_state_change=ON
session_track_system_variables=autocommit,character_set_client,character_set_connection,character_set_results,time_zone,last_gtid
"""

LOGGED = """
log_bin=bin
log_slave_updates=ON
binlog_format=ROW
binlog-direct-non-transactional-updates
sync_binlog=0
slave_exec_mode=IDEMPOTENT
"""


def free_port():
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def wait_until_accepting(path, process, seconds=30):
    """Until the program listens on that Unix socket: the file is there a moment before."""
    end = time.monotonic() + seconds
    while True:
        with socket.socket(socket.AF_UNIX) as client:
            if client.connect_ex(str(path)) == 0:
                return
        if process.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"nobody listens on {path}, exit status {process.poll()}")
        time.sleep(0.02)


class Server:
    """One mariadbd; `stop` ends it."""

    def __init__(self, folder, number, is_logged, settings):
        self.folder = folder / f"db{number}"
        self.socket = self.folder / "s.sock"
        self.port = free_port()
        self.folder.mkdir()
        as_user = ""
        if os.geteuid() == 0:  # mariadbd refuses to run as root
            account = pwd.getpwnam("nobody")  # without the package mariadb-server there is no mysql
            os.chown(self.folder, account.pw_uid, account.pw_gid)
            as_user = "user=nobody\n"
        (self.folder / "my.cnf").write_text(
            SETTINGS + (LOGGED if is_logged else "") + settings + as_user +
            f"datadir={self.folder}/data\nsocket={self.socket}\nport={self.port}\n"
            f"server_id={number}\npid-file={self.folder}/pid\nlog-error={self.folder}/error.log\n"
            "secure-file-priv=\n")
        subprocess.run(
            ["mariadb-install-db", f"--defaults-file={self.folder}/my.cnf", "--skip-test-db",
             "--auth-root-authentication-method=normal", "--skip-name-resolve"], check=True, stdout=subprocess.DEVNULL)
        self.process = subprocess.Popen(
            ["mariadbd", f"--defaults-file={self.folder}/my.cnf"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.wait()

    def wait(self):
        for _ in range(600):
            if self.ask("SELECT 1", check=False).returncode == 0:
                return
            time.sleep(0.05)
        raise RuntimeError((self.folder / "error.log").read_text()[-2000:])

    def ask(self, sql, check=True, end=";"):
        done = subprocess.run(
            ["mariadb", "--no-defaults", "-uroot", f"-S{self.socket}", "-BN", f"--delimiter={end}",
             "-e", sql], capture_output=True, text=True)
        if check and done.returncode != 0:
            raise RuntimeError(f"{sql}: {done.stderr}")
        return done

    def stop(self):
        self.process.terminate()
        self.process.wait()


class Tier:
    """A primary and its replica, or one server alone without a binary log; a context."""

    def __init__(self, folder, has_replica=True, settings=""):
        self.folder = pathlib.Path(folder)
        self.servers = []
        self.replica = None
        self.has_replica = has_replica
        self.settings = settings

    def __enter__(self):
        self.folder.mkdir(mode=0o755)
        try:
            self.primary = Server(self.folder, 1, self.has_replica, self.settings)
            self.servers.append(self.primary)
            if self.has_replica:
                self.replica = Server(self.folder, 2, True, self.settings)
                self.servers.append(self.replica)
            self.prepare()
        except BaseException:
            self.__exit__()
            raise
        return self

    def prepare(self):
        """MariaDB's tests want a schema `test`, one `mtr` that their checks would use, and root
        from everywhere without a password."""
        self.primary.ask("CREATE DATABASE IF NOT EXISTS test; CREATE DATABASE IF NOT EXISTS mtr")
        if self.replica is None:
            return
        gtid = self.primary.ask("SELECT @@gtid_current_pos").stdout.strip()
        self.replica.ask("CREATE DATABASE IF NOT EXISTS test; CREATE DATABASE IF NOT EXISTS mtr;"
                         f"RESET MASTER; SET GLOBAL gtid_slave_pos='{gtid}'; SET GLOBAL read_only=1;"
                         f"CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT={self.primary.port},"
                         "MASTER_USER='root', MASTER_USE_GTID=slave_pos; START SLAVE")

    def catch_up(self):
        """Waits for the replica; what stopped it, or None."""
        if self.replica is None:
            return None
        gtid = self.primary.ask("SELECT @@gtid_binlog_pos").stdout.strip()
        answer = self.replica.ask(f"SELECT MASTER_GTID_WAIT('{gtid}', 30)", check=False)
        if answer.stdout.strip() == "0":
            return None
        return self.replica.ask("SHOW SLAVE STATUS\\G").stdout

    def __exit__(self, *_):
        for server in self.servers:
            server.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
