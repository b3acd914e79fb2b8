"""What this application is started with: the JSON of app/start.c in TRILITH_APP."""
import json
import os
import sys

CONFIG = json.loads(os.environ.pop("TRILITH_APP"))
NAME = CONFIG["name"]
ENVIRONMENT = dict(os.environ)


class RequestTimeout(BaseException):
    """Raised in a request that is over its deadline; the client has its 504 already."""

    def __init__(self, text="the request took longer than app.request-timeout"):
        super().__init__(text)


class Refused(Exception):
    """The application cannot be started; the text says why and what to do."""


def log(line):
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
