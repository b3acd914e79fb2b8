"""Static files: types, validators, ranges, compressed forms, and nothing outside the folder."""
import gzip
import os
import pathlib

import pytest

import sites

PAGE = "<!doctype html><title>Foobar</title>" + "<p>some text to compress</p>" * 200


@pytest.fixture(scope="module")
def site(module_workshop):
    shop = module_workshop
    public = shop.folder / "public"
    shop.write("public/index.html", PAGE)
    shop.write("public/a.txt", "0123456789")
    shop.write("public/empty.txt", "")
    shop.write("public/style.css", "body { color: red }\n" * 100)
    shop.write("public/picture.png", bytes(range(256)) * 16)
    shop.write("public/pre.js", "plain")
    shop.write("public/pre.js.gz", gzip.compress(b"precompressed"))
    shop.write("public/big.bin", os.urandom(3 << 20))
    shop.write("public/sub/index.html", "sub")
    shop.write("public/nolist/file.txt", "x")
    shop.write("public/.secret", "no")
    shop.write("public/.git/config", "no")
    shop.write("public/sp ace é.txt", "named")
    shop.write("outside.txt", "outside")
    (public / "link.txt").symlink_to(shop.folder / "outside.txt")
    (public / "linkdir").symlink_to(shop.folder)
    os.mkfifo(public / "pipe")
    return shop.up(sites.STATIC)


def test_index_and_type(site):
    answer = site.get("/")
    assert answer.status == 200 and answer.text == PAGE
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.headers["content-length"] == str(len(PAGE))


@pytest.mark.parametrize("path,kind", [("/a.txt", "text/plain"), ("/style.css", "text/css"),
                                       ("/picture.png", "image/png"), ("/pre.js", "javascript"),
                                       ("/big.bin", "application/octet-stream")])
def test_mime_types(site, path, kind):
    assert kind in site.get(path).headers["content-type"]


def test_bytes_are_the_files(site):
    assert site.get("/big.bin").body == (site.folder / "public/big.bin").read_bytes()
    assert site.get("/empty.txt").body == b""
    assert site.get("/sp%20ace%20%C3%A9.txt").text == "named"


def test_head_has_the_length_and_no_body(site):
    answers = site.talk("HEAD /a.txt HTTP/1.1\r\nHost: x\r\n\r\n"
                        "GET /a.txt HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", ["HEAD"])
    assert [a.status for a in answers] == [200, 200]
    assert answers[0].headers["content-length"] == "10" and answers[1].body == b"0123456789"


def test_folder_without_slash_redirects(site):
    answer = site.get("/sub")
    assert answer.status in (301, 308) and answer.headers["location"].endswith("/sub/")
    assert site.get("/sub/").text == "sub"


def test_no_listing_unless_asked(site):
    assert site.get("/nolist/").status in (403, 404)


@pytest.mark.parametrize("path", ["/none", "/sub/none.html", "/a.txt/", "/a.txt/b", "/pipe"])
def test_what_is_not_there_is_404(site, path):
    assert site.get(path).status in (403, 404)


@pytest.mark.parametrize("target", [
    "/../outside.txt", "/..%2foutside.txt", "/%2e%2e/outside.txt", "/sub/../../outside.txt",
    "/sub/%2e%2e/%2e%2e/outside.txt", "/..%5coutside.txt", "/....//outside.txt",
    "/.secret", "/.git/config", "/%2esecret", "/sub/..%2f.secret", "/link.txt",
    "/linkdir/outside.txt", "/a.txt%00.html", "/%00", "//etc/passwd", "/./../outside.txt",
    "/%252e%252e/outside.txt", "/\\..\\outside.txt"])
def test_nothing_outside_or_hidden(site, target):
    answers = site.talk(f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert len(answers) == 1 and answers[0].status in (400, 403, 404)
    assert b"outside" not in answers[0].body.replace(target.encode(), b"")


def test_etag_and_modified_make_304(site):
    first = site.get("/a.txt")
    etag, modified = first.headers["etag"], first.headers["last-modified"]
    for headers in ({"If-None-Match": etag}, {"If-None-Match": f'"x", {etag}'},
                    {"If-None-Match": "*"}, {"If-None-Match": "W/" + etag.removeprefix("W/")},
                    {"If-Modified-Since": modified}):
        again = site.get("/a.txt", headers=headers)
        assert again.status == 304 and again.body == b"", headers
        assert again.headers.get("etag") == etag
    for headers in ({"If-None-Match": '"other"'},
                    {"If-None-Match": '"other"', "If-Modified-Since": modified},
                    {"If-Modified-Since": "Sat, 01 Jan 2000 00:00:00 GMT"},
                    {"If-Modified-Since": "not a date"}):
        assert site.get("/a.txt", headers=headers).status == 200, headers
    assert site.get("/a.txt", headers={"If-Match": '"other"'}).status == 412
    assert site.get("/a.txt", headers={
        "If-Unmodified-Since": "Sat, 01 Jan 2000 00:00:00 GMT"}).status == 412


@pytest.mark.parametrize("asked,status,content_range,body", [
    ("bytes=0-3", 206, "bytes 0-3/10", b"0123"), ("bytes=4-", 206, "bytes 4-9/10", b"456789"),
    ("bytes=-2", 206, "bytes 8-9/10", b"89"), ("bytes=8-100", 206, "bytes 8-9/10", b"89"),
    ("bytes=-100", 206, "bytes 0-9/10", b"0123456789"), ("bytes=10-", 416, "bytes */10", None),
    ("bytes=-0", 416, "bytes */10", None), ("bytes=5-2", 200, None, b"0123456789"),
    ("bytes=a-b", 200, None, b"0123456789"), ("lines=1-2", 200, None, b"0123456789")])
def test_ranges(site, asked, status, content_range, body):
    answer = site.get("/a.txt", headers={"Range": asked})
    assert answer.status == status
    assert answer.headers.get("content-range") == content_range
    assert body is None or answer.body == body


def test_several_ranges(site):
    answer = site.get("/picture.png", headers={"Range": "bytes=0-1,4000-4001"})
    assert answer.status == 206
    kind, _, boundary = answer.headers["content-type"].partition("; boundary=")
    assert kind == "multipart/byteranges"
    parts = answer.body.split(b"--" + boundary.strip('"').encode())
    assert b"bytes 0-1/4096" in parts[1] and parts[1].endswith(b"\r\n\r\n\x00\x01\r\n")
    assert b"bytes 4000-4001/4096" in parts[2] and parts[2].endswith(b"\r\n\r\n\xa0\xa1\r\n")
    assert parts[3].startswith(b"--")


def test_if_range(site):
    etag = site.get("/a.txt").headers["etag"]
    partial = site.get("/a.txt", headers={"Range": "bytes=0-0", "If-Range": etag})
    whole = site.get("/a.txt", headers={"Range": "bytes=0-0", "If-Range": '"other"'})
    assert (partial.status, whole.status) == (206, 200)


def test_many_ranges_do_not_multiply_the_work(site):
    many = "bytes=" + ",".join("0-" for _ in range(500))
    answer = site.get("/big.bin", headers={"Range": many})
    assert answer.status in (200, 206, 416) and len(answer.body) <= 4 << 20


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd"])
def test_text_is_compressed_when_asked(site, encoding):
    answer = site.get("/style.css", headers={"Accept-Encoding": encoding})
    assert answer.headers.get("content-encoding") == encoding
    assert "accept-encoding" in answer.headers["vary"].lower()
    assert len(answer.body) < 500
    if encoding == "gzip":
        assert gzip.decompress(answer.body) == (site.folder / "public/style.css").read_bytes()
    plain = site.get("/style.css")
    assert answer.headers.get("etag") != plain.headers["etag"] or \
        plain.headers["etag"].startswith("W/")


@pytest.mark.parametrize("headers", [{}, {"Accept-Encoding": "identity"},
                                     {"Accept-Encoding": "gzip;q=0"}])
def test_no_compression_when_not_wanted(site, headers):
    assert "content-encoding" not in site.get("/style.css", headers=headers).headers


def test_pictures_are_not_compressed(site):
    assert "content-encoding" not in site.get(
        "/picture.png", headers={"Accept-Encoding": "gzip, br"}).headers


def test_precompressed_sibling_is_used(site):
    answer = site.get("/pre.js", headers={"Accept-Encoding": "gzip"})
    assert gzip.decompress(answer.body) == b"precompressed"
    assert site.get("/pre.js").body == b"plain"


def test_methods(site):
    assert site.request("POST", "/a.txt", body=b"x").status == 405
    assert "GET" in site.request("POST", "/a.txt", body=b"x").headers["allow"]
    options = site.request("OPTIONS", "/a.txt")
    assert options.status in (200, 204) and "GET" in options.headers["allow"]


def test_a_changed_file_is_seen(site):
    path = pathlib.Path(site.folder / "public/changes.txt")
    path.write_text("one")
    first = site.get("/changes.txt")
    path.with_suffix(".new").write_text("second")
    path.with_suffix(".new").rename(path)
    second = site.get("/changes.txt")
    assert (first.text, second.text) == ("one", "second")
    assert first.headers["etag"] != second.headers["etag"]


def test_headers_of_every_answer(site):
    answer = site.get("/a.txt")
    assert "date" in answer.headers and "accept-ranges" in answer.headers
    assert len([1 for name, _ in answer.all_headers if name == "content-length"]) == 1


def test_requests_are_logged_with_their_id(site):
    import harness
    site.get("/a.txt?logged=once")

    def logged():
        return "logged=once" in site.all_logs()
    harness.wait_for(logged, 10, "the line in the access log")
