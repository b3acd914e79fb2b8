"""A Django project with migrations, admin and MariaDB: examples/django.yaml as it is."""
import http.cookiejar
import re
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request

import pytest

import harness

EXAMPLES = harness.ROOT / "examples"

BROKEN = """
from django.db import migrations

def fail(apps, editor):
    raise RuntimeError("this migration fails on purpose")

class Migration(migrations.Migration):
    dependencies = [("notes", "0001_initial")]
    operations = [migrations.RunPython(fail)]
"""
GOOD = """
from django.db import migrations, models

class Migration(migrations.Migration):
    dependencies = [("notes", "0001_initial")]
    operations = [migrations.AddField("note", "author", models.CharField(
        max_length=50, default="", blank=True))]
"""


@pytest.fixture(scope="module")
def site(module_workshop):
    workshop = module_workshop
    shutil.copytree(EXAMPLES / "django", workshop.folder / "django",
                    ignore=shutil.ignore_patterns("__pycache__"))
    text = (EXAMPLES / "django.yaml").read_text()
    return workshop.up(text.replace("8080", "HTTP_PORT, dns: DNS_PORT"))


def manage(site, *arguments, **environment):
    """manage.py, as a person runs it."""
    url, = site.state.glob("*/secrets/database-url")
    done = subprocess.run(["/usr/bin/python3", "-B", "manage.py", *arguments],
                          cwd=site.folder / "django", capture_output=True, text=True, timeout=60,
                          env={"PATH": harness.PATH, "DATABASE_URL": url.read_text().strip(),
                               **environment})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Browser:
    """Keeps cookies, fills in forms with their CSRF token."""

    def __init__(self, url):
        self.url = url
        self.opener = urllib.request.build_opener(
            urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))

    def get(self, path):
        with self.opener.open(self.url + path, timeout=30) as answer:
            return answer.read().decode()

    def post(self, path, fields, token=True):
        if token:
            found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', self.get(path))
            fields = {"csrfmiddlewaretoken": found.group(1), **fields}
        data = urllib.parse.urlencode(fields).encode()
        with self.opener.open(self.url + path, data, timeout=30) as answer:
            return answer.read().decode()


def test_admin_adds_what_the_public_page_shows(site):
    browser = Browser(site.url)
    assert "No notes yet" in browser.get("/")
    assert "[X] 0001_initial" in manage(site, "showmigrations", "notes")
    manage(site, "createsuperuser", "--noinput", "--username", "anna", "--email", "a@example.com",
           DJANGO_SUPERUSER_PASSWORD="correct horse")

    with pytest.raises(urllib.error.HTTPError, match="403"):  # no token, no login
        browser.post("/admin/login/", {"username": "anna", "password": "correct horse"}, token=False)
    page = browser.post("/admin/login/?next=/admin/", {"username": "anna", "password": "wrong"})
    assert "Please enter the correct username" in page
    page = browser.post("/admin/login/?next=/admin/", {"username": "anna",
                                                       "password": "correct horse"})
    assert "Site administration" in page and "anna" in page

    page = browser.post("/admin/notes/note/add/", {"title": "Grüße & <b>", "text": "One\n\nTwo",
                                                   "is_public": "on"})
    assert "was added successfully" in page
    browser.post("/admin/notes/note/add/", {"title": "A secret", "text": ""})
    public = Browser(site.url).get("/")
    assert "Grüße &amp; &lt;b&gt;" in public and "<p>Two</p>" in public and "A secret" not in public

    css = site.get("/static/admin/css/base.css")
    assert css.status == 200 and css.headers["content-type"].startswith("text/css")
    assert css.headers.get("etag")  # the edge's answer, Django would have none


def test_migrations_decide_whether_a_release_serves(site):
    second = site.folder / "django/notes/migrations/0002_second.py"
    second.write_text(BROKEN)
    refused = site.reload(check=None)
    assert refused.returncode != 0 and "fails on purpose" in refused.stdout + refused.stderr
    assert "<h1>Notebook</h1>" in site.get("/").text  # the version before
    second.write_text(GOOD)
    models = site.folder / "django/notes/models.py"
    models.write_text(models.read_text().replace(
        "    text =", '    author = models.CharField(max_length=50, default="", blank=True)\n    text ='))
    site.reload()
    assert site.get("/").status == 200
    assert "[X] 0002_second" in manage(site, "showmigrations", "notes")
    assert "No changes detected" in manage(site, "makemigrations", "--check", "--dry-run")
