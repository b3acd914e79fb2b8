"""The protocol that this application speaks, by functions that are the same for all of them."""
from trilith_app import wsgi


def probe(application, path, what):
    """Asks it for a page as a client would. None, or what is wrong with the page that is called by
    `what` (ready, warm)."""
    return wsgi.probe(application, path, what)
