"""What a worker costs: its share of the machine's memory (PSS), and whether there is room for one
more. Pages that workers share count for each of them by its part, so the sum is what is really used
(docs/decisions/021-worker-memory.md)."""
import os

PAGE = os.sysconf("SC_PAGESIZE")


def read(path):
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def resident(pid):
    """Bytes of all its pages, shared ones too: never less than pss(), and cheap to ask."""
    words = read(f"/proc/{pid}/statm").split()
    return int(words[1]) * PAGE if len(words) > 1 else 0


def field(text, name):
    """Bytes of a line 'Name:   12 kB', or None."""
    for line in text.splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    return None


def pss(pid):
    """Its share in bytes; 0 for a process that is gone."""
    return field(read(f"/proc/{pid}/smaps_rollup"), "Pss:") or 0


def group_room():
    """Bytes that the control group of this process may still take, or None without a limit."""
    for line in read("/proc/self/cgroup").splitlines():
        if line.startswith("0::"):
            folder = "/sys/fs/cgroup" + line[3:].strip()
            most = read(folder + "/memory.max").strip()
            now = read(folder + "/memory.current").strip()
            if most.isdigit() and now.isdigit():
                return max(int(most) - int(now), 0)
    return None


def room():
    """Bytes that a new process may take before the machine, or its control group, is short."""
    free = field(read("/proc/meminfo"), "MemAvailable:")
    group = group_room()
    known = [number for number in (free, group) if number is not None]
    return min(known) if known else 1 << 62


def megabytes(size):
    return f"{size / (1 << 20):.0f} MiB"
