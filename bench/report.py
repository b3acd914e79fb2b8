"""Turns results into bench/RESULTS.md and the plot that it shows."""
import html

BUSY_LOAD = 0.7
HEAD = """# Results

Made by `make bench`; this file is written by it, so do not edit it. How it is measured:

- All servers of a case run on one core (`taskset` on the whole tree), wrk on another: one thread, 64
  connections. They are measured alternately, round by round; the figures are medians of the rounds.
- **CPU us/request** is user and system time of the server's whole tree of processes (also of
  children that died), divided by the requests that wrk counted. On a machine with neighbours it is
  the figure that holds; requests/s and latency are what wrk saw.
- A ratio compares Trilith with a peer in the same round; in brackets the least and the most of all
  rounds.
- Status and body of all servers are compared before and after; a single answer that is not 2xx, or
  a socket error, is shown in the row and fails it.
- Memory is the proportional set size of the tree after the load.
- Trilith has one edge process and one worker of the application, each peer one worker as well.

![CPU time per request]({plot})
"""


def target_text(one):
    verdict = "met" if one["met"] else "NOT met"
    if one["at_most"]:
        return (f"{one['ratio'] * 100:.0f} % of {one['peer']}'s CPU "
                f"({one['least'] * 100:.0f} .. {one['most'] * 100:.0f} %), "
                f"wanted at most {one['limit'] * 100:.0f} %: {verdict}")
    if one["limit"] < 1:
        return (f"{one['ratio'] * 100:.0f} % {one['text'] or 'of ' + one['peer']} "
                f"({one['least'] * 100:.0f} .. {one['most'] * 100:.0f} %), "
                f"wanted at least {one['limit'] * 100:.0f} %: {verdict}")
    return (f"{one['ratio']:.2f} x {one['peer']} ({one['least']:.2f} .. {one['most']:.2f}), "
            f"wanted at least {one['limit']:g} x: {verdict}")


def number(value, form):
    return "" if value is None else format(value, form)


def table(result):
    has_beside = any(row["beside_us"] for row in result["rows"])
    targets = {}
    for one in result["targets"]:
        targets.setdefault(one["peer"], []).append(target_text(one))
    lines = ["| server | CPU us/request | " + ("database's | " if has_beside else "") +
             "requests/s | p50 ms | p99 ms | memory MiB | Trilith to this |",
             "|---|---:|" + ("---:|" if has_beside else "") + "---:|---:|---:|---:|---|"]
    for row in result["rows"]:
        note = "; ".join(targets.get(row["name"], []))
        if row["errors"]:
            note = "; ".join(filter(None, [note, "**errors: " + "; ".join(
                dict.fromkeys(row["errors"])) + "**"]))
        cells = [row["name"], number(row["cpu_us"], ".1f")]
        if has_beside:
            cells.append(number(row["beside_us"], ".1f"))
        cells += [number(row["rps"], ".0f"), number(row["p50_ms"], ".2f"),
                  number(row["p99_ms"], ".2f"), number(row["memory_kib"] / 1024, ".1f"), note]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def section(result):
    at = result["machine"]
    lines = [f"## {result['title']}", ""] + table(result) + [""]
    if result["note"]:
        lines += [result["note"], ""]
    for reason in result["unavailable"]:
        lines += ["Not measured: " + reason.replace("\n", " ")[:300], ""]
    busy = f" **The machine was busy with other work: load {at['load'][0]:.1f} at the end.**" \
        if at["load"][0] > BUSY_LOAD + 2 else ""
    if at.get("nice"):
        busy += f" Servers and load ran at nice {at['nice']}."
    lines += [f"{at['date']}, commit {at['commit']}, {result['rounds']} rounds of "
              f"{result['seconds']} s, CPU from {result['source']}: `make bench-{result['group']}`."
              + busy, "", "<details><summary>Settings and commands</summary>", ""]
    for row in result["rows"]:
        lines.append(f"- **{row['name']}**: {row['about']}")
    commands = dict.fromkeys(row["command"] for row in result["rows"])
    lines += ["", "```", *commands, "```", "", "</details>", ""]
    return lines


def summary(results):
    lines = ["| what | Trilith | wanted | |", "|---|---|---|---|"]
    for result in results:
        for one in result["targets"]:
            percent = one["at_most"] or one["limit"] < 1
            value = f"{one['ratio'] * 100:.0f} %" if percent else f"{one['ratio']:.2f} x"
            wanted = f"{one['limit'] * 100:.0f} %" if percent else f"{one['limit']:g} x"
            what = "at most" if one["at_most"] else "at least"
            lines.append(f"| {result['title']} | {value} {one['text'] or 'of ' + one['peer']} | "
                         f"{what} {wanted} | {'met' if one['met'] else '**not met**'} |")
    return lines + [""]


def page(results):
    at = results[-1]["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in at["versions"].items() if version)
    lines = [HEAD.format(plot="results.svg")]
    lines += [f"- Machine: {at['processor']}, {at['cores']} cores, {at['kernel']}",
              f"- Versions: {versions}", f"- Trilith: {at['build']}", "", "## In short", "",
              *summary(results)]
    for result in results:
        lines += section(result)
    return "\n".join(lines)


# ---- the plot ----

ROW, BAR, LEFT, WIDTH = 22, 14, 210, 760
OURS, THEIRS, TEXT = "#2f7fd0", "#9a9a9a", "#808080"


def text(x, y, words, size=12, anchor="start", weight="normal", colour=TEXT):
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" '
            f'font-weight="{weight}" fill="{colour}">{html.escape(words)}</text>')


def plot(results):
    """Bars of CPU time per request, each case with its own scale. Its colours stand on light and on
    dark ground."""
    parts, y = [], 24
    for result in results:
        rows = sorted(result["rows"], key=lambda row: row["cpu_us"])
        most = max(row["cpu_us"] for row in rows)
        parts.append(text(8, y, result["title"], 14, weight="bold"))
        y += 10
        for row in rows:
            is_ours = row["name"].startswith("Trilith")
            width = (WIDTH - LEFT - 70) * row["cpu_us"] / most
            parts.append(text(LEFT - 8, y + BAR - 3, row["name"], anchor="end",
                              weight="bold" if is_ours else "normal"))
            parts.append(f'<rect x="{LEFT}" y="{y}" width="{max(width, 1):.1f}" height="{BAR}" '
                         f'rx="2" fill="{OURS if is_ours else THEIRS}"/>')
            parts.append(text(LEFT + width + 6, y + BAR - 3, f"{row['cpu_us']:.1f} us"))
            y += ROW
        y += 22
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y}" '
            f'viewBox="0 0 {WIDTH} {y}" font-family="sans-serif" role="img" '
            f'aria-label="CPU microseconds per request of Trilith and its peers">\n'
            + "\n".join(parts) + "\n</svg>\n")
