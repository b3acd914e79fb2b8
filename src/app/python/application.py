"""The application: its folder, its import, and what went wrong there."""
import importlib
import os
import sys
import traceback

from trilith_app.config import CONFIG, Refused


def enter_root():
    """Working directory and first of sys.path. A root below a folder that this user may not pass
    is entered by the descriptor that the parent opened."""
    root = CONFIG["root"]
    try:
        os.chdir(root)
        os.listdir(root)
    except OSError as error:
        root = f"/proc/self/fd/{CONFIG['root_fd']}"
        try:
            os.chdir(root)
            os.listdir(root)
        except OSError:
            raise Refused(f"{CONFIG['user']} (uid {os.getuid()}) cannot read the folder "
                          f"'{CONFIG['root']}': {error.strerror}; `chmod -R o+rX "
                          f"{CONFIG['root']}` lets it, or set app.user") from error
    if sys.path and sys.path[0] == "":
        del sys.path[0]
    sys.path.insert(0, root)
    sys.argv = [CONFIG["wsgi"]]


def find_application(wsgi):
    """'module:callable', also with dots in the callable, or 'module:factory()'."""
    name, _, expression = wsgi.partition(":")
    expression = expression or "application"
    is_factory = expression.endswith("()")
    target = importlib.import_module(name)
    for attribute in (expression[:-2] if is_factory else expression).split("."):
        try:
            target = getattr(target, attribute)
        except AttributeError:
            raise Refused(f"'{name}' ({getattr(target, '__file__', 'built in')}) has no "
                          f"'{attribute}', which app.{CONFIG['kind']} '{wsgi}' names") from None
    if is_factory:
        target = target()
    if not callable(target):
        raise Refused(f"'{wsgi}' is not callable but {type(target).__name__}")
    return target


def own_frames(error):
    """The traceback without our own modules and the import system."""
    frames = traceback.extract_tb(error.__traceback__)
    hidden = ("<frozen importlib", "<trilith")
    return [frame for frame in frames if not frame.filename.startswith(hidden)
            and "importlib/__init__.py" not in frame.filename]


def reason_of(error):
    if isinstance(error, Refused):
        return str(error)
    frames = own_frames(error)
    lines = traceback.format_exception_only(type(error), error)
    where = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    reason = f"cannot import '{CONFIG['wsgi']}': {lines[-1].strip()}{where}"
    shown = traceback.format_list(frames[-3:]) + lines
    return reason + "\n" + "".join(shown).rstrip()
