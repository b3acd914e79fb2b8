"""Settings: all that differs between machines is in the environment, where Trilith puts it."""
import hashlib
import os
import pathlib
from urllib.parse import parse_qs, unquote, urlsplit

BASE_DIR = pathlib.Path(__file__).resolve().parent.parent
DATABASE_URL = os.environ["DATABASE_URL"]

# Random per installation and the same for all its processes, without a secret to look after.
SECRET_KEY = os.environ.get("SECRET_KEY") or \
    hashlib.sha256(b"notebook:" + DATABASE_URL.encode()).hexdigest()

DEBUG = False
ALLOWED_HOSTS = ["django.foobar.com", "localhost", "127.0.0.1"]
ROOT_URLCONF = "notebook.urls"
WSGI_APPLICATION = "notebook.wsgi.application"
STATIC_URL = "/static/"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "notes",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
TEMPLATES = [{
    "BACKEND": "django.template.backends.django.DjangoTemplates",
    "APP_DIRS": True,
    "OPTIONS": {"context_processors": [
        "django.template.context_processors.request",
        "django.contrib.auth.context_processors.auth",
        "django.contrib.messages.context_processors.messages",
    ]},
}]


def database(url):
    """mysql://user:password@host:port/name?unix_socket=/path as Django wants it."""
    parts = urlsplit(url)
    sockets = parse_qs(parts.query).get("unix_socket")
    return {
        "ENGINE": "django.db.backends.mysql",
        "NAME": parts.path.strip("/"),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": sockets[0] if sockets else parts.hostname or "127.0.0.1",
        "PORT": "" if sockets else str(parts.port or 3306),
        "CONN_MAX_AGE": 60,
        "OPTIONS": {"charset": "utf8mb4"},
    }


DATABASES = {"default": database(DATABASE_URL)}

LOGGING = {  # Trilith takes standard error, adds the time and keeps tracebacks in one piece
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
}
