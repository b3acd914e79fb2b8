"""Receivers of alerts that a test starts: a webhook and a mail server, each a thread of real sockets."""
import http.server
import json
import socketserver
import threading
import time

import harness


class Webhook:
    """Keeps what is posted to it: (monotonic time, path, JSON). answers: status by path, 200 else;
    None: never answers."""

    def __init__(self, host="127.0.0.1", port=None):
        receiver = self
        self.host, self.port, self.got, self.answers = host, port or harness.free_port(), [], {}
        self.ends = threading.Event()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = receiver.answers.get(self.path, 200)
                receiver.got.append((time.monotonic(), self.path, json.loads(body), status))
                if status is None:
                    receiver.ends.wait(60)
                    return
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer((host, self.port), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    def url(self, path="/hook"):
        return f"http://{self.host}:{self.port}{path}"

    def notes(self, path="/hook", status=200):
        """What was taken there, without tests."""
        return [note for _, at, note, answer in list(self.got) if at == path and answer == status]

    def words(self, path="/hook"):
        """["firing backend-down tcp/...", "resolved ..."]"""
        return [f"{n['status']} {n['alert']} {n['element']}".strip() for n in self.notes(path)]

    def wait(self, word, seconds=30, path="/hook"):
        harness.wait_for(lambda: word in self.words(path), seconds,
                         f"{word} among {self.words(path)}")

    def close(self):
        self.ends.set()
        self.server.shutdown()
        self.server.server_close()


class Mailbox:
    """A mail server without encryption that takes all: self.mails are (from, [to], text)."""

    def __init__(self):
        mailbox = self
        self.mails, self.port = [], harness.free_port()

        class Handler(socketserver.StreamRequestHandler):
            def say(self, line):
                self.wfile.write(line.encode() + b"\r\n")

            def handle(self):
                sender, to = None, []
                self.say("220 test")
                for raw in self.rfile:
                    line = raw.decode().strip()
                    verb = line.split()[0].upper() if line else ""
                    if verb == "MAIL":
                        sender = line.partition(":")[2]
                    elif verb == "RCPT":
                        to.append(line.partition(":")[2])
                    elif verb == "DATA":
                        self.say("354 go on")
                        mailbox.mails.append((sender, to, self.read_data()))
                    elif verb == "QUIT":
                        self.say("221 bye")
                        return
                    self.say("250 ok")

            def read_data(self):
                text = ""
                for raw in self.rfile:
                    if raw == b".\r\n":
                        return text
                    text += raw.decode()[1 if raw.startswith(b".") else 0:]
                return text

        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", self.port), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
