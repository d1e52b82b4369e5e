"""Separate databases for peers that are separate projects: beside the lab's, and empty."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit

from psycopg import sql

from loadtest.bench.testbed import Testbed


@contextmanager
def database(testbed: Testbed, name: str) -> Iterator[str]:
    """An empty database beside the lab's; its URL. It is dropped in the end."""
    quoted = sql.Identifier(name)
    drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(quoted)
    with testbed.postgres() as connection:
        connection.execute(drop)
        connection.execute(sql.SQL("CREATE DATABASE {}").format(quoted))
    try:
        yield _at(testbed.lab.settings["DATABASE_URL"], name)
    finally:
        with testbed.postgres() as connection:
            connection.execute(drop)


def redis_url(testbed: Testbed, number: int) -> str:
    """The URL of database *number* of the lab's Redis; the lab itself uses the first."""
    return _at(testbed.lab.settings["REDIS_URL"], str(number))


def _at(url: str, name: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
