"""What the rule scripts share: which files there are, and their text without comments."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent

_LITERAL = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def files(arguments):
    """The .c and .h files named (or below the folders named), default: src. Paths from ROOT."""
    found = []
    for name in arguments or [str(ROOT / "src")]:
        path = pathlib.Path(name)
        found += sorted(p for p in path.rglob("*") if p.suffix in (".c", ".h")) \
            if path.is_dir() else [path]
    return found


def folder_of(path):
    """'core' for src/core/text.c, '' for src/main.c and anything not below a src folder."""
    parts = path.parts
    if "src" not in parts:
        return ""
    below = parts[len(parts) - parts[::-1].index("src"):]
    return below[0] if len(below) > 1 else ""


def show(path):
    try:
        return str(path.resolve().relative_to(ROOT))
    except ValueError:
        return str(path)


def blank(text, strings=True):
    """Comments (and strings) replaced by blanks; line numbers stay."""
    def replace(match):
        word = match.group(0)
        if word[0] in "\"'" and not strings:
            return word
        return re.sub(r"[^\n]", " ", word)
    return _LITERAL.sub(replace, text)


def report(complaints):
    """Prints them, returns the exit status."""
    for path, line, message in complaints:
        print(f"{show(path)}:{line}: {message}")
    return 1 if complaints else 0


def main(check):
    complaints = []
    for path in files(sys.argv[1:]):
        complaints += [(path, line, message) for line, message in check(path)]
    sys.exit(report(complaints))
