"""WSGI (PEP 3333): what is in every environ, the report of an exception, asking for a page."""
import io
import sys
import traceback

import _trilith

from trilith_app.config import CONFIG, log


def template():
    return {
        "wsgi.version": (1, 0),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": CONFIG["threads"] > 1,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
        "wsgi.file_wrapper": _trilith.FileWrapper,
        "SERVER_SOFTWARE": CONFIG["software"],
        "GATEWAY_INTERFACE": "CGI/1.1",
    }


def report(environ, error):
    """An exception of the application goes to the log with the request it happened in."""
    environ = environ or {}
    query = environ.get("QUERY_STRING")
    request = "{} {}{} request={}".format(
        environ.get("REQUEST_METHOD", "?"), environ.get("PATH_INFO", "?"),
        "?" + query if query else "", environ.get("REQUEST_ID", "?"))
    if isinstance(error, BaseException):
        text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    else:
        text = str(error)
    log(f"exception in {request.encode('unicode_escape').decode()}\n{text.rstrip()}")


def probe(application, path, what):
    """Asks the application for a page as a client would; None or what is wrong with the page that is
    called by `what` (ready, warm)."""
    path, _, query = path.partition("?")
    environ = dict(template(), REQUEST_METHOD="GET", SCRIPT_NAME=CONFIG["mount"], PATH_INFO=path,
                   QUERY_STRING=query, SERVER_NAME=CONFIG["host"], SERVER_PORT="80",
                   SERVER_PROTOCOL="HTTP/1.1", HTTP_HOST=CONFIG["host"], REMOTE_ADDR="127.0.0.1",
                   HTTP_USER_AGENT="trilith-" + what, REQUEST_ID=what)
    environ["wsgi.url_scheme"] = "http"
    environ["wsgi.input"] = io.BytesIO()
    seen = []

    def start_response(status, headers, exc_info=None):
        seen[:] = [status]
        return lambda data: None

    try:
        result = application(environ, start_response)
        try:
            for _ in result:
                pass
        finally:
            if hasattr(result, "close"):
                result.close()
    except Exception as error:
        report(environ, error)
        lines = traceback.format_exception_only(type(error), error)
        return f"the {what} page {path} failed: {lines[-1].strip()}"
    if not seen or not seen[0][:1] in ("2", "3", "4"):
        return f"the {what} page {path} was answered '{seen[0] if seen else 'nothing'}'"
    return None
