"""A worker: a fork of the zygote that takes requests out of shared memory until it is told to end."""
import atexit
import faulthandler
import os
import signal
import sys
import threading
import traceback

import _trilith

from trilith_app import asgi, wsgi
from trilith_app.application import reason_of
from trilith_app.config import CONFIG, NAME, Refused, RequestTimeout
from trilith_app.preload import load_in_worker
from trilith_app.protocol import probe


SIGNAL_S = 0.05  # the first thread looks so often: a signal does not always end its wait
OUR_SIGNALS = {signal.SIGTERM, signal.SIGUSR2}
fork_mask = threading.local()


def before_fork():
    """What is for the child must not meet our handlers, which it has for a moment."""
    fork_mask.old = signal.pthread_sigmask(signal.SIG_BLOCK, OUR_SIGNALS)


def after_fork_in_parent():
    signal.pthread_sigmask(signal.SIG_SETMASK, fork_mask.old)


def after_fork_in_child():
    """A child that the application forked answers nobody, and it can be ended."""
    _trilith.abandon()
    for number in OUR_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, fork_mask.old)


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
        while thread.is_alive():
            thread.join(SIGNAL_S)


def serve_asgi(application, index, ready):
    def tell(text):
        os.write(ready, text.encode("utf-8", "replace")[:4000])
        os.close(ready)
    return asgi.run(application, index, tell)


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
        os.register_at_fork(before=before_fork, after_in_parent=after_fork_in_parent,
                            after_in_child=after_fork_in_child)
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
        if CONFIG["kind"] == "asgi" and failure is None:
            status = 0 if serve_asgi(application, index, ready) else 1
            atexit._run_exitfuncs()
            return
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
