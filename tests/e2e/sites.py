"""Sites and applications that several tests use."""

STATIC = """
site: www.foobar.com
listen: { http: HTTP_PORT, dns: DNS_PORT }
web: { static: { /: public } }
"""

APP = """
site: www.foobar.com
listen: { http: HTTP_PORT, dns: DNS_PORT }
app: { wsgi: "echo:app", root: app, workers: 2 }
"""

# Answers with what it was asked, as JSON; some paths misbehave on purpose.
ECHO = '''
import hashlib, json, os, time

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/pid":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(os.getpid()).encode()]
    if path == "/crash":
        os.kill(os.getpid(), 9)
    if path == "/raise":
        raise RuntimeError("raised on purpose")
    if path == "/sleep":
        time.sleep(float(environ["QUERY_STRING"] or 1))
    if path == "/big":
        size = int(environ["QUERY_STRING"])
        start_response("200 OK", [("Content-Type", "application/octet-stream"),
                                  ("Content-Length", str(size))])
        piece = b"x" * 65536
        return (piece[:min(65536, size - at)] for at in range(0, size, 65536))
    digest, length = hashlib.sha256(), 0
    while True:
        piece = environ["wsgi.input"].read(65536)
        if not piece:
            break
        digest.update(piece)
        length += len(piece)
    answer = json.dumps({
        "method": environ["REQUEST_METHOD"], "path": path, "script": environ["SCRIPT_NAME"],
        "query": environ["QUERY_STRING"], "length": length, "sha256": digest.hexdigest(),
        "content_length": environ.get("CONTENT_LENGTH"), "type": environ.get("CONTENT_TYPE"),
        "headers": {k: v for k, v in environ.items() if k.startswith("HTTP_")},
        "environ": {k: v for k, v in environ.items() if isinstance(v, str)},
        "pid": os.getpid(),
    }).encode()
    start_response("200 OK", [("Content-Type", "application/json"),
                              ("Content-Length", str(len(answer)))])
    return [answer]
'''

# The real thing: MariaDB behind an application of a few lines.
DATABASE = """
site: www.foobar.com
listen: { http: HTTP_PORT, dns: DNS_PORT }
app: { wsgi: "notes:app", root: app, workers: 2 }
database: { name: notes }
dns: {}
"""

NOTES = '''
import os, urllib.parse, pymysql

def connect():
    url = urllib.parse.urlsplit(os.environ["DATABASE_URL"])
    query = dict(urllib.parse.parse_qsl(url.query))
    options = {"unix_socket": query["unix_socket"]} if "unix_socket" in query else \\
        {"host": url.hostname, "port": url.port or 3306}
    return pymysql.connect(user=url.username, password=urllib.parse.unquote(url.password or ""),
                           database=url.path.strip("/"), autocommit=True, **options)

def app(environ, start_response):
    connection = connect()
    with connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE IF NOT EXISTS note (id INT AUTO_INCREMENT PRIMARY KEY, text TEXT)")
        if environ["REQUEST_METHOD"] == "POST":
            cursor.execute("INSERT INTO note (text) VALUES (%s)", (environ["wsgi.input"].read(),))
        cursor.execute("SELECT text FROM note ORDER BY id")
        body = "\\n".join(row[0] for row in cursor.fetchall()).encode()
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    return [body]
'''
