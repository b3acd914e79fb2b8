"""What a result was measured on: machine, versions, commit, and who else was busy."""
import datetime
import os
import platform
import re
import subprocess

import servers
import tls
from servers import TOP


def first_line(*command, pattern=r"(.*)"):
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, cwd=TOP,
                              check=False)
    except OSError:
        return ""
    match = re.search(pattern, done.stdout + done.stderr)
    return match.group(1).strip() if match else ""


def package(name):
    return first_line("dpkg-query", "-W", "-f=${Version}", name)


def processor():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        match = re.search(r"^model name\s*: (.*)", file.read(), re.M)
    return match.group(1) if match else platform.machine()


def build_type():
    """Of the measured program: the release build is what counts."""
    path = os.path.join(os.path.dirname(servers.TRILITH), "meson-info/intro-buildoptions.json")
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except OSError:
        return "unknown build"
    found = re.search(r'"name": "buildtype", "value": "(\w+)"', text)
    lto = re.search(r'"name": "b_lto", "value": (\w+)', text)
    return f"{found.group(1) if found else 'unknown'} build" + (
        " with LTO" if lto and lto.group(1) == "true" else "")


def describe():
    commit = first_line("git", "rev-parse", "--short=12", "HEAD")
    changed = first_line("git", "status", "--porcelain", "--untracked-files=no", "src")
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": processor(), "cores": os.cpu_count(),
        "kernel": f"{platform.system()} {platform.release()}",
        "commit": commit + (" with changes" if changed else ""), "build": build_type(),
        "load": os.getloadavg(), "nice": os.nice(0),
        "versions": {
            "Trilith": first_line(servers.TRILITH, "version", pattern=r"trilith (\S+)"),
            "nginx": first_line(servers.NGINX, "-v", pattern=r"nginx/(\S+)"),
            "h2o": first_line(tls.H2O, "--version", pattern=r"version (\S+)"),
            "haproxy": package("haproxy"),
            "gunicorn": package("gunicorn"), "uwsgi": package("uwsgi-core"),
            "uvicorn": package("python3-uvicorn"), "uvloop": package("python3-uvloop"),
            "httptools": package("python3-httptools"), "php-fpm": package("php8.2-fpm"),
            "Flask": package("python3-flask"), "Python": platform.python_version(),
            "MariaDB": package("mariadb-server-core"), "wrk": package("wrk"),
        },
    }


def one_line():
    load = os.getloadavg()
    note = "" if load[0] < 0.7 else "  (the machine is not idle: trust only the CPU figures)"
    return f"{processor()}, {platform.release()}, load {load[0]:.1f}{note}"
