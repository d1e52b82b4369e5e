"""The settings of README's four lines, with the servers of DATABASE_URL and REDIS_URL."""

import os

from psycopg.conninfo import conninfo_to_dict

assert __package__
_server = conninfo_to_dict(os.environ["DATABASE_URL"])

SECRET_KEY = "core"
ALLOWED_HOSTS = ["*"]
USE_TZ = True
ROOT_URLCONF = f"{__package__}.urls"
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "cachelayer",
    f"{__package__}.apps.CoreProjectConfig",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
STATIC_URL = "static/"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": _server["dbname"],
        "USER": _server.get("user", ""),
        "PASSWORD": _server.get("password", ""),
        "HOST": _server.get("host", ""),
        "PORT": str(_server.get("port", "")),
        "TEST": {"NAME": "test_core_project"},
    }
}
CACHES = {
    "default": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": os.environ["REDIS_URL"],
        # The machine may be busy: a shorter timeout would only be a bypass.
        "OPTIONS": {"SOCKET_CONNECT_TIMEOUT": 5, "SOCKET_TIMEOUT": 5},
    }
}
CACHELAYER = {"REQUEST_BUDGET": 10.0}
