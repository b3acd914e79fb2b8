"""WordPress from Debian's package: installed, logged in to, written and uploaded to in a real
browser."""
import json
import pathlib
import re
import shutil
import subprocess
import zlib

import pytest

import harness
from test_guestbook_in_chromium import browser  # noqa: F401 (a fixture)

EXAMPLES = harness.ROOT / "examples"
PASSWORD = "correct horse battery staple 17"


@pytest.fixture
def site(workshop):
    shutil.copytree(EXAMPLES / "wordpress", workshop.folder / "wordpress",
                    ignore=shutil.ignore_patterns("public"))
    done = subprocess.run([workshop.folder / "wordpress/setup"], capture_output=True, text=True,
                          timeout=60)
    assert done.returncode == 0, done.stderr
    text = (EXAMPLES / "wordpress.yaml").read_text().replace("8080", "HTTP_PORT")
    return workshop.up(text)


def picture(path):
    """A PNG of noise: any byte that changed would show."""
    def chunk(kind, data):
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")
    rows = b"".join(b"\0" + bytes((x * y * 7 + x) % 251 for x in range(300)) for y in range(100))
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", (100).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0") + \
        chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")
    pathlib.Path(path).write_bytes(data)
    return data


def install(browser, site):  # noqa: F811
    browser.open(site.url + "/")
    assert browser.script("return location.pathname") == "/wp-admin/install.php"
    assert browser.script("return getComputedStyle(document.body).maxWidth") != "none"  # its CSS is there
    browser.type("#weblog_title", "Stones & Lintels")
    browser.type("#user_login", "ada")
    browser.script("document.querySelector('#pass1').value = document.querySelector('#pass2').value ="
                   f" '{PASSWORD}'; document.querySelector('[name=pw_weak]').checked = true")
    browser.type("#admin_email", "ada@example.com")
    browser.click("#submit")
    harness.wait_for(lambda: "Success" in browser.text("h1 + p, h1"), 90, "the installation")


def log_in(browser, site):  # noqa: F811
    browser.open(site.url + "/wp-login.php")
    harness.wait_for(lambda: browser.script("return document.activeElement.id") == "user_login", 30)
    browser.type("#user_login", "ada")
    browser.type("#user_pass", PASSWORD)
    browser.click("#wp-submit")
    harness.wait_for(lambda: browser.script("return location.pathname") == "/wp-admin/", 60, "login")
    assert "Dashboard" in browser.text("h1")


def write_post(browser, site):  # noqa: F811
    browser.open(site.url + "/wp-admin/post-new.php")
    harness.wait_for(lambda: browser.script(
        "return !!(window.wp && wp.data && wp.data.select('core/editor') &&"
        " wp.data.select('core/editor').getCurrentPostId())"), 90, "the editor")
    browser.script("wp.data.dispatch('core/editor').editPost({title: 'A post of stone',"
                   " content: '<!-- wp:paragraph --><p>Upright &amp; heavy.</p><!-- /wp:paragraph -->',"
                   " status: 'publish'}); wp.data.dispatch('core/editor').savePost()")
    harness.wait_for(lambda: browser.script(
        "return wp.data.select('core/editor').isCurrentPostPublished() &&"
        " !wp.data.select('core/editor').isSavingPost()"), 60, "the post")


def set_permalinks(browser, site):  # noqa: F811
    browser.open(site.url + "/wp-admin/options-permalink.php")
    browser.script("document.querySelector('#permalink_structure').value = '/%postname%/';"
                   "document.querySelector('[name=selection][value=custom]').checked = true;")
    browser.click("#submit")
    harness.wait_for(lambda: browser.script(
        "return !!document.querySelector('#setting-error-settings_updated, .notice-success')"), 60)


def upload(browser, site, path):  # noqa: F811
    browser.open(site.url + "/wp-admin/media-new.php?browser-uploader")
    browser.type("#async-upload", str(path))
    browser.click("#html-upload")
    harness.wait_for(lambda: browser.script("return location.pathname") == "/wp-admin/upload.php", 60,
                     "the upload")


def test_wordpress_from_its_installer_to_its_feed(workshop, site, browser):  # noqa: F811
    install(browser, site)
    log_in(browser, site)
    write_post(browser, site)
    set_permalinks(browser, site)
    data = picture(workshop.folder / "menhir.png")
    upload(browser, site, workshop.folder / "menhir.png")

    browser.open(site.url + "/a-post-of-stone/")
    assert "Upright & heavy." in browser.text("body")
    assert browser.script("return document.title").startswith("A post of stone")
    feed = site.get("/feed/")
    assert feed.status == 200 and b"A post of stone" in feed.body
    assert feed.headers["content-type"].startswith("application/rss+xml")
    posts = json.loads(site.get("/wp-json/wp/v2/posts").body)
    assert "A post of stone" in [post["title"]["rendered"] for post in posts]
    media = json.loads(site.get("/wp-json/wp/v2/media").body)
    source = media[0]["source_url"]
    assert source.startswith(f"{site.url}/wp-content/uploads/"), source
    got = site.get(source[len(site.url):])
    assert got.body == data and got.headers["content-type"] == "image/png"
    assert "etag" in got.headers  # by the web server, not by php

    home = site.get("/").body.decode()
    assets = set(re.findall(r"""(?:href|src)=['"](%s/wp-[^'"?#]+\.(?:css|js))""" % site.url, home))
    assert assets
    for asset in assets:
        assert site.get(asset[len(site.url):]).status == 200, asset
    assert site.get("/no/such/page/").status == 404
    assert site.get("/?s=stone").status == 200
    for secret in ("/wp-config.php", "/keys.php"):
        assert PASSWORD not in site.get(secret).body.decode() and b"define" not in site.get(secret).body
    evil = workshop.folder / "wordpress/public/wp-content/uploads/evil.php"
    evil.write_text("<?php echo 6 * 7;")
    evil.chmod(0o644)
    assert site.get("/wp-content/uploads/evil.php").body != b"42"
