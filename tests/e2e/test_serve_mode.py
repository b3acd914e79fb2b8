"""`trilith serve DIR`: a static server without any file to write."""
import pathlib

import harness


def test_serves_a_folder(workshop):
    workshop.write("public/index.html", "<h1>here</h1>")
    port = harness.free_port()
    site = workshop.begin(["serve", "public", "--listen", f"127.0.0.1:{port}"], port=port)
    assert site.get("/").text == "<h1>here</h1>"
    assert site.get("/none").status == 404
    assert site.stop() == 0


def test_says_where(workshop):
    workshop.write("public/a.txt", "a")
    port = harness.free_port()
    site = workshop.begin(["serve", "public", "--listen", f"127.0.0.1:{port}"], port=port)
    harness.wait_for(lambda: f"http://127.0.0.1:{port}" in site.output, 5, "the address")


def test_big_download_at_constant_memory(workshop):
    """1 GiB, sparse on disk, to a client that reads fast, and the process grows by nothing."""
    import hashlib
    import http.client
    size = 1 << 30
    with open(workshop.write("public/big", b""), "wb") as file:
        file.truncate(size)
        file.seek(size - 4)
        file.write(b"last")
    port = harness.free_port()
    site = workshop.begin(["serve", "public", "--listen", f"127.0.0.1:{port}"], port=port)
    workshop.write("public/small", "small")
    site.get("/small")
    before = {pid: harness.private_kib(pid) for pid in site.tree()}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/big")
    answer = connection.getresponse()
    length, last, peak = 0, b"", 0
    digest = hashlib.sha256()
    while piece := answer.read(1 << 20):
        length += len(piece)
        last = piece
        if length % (64 << 20) < 1 << 20:
            peak = max(peak, *(harness.private_kib(p) - before.get(p, 0) for p in site.tree()))
    connection.close()
    digest.update(last)
    assert length == size and last.endswith(b"last")
    assert peak < 16384, f"{peak} KiB more"


def test_folders_of_the_killed_are_removed(workshop):
    """What kill -9 leaves behind is removed by the next one; what is in use is not."""
    workshop.write("public/a.txt", "a")
    environment = {"XDG_RUNTIME_DIR": str(workshop.folder)} if not harness.IS_ROOT else {}
    base = pathlib.Path(environment.get("XDG_RUNTIME_DIR", "/tmp"))

    def serve():
        before = set(base.glob("trilith-run-*"))
        port = harness.free_port()
        site = workshop.begin(["serve", "public", "--listen", f"127.0.0.1:{port}"], port=port,
                              environment=environment)
        return site, set(base.glob("trilith-run-*")) - before
    killed, (left,) = serve()
    killed.kill_all()
    assert left.exists()
    living, (used,) = serve()
    assert not left.exists(), "the next one removes it"
    other, (last,) = serve()
    assert used.exists(), "but not what is in use"
    assert living.stop() == other.stop() == 0
    assert not used.exists() and not last.exists()
