"""A small Django project in one module, for bench/memory.py: a page with a query and a template, and
the admin with its applications. `django_page.py migrate` makes its database (DJANGO_DATABASE)."""
import os
import sys

import django
from django.conf import settings

settings.configure(
    DEBUG=False, SECRET_KEY="only for measuring", ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3",
                           "NAME": os.environ.get("DJANGO_DATABASE", ":memory:")}},
    INSTALLED_APPS=["django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes",
                    "django.contrib.sessions", "django.contrib.messages",
                    "django.contrib.staticfiles"],
    MIDDLEWARE=["django.middleware.security.SecurityMiddleware",
                "django.contrib.sessions.middleware.SessionMiddleware",
                "django.middleware.common.CommonMiddleware",
                "django.middleware.csrf.CsrfViewMiddleware",
                "django.contrib.auth.middleware.AuthenticationMiddleware",
                "django.contrib.messages.middleware.MessageMiddleware"],
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True,
                "OPTIONS": {"context_processors": [
                    "django.template.context_processors.request",
                    "django.contrib.auth.context_processors.auth",
                    "django.contrib.messages.context_processors.messages"]}}],
    STATIC_URL="/static/", USE_TZ=True, DEFAULT_AUTO_FIELD="django.db.models.AutoField")
django.setup()

from django.contrib import admin  # noqa: E402
from django.contrib.auth.models import Permission, User  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.http import HttpResponse  # noqa: E402
from django.template import Context, Template  # noqa: E402
from django.urls import path  # noqa: E402

PAGE = Template("<h1>{{ users }} users</h1><ul>{% for one in rights %}<li>{{ one.codename|upper }}"
                "{% endfor %}</ul>")


def front(request):
    rights = Permission.objects.select_related("content_type")[:20]
    return HttpResponse(PAGE.render(Context({"users": User.objects.count(), "rights": rights})))


urlpatterns = [path("", front), path("admin/", admin.site.urls)]
application = get_wsgi_application()

if __name__ == "__main__":
    from django.core.management import execute_from_command_line
    execute_from_command_line(sys.argv)
