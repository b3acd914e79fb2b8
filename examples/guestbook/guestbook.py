"""A guestbook: the sample application of Trilith.

An ordinary Flask application that keeps its entries in MariaDB. It knows nothing of Trilith: it
reads DATABASE_URL from the environment and runs under any WSGI server.

Each page says which server, which worker and which database answered, so that a person can watch
load balancing and failover happen.
"""

import hashlib
import hmac
import os
import re
import secrets
import socket
import threading
from datetime import timezone
from urllib.parse import parse_qs, unquote, urlsplit

import pymysql
from flask import Flask, abort, g, jsonify, redirect, render_template, request, url_for

NAME_LIMIT = 60
MESSAGE_LIMIT = 1000
PAGE_SIZE = 20
COOKIE = "guestbook_visitor"

NO_SUCH_TABLE = 1146
LOST_CONNECTION = {0, 1053, 1927, 2006, 2013, 2055}  # shutdown, killed, gone away, lost in a query

CREATE_TABLE = """
CREATE TABLE IF NOT EXISTS entries (
    id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    form CHAR(32) CHARACTER SET ascii NOT NULL UNIQUE,
    name VARCHAR(60) NOT NULL,
    message VARCHAR(1000) NOT NULL,
    server VARCHAR(64) NOT NULL,
    created DATETIME(3) NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4
"""


class DatabaseDown(Exception):
    """The database cannot be reached; the text is for the page."""


class Database:
    """One connection per worker (per thread, should the server use threads), opened at the first
    query and again when it was lost."""

    def __init__(self, url):
        self.url = url
        self.local = threading.local()

    def settings(self):
        if not self.url:
            raise DatabaseDown("DATABASE_URL is not set. It looks like "
                               "mysql://user:password@host:3306/guestbook")
        parts = urlsplit(self.url)
        if parts.scheme not in ("mysql", "mariadb"):
            raise DatabaseDown("DATABASE_URL must begin with mysql://")
        options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        settings = {
            "user": unquote(parts.username or ""),
            "password": unquote(parts.password or ""),
            "database": unquote(parts.path.lstrip("/")),
            "host": parts.hostname or "localhost",
            "port": parts.port or 3306,
        }
        if "unix_socket" in options:
            settings["unix_socket"] = options["unix_socket"]
        return settings

    def connect(self):
        try:
            connection = pymysql.connect(
                **self.settings(), charset="utf8mb4", autocommit=True,
                connect_timeout=3, read_timeout=10, write_timeout=10)
            with connection.cursor() as cursor:
                cursor.execute("SELECT @@hostname, @@version, CONNECTION_ID(), @@read_only")
                host, version, number, read_only = cursor.fetchone()
        except pymysql.err.MySQLError as error:
            raise DatabaseDown(f"cannot connect: {error.args[-1]}") from error
        self.local.connection = connection
        self.local.about = {"host": host, "version": version, "connection": number,
                            "read_only": bool(read_only)}

    def close(self):
        connection = getattr(self.local, "connection", None)
        self.local.connection = None
        self.local.about = None
        if connection is not None:
            try:
                connection.close()
            except pymysql.err.MySQLError:
                pass  # it was lost: nothing is left to close

    def query(self, sql, parameters=()):
        """Rows of the statement. A lost connection is opened again once and a missing table is
        made, so every statement given to this must be safe to run twice."""
        for last_try in (False, True):
            if getattr(self.local, "connection", None) is None:
                self.connect()
                last_try = True  # a new connection that fails at once will fail again
            try:
                with self.local.connection.cursor() as cursor:
                    cursor.execute(sql, parameters)
                    return cursor.fetchall()
            except pymysql.err.ProgrammingError as error:
                if error.args[0] != NO_SUCH_TABLE:
                    raise
                return self.query_after_creating(sql, parameters)
            except (pymysql.err.OperationalError, pymysql.err.InterfaceError) as error:
                if error.args[0] not in LOST_CONNECTION:
                    raise
                self.close()
                if last_try:
                    raise DatabaseDown(f"connection lost: {error.args[-1]}") from error

    def query_after_creating(self, sql, parameters):
        with self.local.connection.cursor() as cursor:
            cursor.execute(CREATE_TABLE)  # IF NOT EXISTS: workers may do this at the same time
            cursor.execute(sql, parameters)
            return cursor.fetchall()

    def about(self):
        return getattr(self.local, "about", None)


app = Flask(__name__)
app.config["MAX_CONTENT_LENGTH"] = 16 * 1024
database = Database(os.environ.get("DATABASE_URL", ""))
SERVER = (os.environ.get("TRILITH_SERVER") or os.environ.get("HOSTNAME")
          or socket.gethostname())[:64]
# Every worker on every server must accept the forms of the others, so the key comes from what they
# share: the database's secret address, unless SECRET_KEY is given.
KEY = hashlib.sha256(b"guestbook " + (
    os.environ.get("SECRET_KEY") or database.url or secrets.token_hex()).encode()).digest()


def form_token(visitor, form):
    return hmac.new(KEY, f"{visitor} {form}".encode(), hashlib.sha256).hexdigest()


def is_number(text):
    return re.fullmatch(r"[0-9a-f]{32}", text) is not None


def form_is_ours():
    """We made this form for the visitor in the cookie: another site can make a browser send the
    cookie, but it cannot know a token that fits to it."""
    visitor, form = request.cookies.get(COOKIE, ""), request.form.get("form", "")
    return (is_number(visitor) and is_number(form)
            and hmac.compare_digest(request.form.get("token", "").encode(),
                                    form_token(visitor, form).encode()))


def clean(text, limit, lines):
    """Without control characters and outer blanks, cut at nothing: None when it is too long."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\t", " ")
    text = "".join(c for c in text if c.isprintable() or c == "\u200d" or (c == "\n" and lines))
    text = re.sub(r"\n{3,}", "\n\n", text).strip()
    return text if len(text) <= limit else None


def entries(before=None, limit=PAGE_SIZE):
    rows = database.query(
        "SELECT id, name, message, server, created FROM entries WHERE id < %s"
        " ORDER BY id DESC LIMIT %s", (before or 2**63 - 1, limit))
    return [{"id": row[0], "name": row[1], "message": row[2], "server": row[3],
             "created": row[4].replace(tzinfo=timezone.utc)} for row in rows]


def served_by():
    return {"server": SERVER, "worker": os.getpid(), "database": database.about(),
            "request": request.headers.get("X-Request-Id", "")[:64]}


def page(status=200, **values):
    """The guestbook's page, with a form that has a new number."""
    form = secrets.token_hex(16)
    visitor = request.cookies.get(COOKIE, "")
    if not is_number(visitor):
        visitor = secrets.token_hex(16)
    values = {"entries": [], "name": "", "message": "", "problem": "", "down": "",
              "older": None, **values}
    html = render_template("page.html", form=form, token=form_token(visitor, form), by=served_by(),
                           name_limit=NAME_LIMIT, message_limit=MESSAGE_LIMIT, **values)
    answer = app.make_response((html, status))
    answer.set_cookie(COOKIE, visitor, httponly=True, samesite="Lax", secure=request.is_secure,
                      path=(request.script_root or "") + "/")
    return answer


@app.get("/")
def index():
    before = request.args.get("before", type=int)
    found = entries(before, PAGE_SIZE + 1)
    older = found[PAGE_SIZE - 1]["id"] if len(found) > PAGE_SIZE else None
    return page(entries=found[:PAGE_SIZE], older=older, before=before)


@app.post("/")
def post():
    name = clean(request.form.get("name", ""), NAME_LIMIT, lines=False)
    message = clean(request.form.get("message", ""), MESSAGE_LIMIT, lines=True)
    problem = ""
    if not form_is_ours():
        problem = "This form is too old. Please send it again."
    elif not name or not message:
        problem = ("Please write your name and a message" if name is not None
                   and message is not None else "That is too long") + \
            f" (at most {NAME_LIMIT} and {MESSAGE_LIMIT} characters)."
    if problem:
        return page(400, entries=entries(), problem=problem,
                    name=request.form.get("name", "")[:NAME_LIMIT],
                    message=request.form.get("message", "")[:MESSAGE_LIMIT])
    # The form's number is unique, so sending it twice (a double click, a retry after a lost
    # connection) makes one entry.
    form = request.form["form"]
    database.query(
        "INSERT INTO entries (form, name, message, server, created)"
        " VALUES (%s, %s, %s, %s, UTC_TIMESTAMP(3)) ON DUPLICATE KEY UPDATE id = id",
        (form, name, message, SERVER))
    # Read with a lock, so where it is written: of a form sent twice to two servers the second writes
    # nothing that a replica could be waited for.
    number = database.query("SELECT id FROM entries WHERE form = %s LOCK IN SHARE MODE",
                            (form,))[0][0]
    return redirect(url_for("index") + f"#entry-{number}", 303)


@app.get("/entries.json")
def entries_json():
    limit = max(1, min(request.args.get("limit", PAGE_SIZE, type=int), 100))
    found = entries(request.args.get("before", type=int), limit)
    for entry in found:
        entry["created"] = entry["created"].isoformat(timespec="milliseconds")
    return jsonify(entries=found, served_by=served_by())


@app.get("/healthz")
def healthz():
    database.query("SELECT 1")
    return jsonify(status="ok", **served_by())


@app.before_request
def say_which_way_errors_go():
    g.wants_json = request.path.endswith(".json") or request.path == "/healthz"


@app.errorhandler(DatabaseDown)
def database_is_down(error):
    app.logger.warning("database: %s", error)
    if g.get("wants_json"):
        return jsonify(status="error", error=str(error), **served_by()), 503
    lost = request.form if request.method == "POST" else {}
    return page(503, down=str(error), name=lost.get("name", "")[:NAME_LIMIT],
                message=lost.get("message", "")[:MESSAGE_LIMIT])


@app.errorhandler(pymysql.err.MySQLError)
def database_refused(error):
    """Everything else that a database says: full, read-only, shutting down."""
    return database_is_down(DatabaseDown(str(error.args[-1] if error.args else error)))


@app.after_request
def add_headers(answer):
    answer.headers.setdefault(
        "Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; "
        "img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'")
    answer.headers.setdefault("X-Content-Type-Options", "nosniff")
    answer.headers.setdefault("Referrer-Policy", "same-origin")
    if request.endpoint != "static":
        answer.headers.setdefault("Cache-Control", "no-store")
    return answer
