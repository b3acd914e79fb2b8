"""A worker: a fork of the zygote that takes requests out of shared memory until it is told to end."""
import atexit
import faulthandler
import os
import signal
import sys
import threading
import traceback

import _trilith

from trilith_app import wsgi
from trilith_app.application import reason_of
from trilith_app.config import CONFIG, NAME, Refused, RequestTimeout
from trilith_app.preload import load_in_worker
from trilith_app.protocol import probe


def on_fork():
    """In a child that the application forked: it answers nobody, and it can be ended."""
    _trilith.abandon()
    for number in (signal.SIGTERM, signal.SIGUSR2):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def serve(application):
    """Until the worker retires. With several threads the first one stays free for signals."""
    count = CONFIG["threads"]
    if count == 1:
        _trilith.serve(application, wsgi.template(), wsgi.report, 0)
        return
    threads = [threading.Thread(target=_trilith.serve, name=f"request-{lane}", daemon=True,
                                args=(application, wsgi.template(), wsgi.report, lane))
               for lane in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def run_worker(index, application, ready):
    """In the new process. Never returns."""
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda number, frame: _trilith.retire(index))
        signal.signal(signal.SIGUSR2,
                      lambda number, frame: _trilith.interrupt(RequestTimeout))
        faulthandler.register(signal.SIGUSR1, all_threads=False)  # sent to one thread
        os.register_at_fork(after_in_child=on_fork)
        _trilith.become(index, CONFIG["file_sockets"][index])
        _trilith.title(f"trilith: app/{NAME} worker {index}")
        failure = None
        try:
            if application is None:
                application = load_in_worker()
        except BaseException as error:
            if not isinstance(error, Refused):
                traceback.print_exc()
            failure = reason_of(error)
        if CONFIG["ready"] and index == 0 and failure is None:
            failure = probe(application, CONFIG["ready"], "ready")
        os.write(ready, (failure or "ok").encode("utf-8", "replace")[:4000])
        os.close(ready)
        if failure is None:
            serve(application)
            atexit._run_exitfuncs()
            status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
