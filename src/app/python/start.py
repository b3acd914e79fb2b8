"""The start of an application, as its zygote: imports it once and forks its workers.

Runs in the site's own interpreter. The modules beside this one are put into the program as one
bundle, in the order of meson.build (each may use those before it); `_trilith` is the C extension."""
import faulthandler
import gc
import json
import os
import signal
import sys
import traceback

import _trilith

from trilith_app.application import enter_root, find_application, reason_of
from trilith_app.channel import PARENT
from trilith_app.config import CONFIG, ENVIRONMENT, NAME, Refused, log
from trilith_app.extension import DESCRIPTORS
from trilith_app.preload import Watch, has_threads, warm
from trilith_app.zygote import Zygote


def start_without_application(when):
    """Threads do not survive a fork, so an application that starts some early is imported by each
    worker; this process begins anew and stays without it."""
    log(f"{CONFIG['wsgi']} starts threads {when}: each worker imports it on its own "
        "(more memory; better start them at the first request)")
    CONFIG["spawn"] = True
    for descriptor in DESCRIPTORS:
        os.set_inheritable(descriptor, True)
    os.execve(sys.executable, sys.orig_argv,
              {**ENVIRONMENT, "TRILITH_APP": json.dumps(CONFIG)})


def preload():
    """The application as all workers will have it."""
    watch = Watch()
    PARENT.send("note", f"importing {CONFIG['wsgi']}")
    application = find_application(CONFIG["wsgi"])
    watch.report("when it is imported")
    if has_threads():
        start_without_application("when it is imported")
    if CONFIG["warm"]:
        PARENT.send("note", f"warming {CONFIG['wsgi']}")
        warm(application)
        watch.report("while it answers app.warm")
        if has_threads():
            start_without_application("while it answers app.warm")
    return application


def main():
    faulthandler.enable()
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    application = None
    try:
        _trilith.title(f"trilith: app/{NAME}")
        _trilith.map(CONFIG["segment"], CONFIG["bells"], CONFIG["control"], CONFIG["backs"],
                     CONFIG["knocks"])
        enter_root()
        if not CONFIG.get("spawn"):
            application = preload()
    except BaseException as error:
        if not isinstance(error, Refused):
            traceback.print_exc()
        PARENT.send("failed", reason_of(error))
        sys.exit(1)
    gc.collect()
    gc.freeze()
    _trilith.trim()
    Zygote(PARENT, application).run()


main()
