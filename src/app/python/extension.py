"""Loads the extension `_trilith` from its descriptor, before any module that needs it."""
import importlib.machinery
import importlib.util
import os
import sys
import traceback

from trilith_app.channel import PARENT, die_with_parent
from trilith_app.config import CONFIG, Refused


def load_extension():
    built_for = CONFIG["python"]
    ours = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if not built_for:
        raise Refused("this trilith was built without Python; install python3-dev and build again")
    if sys.implementation.name != "cpython" or ours != built_for or \
            hasattr(sys, "gettotalrefcount"):
        raise Refused(f"'{sys.executable}' is {sys.implementation.name} {ours}, but this trilith "
                      f"was built for CPython {built_for}: install python{built_for}, or name such "
                      f"an interpreter with app.python, or build trilith with the headers of {ours}")
    path = f"/proc/self/fd/{CONFIG['extension']}"
    loader = importlib.machinery.ExtensionFileLoader("_trilith", path)
    spec = importlib.util.spec_from_loader("_trilith", loader)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    sys.modules["_trilith"] = module


def own_descriptors():
    """All that came with us; not for the application's own children."""
    descriptors = [int(name) for name in os.listdir("/proc/self/fd") if int(name) > 2]
    kept = []
    for descriptor in descriptors:
        try:
            os.set_inheritable(descriptor, False)
            kept.append(descriptor)
        except OSError:
            pass  # the one that listed the folder
    return kept


try:
    DESCRIPTORS = own_descriptors()
    die_with_parent()
    load_extension()
except BaseException as error:
    if not isinstance(error, Refused):
        traceback.print_exc()
    PARENT.send("failed", str(error))
    sys.exit(1)
