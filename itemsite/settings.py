"""Django's settings for the lab and for a server; see environment.py for the input."""

from pathlib import Path
from typing import Any

import dj_database_url

from itemsite.environment import Environment

ENVIRONMENT = Environment.read()
BASE_DIR = Path(__file__).resolve().parent.parent

SECRET_KEY = ENVIRONMENT.secret_key
DEBUG = ENVIRONMENT.debug
ALLOWED_HOSTS = ENVIRONMENT.allowed_hosts
CSRF_TRUSTED_ORIGINS = ENVIRONMENT.csrf_trusted_origins

# Lab mode: anybody who reaches the port may write and clear. ./lab and the
# compose file set it, and publish the port on 127.0.0.1 only.
LAB = ENVIRONMENT.lab

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_prometheus",
    "rest_framework",
    "rest_framework.authtoken",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "cachelayer",
    "items",
    "itemsite.console",
]

MIDDLEWARE = [
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_prometheus.middleware.PrometheusAfterMiddleware",
]

ROOT_URLCONF = "itemsite.urls"
WSGI_APPLICATION = "itemsite.wsgi.application"
APPEND_SLASH = False

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# A statement or a transaction that is stuck must not hold its locks for ever.
_STATEMENT_TIMEOUT_MS = 15_000
_IDLE_IN_TRANSACTION_TIMEOUT_MS = 15_000

DATABASES: dict[str, Any] = {
    "default": {
        **dj_database_url.parse(ENVIRONMENT.database_url),
        "ENGINE": "itemsite.database",
        "CONN_MAX_AGE": None,
        "CONN_HEALTH_CHECKS": True,
    }
}
DATABASES["default"]["OPTIONS"] = {
    **DATABASES["default"].get("OPTIONS", {}),
    "connect_timeout": 2,
}
if ENVIRONMENT.pgbouncer:
    # A cursor on the server would outlive its transaction, which is when the connection changes.
    DATABASES["default"]["DISABLE_SERVER_SIDE_CURSORS"] = True
else:
    # PgBouncer refuses these; behind it, the server or the role sets them.
    DATABASES["default"]["OPTIONS"]["options"] = (
        f"-c statement_timeout={_STATEMENT_TIMEOUT_MS} "
        f"-c idle_in_transaction_session_timeout={_IDLE_IN_TRANSACTION_TIMEOUT_MS}"
    )
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

CACHES: dict[str, Any] = {
    "default": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": ENVIRONMENT.redis_url,
        "OPTIONS": {
            "SOCKET_CONNECT_TIMEOUT": 0.05,
            "SOCKET_TIMEOUT": 0.05,
            # redis-py's own limit is 100; a thread needs one at a time.
            "CONNECTION_POOL_KWARGS": {"max_connections": 1000},
            # Django's own cache calls (rate limits) go on without Redis.
            "IGNORE_EXCEPTIONS": True,
        },
    }
}
if ENVIRONMENT.redis_sentinels:
    CACHES["default"]["OPTIONS"] |= {
        "CONNECTION_FACTORY": "django_redis.pool.SentinelConnectionFactory",
        "SENTINELS": ENVIRONMENT.redis_sentinels,
    }
if ENVIRONMENT.redis_cluster:
    CACHES["default"]["LOCATION"] = [ENVIRONMENT.redis_url, *ENVIRONMENT.other_redis_urls]
    CACHES["default"]["OPTIONS"] |= {
        "CONNECTION_FACTORY": "cachelayer.redis.cluster.ClusterConnectionFactory",
    }

# Where a trace is shown to people; the response to a traced request links there.
_TRACE_LINK = f"{ENVIRONMENT.jaeger_url}/trace/{{trace_id}}" if ENVIRONMENT.jaeger_url else ""

# Every option and its default: cachelayer/conf.py.
CACHELAYER: dict[str, Any] = {
    "PARTITION": ENVIRONMENT.partition,
    "ROW_TTL": ENVIRONMENT.row_ttl,
    "TRACE_LINK": _TRACE_LINK,
    # In a quiet lab, one hit in ten thousand would never come.
    **({"CHECK_SHARE": 0.02} if LAB else {}),
}

# Traces as programs and people find them; see traces.py and telemetry.py.
SERVICE_NAME = ENVIRONMENT.service_name
TRACES_URL = ENVIRONMENT.traces_url
JAEGER_URL = ENVIRONMENT.jaeger_url
GRAFANA_URL = ENVIRONMENT.grafana_url
PROMETHEUS_URL = ENVIRONMENT.prometheus_url
LOCUST_URL = ENVIRONMENT.locust_url
LINK_CHECKS = ENVIRONMENT.link_checks

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

LANGUAGE_CODE = "en-us"
USE_I18N = True
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "var" / "static"
# Without collectstatic the files are served from the installed packages.
WHITENOISE_USE_FINDERS = True

SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = ENVIRONMENT.https
SECURE_SSL_REDIRECT = ENVIRONMENT.https
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if ENVIRONMENT.https else None

DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024

REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        # Token first: its challenge makes "not logged in" a 401, not a 403.
        "rest_framework.authentication.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["itemsite.api.permissions.LoginToWrite"],
    # The peer's own address counts: a header that a client may forge does not.
    "NUM_PROXIES": 0,
    "DEFAULT_RENDERER_CLASSES": [
        "cachelayer.contrib.rest.RowRenderer",
        "itemsite.api.browsable.ItemPages",
    ],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "itemsite.api.negotiation.JSONUnlessHTML",
    "DEFAULT_THROTTLE_CLASSES": ["itemsite.api.throttles.WriteThrottle"],
    "DEFAULT_PARSER_CLASSES": ["itemsite.api.parsers.BoundedJSONParser"],
    "EXCEPTION_HANDLER": "itemsite.api.errors.answer",
    "DEFAULT_THROTTLE_RATES": {"write": ENVIRONMENT.write_rate or None},
    "COERCE_DECIMAL_TO_STRING": False,
    "DEFAULT_SCHEMA_CLASS": "itemsite.api.schema.Schema",
}

SPECTACULAR_SETTINGS: dict[str, Any] = {
    "TITLE": "Items API",
    "DESCRIPTION": (
        "Items, read through and written through a cache that never answers with a row that is "
        "older than an acknowledged write. Every error is JSON whose `detail` is a sentence."
    ),
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    # What a client sends has no id, for one; PATCH may leave out anything.
    "COMPONENT_SPLIT_REQUEST": True,
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "itemsite.api.schema.complete",
    ],
    # From the package, not from somewhere else on the internet.
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SWAGGER_UI_SETTINGS": {"deepLinking": True, "persistAuthorization": True},
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"trace_ids": {"()": "itemsite.log_lines.TraceIds"}},
    "formatters": {
        "line": {
            "format": "%(asctime)s %(levelname)s %(name)s "
            "trace_id=%(trace_id)s span_id=%(span_id)s %(message)s"
        }
    },
    "handlers": {
        "console": {
            "class": "logging.StreamHandler",
            "formatter": "line",
            "filters": ["trace_ids"],
        }
    },
    "root": {"handlers": ["console"], "level": ENVIRONMENT.log_level},
}
