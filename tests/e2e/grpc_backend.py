"""A gRPC server with each kind of call: grpc_backend.py PORT [CERTIFICATE KEY]. Messages are bytes."""
import signal
import sys
import threading
from concurrent import futures

import grpc

cancelled = []


def echo(request, context):
    sent = dict(context.invocation_metadata())
    context.send_initial_metadata((("x-first", sent.get("x-mine", "none")),))
    context.set_trailing_metadata((("x-last", "end"), ("x-raw-bin", b"\0\xff")))
    return request


def count(request, _):
    number, size = (int(word) for word in request.split())
    for i in range(number):
        yield b"%d " % i + b"x" * size


def total(requests, _):
    return b"%d" % sum(len(request) for request in requests)


def chat(requests, _):
    for request in requests:
        yield request.upper()


def fail(_, context):
    context.abort(grpc.StatusCode.NOT_FOUND, "no such thing: \u00e4")


def hang(_, context):
    gone = threading.Event()
    context.add_callback(gone.set)
    yield b"begun"
    gone.wait(30)
    cancelled.append(1)


def count_cancelled(_, __):
    return b"%d" % len(cancelled)


METHODS = {
    "Echo": grpc.unary_unary_rpc_method_handler(echo),
    "Count": grpc.unary_stream_rpc_method_handler(count),
    "Total": grpc.stream_unary_rpc_method_handler(total),
    "Chat": grpc.stream_stream_rpc_method_handler(chat),
    "Fail": grpc.unary_unary_rpc_method_handler(fail),
    "Hang": grpc.unary_stream_rpc_method_handler(hang),
    "Cancelled": grpc.unary_unary_rpc_method_handler(count_cancelled),
}


def main(port, *pair):
    server = grpc.server(futures.ThreadPoolExecutor(32),
                         options=[("grpc.max_receive_message_length", -1)])
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("t.Test", METHODS),))
    if pair:
        chain, key = (open(name, "rb").read() for name in pair)
        server.add_secure_port(f"127.0.0.1:{port}", grpc.ssl_server_credentials([(key, chain)]))
    else:
        server.add_insecure_port(f"127.0.0.1:{port}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    server.start()
    print("ready", flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main(*sys.argv[1:])
