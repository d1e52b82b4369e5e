"""Everything that the environment may say, read in this one place.

Nothing else in the project looks at ``os.environ``.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.core.exceptions import ImproperlyConfigured

_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off", ""}


@dataclass(frozen=True, slots=True)
class Environment:
    """The settings that differ from one installation to the next."""

    secret_key: str
    database_url: str
    redis_url: str
    lab: bool
    debug: bool
    allowed_hosts: list[str]
    csrf_trusted_origins: list[str]
    https: bool
    write_rate: str
    partition: str
    log_level: str

    @classmethod
    def read(cls, environ: Mapping[str, str] = os.environ) -> "Environment":
        """Read and check the variables; ``ImproperlyConfigured`` says what to set."""
        lab = _flag(environ, "LAB")
        hosts = _words(environ, "ALLOWED_HOSTS")
        return cls(
            secret_key=_required(
                environ,
                "SECRET_KEY",
                "Set it to a long random string that only this installation knows",
            ),
            database_url=_required(
                environ,
                "DATABASE_URL",
                "Set it to postgres://user:password@host:5432/database",
            ),
            redis_url=_required(environ, "REDIS_URL", "Set it to redis://host:6379/0"),
            lab=lab,
            debug=_flag(environ, "DEBUG"),
            allowed_hosts=hosts or (["localhost", "127.0.0.1", "[::1]"] if lab else []),
            csrf_trusted_origins=_words(environ, "CSRF_TRUSTED_ORIGINS"),
            https=_flag(environ, "HTTPS"),
            write_rate=environ.get("WRITE_RATE", ""),
            partition=environ.get("PARTITION", "") or "bounded",
            log_level=environ.get("LOG_LEVEL", "INFO").upper(),
        )


@dataclass(frozen=True, slots=True)
class WebEnvironment:
    """What gunicorn is told; see gunicorn.py."""

    bind: str
    workers: int
    threads: int
    metrics_dir: str

    @classmethod
    def read(cls, environ: Mapping[str, str] = os.environ) -> "WebEnvironment":
        """Read and check the variables; ``ImproperlyConfigured`` says what to set."""
        return cls(
            bind=environ.get("BIND") or "127.0.0.1:8000",
            workers=_number(environ, "WEB_WORKERS", 2, at_most=256),
            threads=_number(environ, "WEB_THREADS", 4, at_most=256),
            # prometheus-client reads this one itself, in every worker.
            metrics_dir=environ.get("PROMETHEUS_MULTIPROC_DIR", ""),
        )


@dataclass(frozen=True, slots=True)
class LabEnvironment:
    """What ``./lab`` is told: where to serve, and servers to use instead of its own."""

    port: int
    database_url: str
    redis_url: str
    # When ./lab was called (Unix time): the banner counts the installation, too.
    began: float | None

    @classmethod
    def read(cls, environ: Mapping[str, str] = os.environ) -> "LabEnvironment":
        """Read and check the variables; ``ImproperlyConfigured`` says what to set."""
        return cls(
            port=_number(environ, "PORT", 8000, at_most=65535),
            database_url=environ.get("DATABASE_URL", ""),
            redis_url=environ.get("REDIS_URL", ""),
            began=float(environ["LAB_BEGAN"]) if environ.get("LAB_BEGAN") else None,
        )


def for_child(
    changes: Mapping[str, str],
    *,
    programs: Sequence[str] = (),
    environ: Mapping[str, str] = os.environ,
) -> dict[str, str]:
    """The environment of a program that the lab starts.

    The caller's, with *changes*, and with the folders *programs* at the end of PATH.
    """
    path = os.pathsep.join([environ.get("PATH", os.defpath), *programs])
    return {**environ, "PATH": path, **changes}


def _number(environ: Mapping[str, str], name: str, default: int, *, at_most: int) -> int:
    value = environ.get(name, "").strip()
    if not value:
        return default
    if not (value.isascii() and value.isdigit() and 1 <= int(value) <= at_most):
        raise ImproperlyConfigured(
            f"{name}={value!r} does not do. Set it to a whole number from 1 to {at_most}."
        )
    return int(value)


def _required(environ: Mapping[str, str], name: str, advice: str) -> str:
    value = environ.get(name, "")
    if not value:
        raise ImproperlyConfigured(
            f"{name} is not set. {advice}, or start the lab with ./lab, which makes its own."
        )
    return value


def _flag(environ: Mapping[str, str], name: str) -> bool:
    value = environ.get(name, "").strip().lower()
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise ImproperlyConfigured(f"{name}={value!r} is neither yes nor no. Set it to 1 or to 0.")


def _words(environ: Mapping[str, str], name: str) -> list[str]:
    return [word.strip() for word in environ.get(name, "").split(",") if word.strip()]
