"""A small HTTP server as a process of its own: backend.py PORT NAME. It says who it is, how many it
has answered, and what it was asked; /slow takes a second, /sick answers 503 while the file NAME.sick
is there."""
import http.server
import itertools
import pathlib
import sys
import time

port, name = int(sys.argv[1]), sys.argv[2]
count = itertools.count(1)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path.startswith("/slow"):
            time.sleep(1)
        text = f"{pathlib.Path(name).name} {next(count)} {self.command} {self.path} {len(body)}\n" \
               f"{self.headers}".encode()
        is_sick = pathlib.Path(name + ".sick").exists()
        self.send_response(503 if is_sick and self.path.startswith("/sick") else 200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text if self.command != "HEAD" else b"")

    do_GET = do_POST = do_HEAD = do_PUT = answer

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 1024
    daemon_threads = True


Server(("127.0.0.1", port), Handler).serve_forever()
