"""Calls a WSGI application as often as it can for some seconds: loop.py MODULE SECONDS

Prints calls, CPU microseconds per call and the answer as JSON. What a server could reach at most if
it cost nothing."""
import importlib
import io
import json
import re
import sys
import time

ENVIRON = {
    "REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "PATH_INFO": "/", "QUERY_STRING": "",
    "REQUEST_URI": "/", "SERVER_NAME": "www.foobar.com", "SERVER_PORT": "80",
    "SERVER_PROTOCOL": "HTTP/1.1", "REMOTE_ADDR": "127.0.0.1", "REMOTE_PORT": "50000",
    "HTTP_HOST": "www.foobar.com", "wsgi.version": (1, 0), "wsgi.url_scheme": "http",
    "wsgi.input": io.BytesIO(), "wsgi.errors": sys.stderr, "wsgi.multithread": False,
    "wsgi.multiprocess": True, "wsgi.run_once": False,
}


def start_response(status, headers, exc_info=None):
    return None


def call(app):
    answer = app(ENVIRON.copy(), start_response)
    body = b"".join(answer)
    if hasattr(answer, "close"):
        answer.close()
    return body


def main():
    sys.path.insert(0, ".")
    app = importlib.import_module(sys.argv[1]).app
    seconds = float(sys.argv[2])
    for _ in range(1000):
        body = call(app)
    calls, start, cpu = 0, time.monotonic(), time.process_time()
    while time.monotonic() - start < seconds:
        for _ in range(200):
            call(app)
        calls += 200
    cpu, elapsed = time.process_time() - cpu, time.monotonic() - start
    with open("/proc/self/smaps_rollup", encoding="ascii") as file:
        memory = int(re.search(r"^Pss:\s+(\d+)", file.read(), re.M).group(1))
    print(json.dumps({"calls": calls, "seconds": elapsed, "cpu_us": cpu / calls * 1e6,
                      "memory_kib": memory, "body": body.hex()}))


if __name__ == "__main__":
    main()
