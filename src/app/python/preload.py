"""What is done once, before the workers are forked: the import, the pages of app.warm, and a look at
what they leave behind that processes cannot share."""
import os
import socket
import stat
import sys

from trilith_app.application import find_application
from trilith_app.config import CONFIG, log
from trilith_app.protocol import probe

SQLITE = b"SQLite format 3\0"
SHOWN = 4  # connections named in one line


def has_threads():
    return len(os.listdir("/proc/self/task")) > 1


def descriptors():
    """Without the one that lists them, which is closed again."""
    names = os.listdir("/proc/self/fd")
    return {int(name) for name in names if os.path.lexists("/proc/self/fd/" + name)}


def socket_name(descriptor):
    """'a connection to 127.0.0.1:3306', or None for one that is connected to nobody else."""
    with socket.socket(fileno=os.dup(descriptor)) as sock:
        if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return f"a listening socket ({sock.getsockname()})"
        try:
            peer = sock.getpeername()
        except OSError:
            return None
    if isinstance(peer, tuple):
        return f"a connection to {peer[0]}:{peer[1]}"
    peer = peer.decode("utf-8", "replace") if isinstance(peer, bytes) else peer
    return f"a connection to {peer}" if peer else None  # else one end of a pair of its own


def danger_of(descriptor):
    """What workers would have in common by it, or None."""
    try:
        link = os.readlink(f"/proc/self/fd/{descriptor}")
        if link.startswith("socket:"):
            return socket_name(descriptor)
        if link == "anon_inode:[eventpoll]":
            return "an event loop"
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            with open(link, "rb") as file:
                return f"the SQLite database {link}" if file.read(16) == SQLITE else None
    except OSError:
        pass
    return None


class Watch:
    """Names what was opened since it was made or asked last."""

    def __init__(self):
        self.known = descriptors()

    def report(self, when):
        now = descriptors()
        found = [danger_of(descriptor) for descriptor in sorted(now - self.known)]
        found = [what for what in found if what]
        self.known = now
        if not found:
            return
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        log(f"warning: {CONFIG['wsgi']} opens {', '.join(found[:SHOWN])}{more} {when}. All workers "
            "would share it, and one could read what is meant for another. Open it at the first "
            "request; or drop it in each worker with os.register_at_fork(after_in_child=...), for "
            "SQLAlchemy: lambda: engine.dispose(close=False)")


def close_known():
    """Django's connections are opened again when they are needed."""
    django = sys.modules.get("django.db")
    if django is not None:
        try:
            django.connections.close_all()
        except Exception as error:
            log(f"warning: cannot close the connections of Django: {error}")


def warm(application):
    """Asks for the pages of app.warm. One that fails is no reason not to start. ASGI needs an event
    loop and lifespan for it, which cannot be forked: asgi.py does it in each worker."""
    if CONFIG["kind"] == "asgi":
        return
    for path in CONFIG["warm"]:
        failure = probe(application, path, "warm")
        if failure:
            log(f"warning: {failure}")
    close_known()


def load_in_worker():
    application = find_application(CONFIG["wsgi"])
    warm(application)
    return application
