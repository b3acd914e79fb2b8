"""/metrics of an agent, as others read it: promtool, a real Prometheus, and beside node_exporter;
and what was measured beside what really happened."""
import functools
import json
import os
import re
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest

import harness
import monitors

SITE = """
site: www.watched.test
listen: { http: HTTP_PORT, metrics: METRICS, monitor: MONITOR }
web: { workers: 1, static: { /: www } }
monitor: {}
"""
OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
pytestmark = pytest.mark.skipif(shutil.which("promtool") is None,
                                reason="needs Debian's prometheus; run: tools/setup test")


class Watched:
    def __init__(self, shop):
        self.metrics, self.monitor = harness.free_port(), harness.free_port()
        text = SITE.replace("METRICS", str(self.metrics)).replace("MONITOR", str(self.monitor))
        self.site = shop.up(text, {"www/index.html": "hello\n"})
        self.shop = shop

    @functools.cached_property
    def history(self):
        """One login for all: their number is limited. It outlives a monitor that is killed."""
        token = next(self.site.state.glob("*/secrets/monitor-token")).read_text().strip()
        return monitors.History(self.monitor, token)


@pytest.fixture(scope="module")
def watched():
    shop = harness.Workshop()
    try:
        yield Watched(shop)
    finally:
        shop.close()


class Program:
    """A foreign one, for the length of a test."""

    def __init__(self, arguments, port, log):
        self.port = port
        with open(log, "wb") as output:
            self.process = subprocess.Popen(arguments, stdout=output, stderr=output,
                                            stdin=subprocess.DEVNULL)

    def __enter__(self):
        harness.wait_for(lambda: harness.is_listening(self.port), 20, "it listens")
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(20)

    def ask(self, question):
        """The values of an instant query of a Prometheus, by the label `job` or none."""
        query = urllib.parse.urlencode({"query": question})
        url = f"http://127.0.0.1:{self.port}/api/v1/query?{query}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            found = json.load(answer)
        return [float(row["value"][1]) for row in found["data"]["result"]]


def check(text):
    return subprocess.run(["promtool", "check", "metrics"], input=text, text=True, timeout=30,
                          capture_output=True)


def test_promtool_finds_nothing_wrong(watched):
    watched.site.get("/")
    harness.wait_for(lambda: "trilith_route_latency_seconds_count" in
                     monitors.scrape(watched.metrics)[0], 10, "a second is measured")
    text, kind = monitors.scrape(watched.metrics)
    assert kind == "text/plain; version=0.0.4; charset=utf-8"
    done = check(text)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    found = monitors.samples(text)
    assert len(found) > 80
    assert not any(name.startswith("trilith_db_") for name in found), "there is no database"
    assert check("trilith_total{a=\"b\"} x\n").returncode != 0, "promtool does look"
    families = set(re.findall(r"^# TYPE (\S+)", text, re.M))
    assert families == set(re.findall(r"^# HELP (\S+)", text, re.M))


def test_openmetrics_where_it_is_asked_for(watched):
    text, kind = monitors.scrape(watched.metrics, accept=OPENMETRICS)
    assert kind == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert text.endswith("# EOF\n") and text.count("# EOF") == 1
    assert "# TYPE trilith_requests counter\n" in text and "\ntrilith_requests_total " in text
    monitors.samples(text)


def test_nothing_but_metrics_is_there(watched):
    for path in ("/", "/metrics/", "/metric", "/..%2fmetrics"):
        with pytest.raises(urllib.error.HTTPError) as error:
            monitors.scrape(watched.metrics, path)
        assert error.value.code in (400, 404), path


def prometheus(watched, targets):
    port, folder = harness.free_port(), watched.shop.folder / "prometheus"
    jobs = "".join(f"""
  - job_name: {name}
    static_configs: [ {{ targets: ["127.0.0.1:{target}"] }} ]""" for name, target in targets.items())
    watched.shop.write("prometheus.yml", f"""
global: {{ scrape_interval: 1s }}
scrape_configs:{jobs}
""")
    return Program(["prometheus", f"--config.file={watched.shop.folder}/prometheus.yml",
                    f"--storage.tsdb.path={folder}", f"--web.listen-address=127.0.0.1:{port}"],
                   port, watched.shop.folder / "prometheus.log")


def exporter(watched):
    port = harness.free_port()
    return Program(["prometheus-node-exporter", f"--web.listen-address=127.0.0.1:{port}"], port,
                   watched.shop.folder / "exporter.log")


def near(one, other, share=0.02, beside=0.0):
    return abs(one - other) <= max(abs(one), abs(other)) * share + beside


def test_figures_are_those_of_node_exporter_wrk_and_prometheus(watched):
    """One run: wrk asks the site, a Prometheus scrapes us and node_exporter each second."""
    before = watched.history
    with exporter(watched) as node, \
            prometheus(watched, {"trilith": watched.metrics, "node": node.port}) as server:
        harness.wait_for(lambda: server.ask("up == 1") == [1.0, 1.0], 20, "both are scraped")
        was = monitors.samples(monitors.scrape(watched.metrics)[0])["trilith_requests_total"]
        began = time.time()
        done = subprocess.run(["wrk", "-t1", "-c2", "-d4s", f"http://127.0.0.1:{watched.site.port}/"],
                              capture_output=True, text=True, timeout=60)
        asked = int(re.search(r"(\d+) requests in", done.stdout)[1])

        def counted():
            now = monitors.samples(monitors.scrape(watched.metrics)[0])["trilith_requests_total"]
            return now - was

        harness.wait_for(lambda: near(counted(), asked), 5, "the counters agree with wrk's")
        harness.wait_for(lambda: near(server.ask("max(trilith_requests_total)")[0] - was, asked), 10,
                         "and so does what Prometheus has got")
        harness.wait_for(lambda: near(server.ask("trilith_route_latency_seconds_count")[0] - was,
                                      asked), 10, "the histogram has as many")
        low, high = (server.ask(f"histogram_quantile({q}, sum by (le) "
                                "(rate(trilith_route_latency_seconds_bucket[10s])))")
                     for q in (0.5, 0.99))
        assert 0 < low[0] <= high[0] < 5
        for own, theirs in (("trilith_memory_total_bytes", "node_memory_MemTotal_bytes"),
                            ("trilith_memory_available_bytes", "node_memory_MemAvailable_bytes"),
                            ("trilith_filesystem_total_bytes{path='/'}",
                             "node_filesystem_size_bytes{mountpoint='/'}"),
                            ("trilith_cpu_idle_seconds_total",
                             "sum(node_cpu_seconds_total{mode='idle'})"),
                            ("trilith_cpu_busy_seconds_total",
                             "sum(node_cpu_seconds_total{mode!~'idle|iowait'})"),
                            ("sum(trilith_disk_written_bytes_total)",
                             "sum(node_disk_written_bytes_total{device!~'dm.*|loop.*|md.*'})")):
            mine, node_has = server.ask(own), server.ask(theirs)
            if node_has:  # a container may show no disks
                assert near(mine[0], node_has[0]), (own, mine, node_has)
    # and the monitor's own history has as many
    harness.wait_for(lambda: near(sum(filter(None, before.ask(
        "local", "http.requests", began - 2, began + 14))), asked), 15, "the history agrees")


def measured(watched, since):
    """Whether the history has something of that second or later."""
    try:
        return any(watched.history.ask("local", "cpu.count", since, time.time() + 2))
    except OSError:  # the page is not there yet
        return False


def test_a_killed_agent_or_monitor_is_a_gap_at_most(watched):
    harness.wait_for(lambda: watched.history.last("local", "cpu.count"), 10, "the first seconds")
    began = int(time.time())
    for title in ("agent", "monitor"):
        killed = watched.site.find(title)
        assert len(killed) == 1
        os.kill(killed[0], signal.SIGKILL)
        harness.wait_for(lambda title=title, killed=killed:
                         watched.site.find(title) not in ([], killed), 10, "it is started again")
        again = int(time.time()) + 1
        harness.wait_for(lambda again=again: measured(watched, again), 20,
                         f"it goes on after {title} was killed")
    values = watched.history.ask("local", "cpu.count", began - 5, time.time() - 1)
    there = [value for value in values if value is not None]
    assert len(set(there)) == 1, "no value is a wrong one"
    assert len(there) >= len(values) // 2, values
    harness.wait_for(lambda: [watched.history.last("local", f"process/{title}/restarts", 3)
                              for title in ("agent", "monitor")] == [1, 1], 10, "one restart each")
    assert watched.site.get("/").status == 200
