"""What Trilith imports, once per version, before it forks workers.

Migrations run here: when one fails, so does the import, and the version before goes on serving. A
lock in the database keeps two servers from doing it at the same time.
"""
import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "notebook.settings")

from django.core.management import call_command  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.db import connection, connections  # noqa: E402


def migrate():
    with connection.cursor() as cursor:
        cursor.execute("SELECT GET_LOCK('migrations', 60)")
        if cursor.fetchone() != (1,):
            raise RuntimeError("another server has been migrating for a minute")
        try:
            call_command("migrate", interactive=False, verbosity=1)
        finally:
            cursor.execute("SELECT RELEASE_LOCK('migrations')")
    connections.close_all()  # workers must not share it


application = get_wsgi_application()
migrate()
