"""A PgBouncer in transaction pooling, before this test's Postgres.

The fixture ``pgbouncer`` puts one before a single test; ``pytest --pgbouncer`` puts one before
every test.
"""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import connection

from cachelayer.tests.polling import until

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

#: Two connections to the server for all clients: statements of several share each of them.
FEW = 2
#: So many that threads which hold a transaction open, to force an interleaving, do not wait.
MANY = 40

_CONFIG = """
[databases]
* = host={host} port={port} user={user} password={password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {size}
; A client's next transaction is on another connection, if there is one.
min_pool_size = {least}
server_round_robin = 1
max_client_conn = 1000
"""

#: What psycopg needs to connect.
_PARTS = ("dbname", "user", "password", "host", "port")


#: While a PgBouncer is in between: how Postgres itself is reached, by psycopg and by Django, and
#: what the environment said.
_past_it: dict[str, Any] = {}
_settings_past_it: dict[str, Any] = {}
_environment_past_it: dict[str, str] = {}


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


@contextmanager
def _running(size: int) -> Iterator[int]:
    if PROGRAM is None:
        pytest.exit("There is no pgbouncer here: install it, or leave out --pgbouncer.", 4)
    parameters = connection.get_connection_params()
    listen = _free_port()
    # It does not run as root, and whoever it runs as must be able to read its file.
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        config = Path(directory, "pgbouncer.ini")
        least = min(size, 4)
        config.write_text(_CONFIG.format(**parameters, listen=listen, size=size, least=least))
        config.chmod(0o644)
        user = "nobody" if os.getuid() == 0 else None
        process = subprocess.Popen(
            [PROGRAM, "--quiet", str(config)], user=user, stderr=subprocess.DEVNULL
        )
        try:
            until(lambda: process.poll() is not None or _answers(listen))
            assert process.poll() is None, "PgBouncer has not started"
            yield listen
        finally:
            process.terminate()
            process.wait(20)


def _answers(port: int) -> bool:
    try:
        psycopg.connect(**parameters_through(port)).close()
    except psycopg.OperationalError:
        return False
    return True


def parameters_through(port: int) -> dict[str, Any]:
    """For psycopg: this test's database by way of the *port* of a PgBouncer."""
    names = ("dbname", "user", "password")
    found = {name: connection.get_connection_params()[name] for name in names}
    return {**found, "host": "127.0.0.1", "port": port}


def direct_parameters() -> dict[str, Any]:
    """For psycopg: this test's database, past any PgBouncer."""
    parameters = {**connection.get_connection_params(), **_past_it}
    return {part: parameters[part] for part in _PARTS if part in parameters}


@contextmanager
def in_between(size: int) -> Iterator[int]:
    """While it lasts, all of Django's connections go through a PgBouncer; its port.

    Those of processes that are started meanwhile, too. It has *size* connections to the server.
    """
    direct = connection.get_connection_params()
    with _running(size) as port, pytest.MonkeyPatch.context() as through:
        for part in ("host", "port"):
            through.setitem(_past_it, part, direct[part])
        for name in ("HOST", "PORT", "OPTIONS", "DISABLE_SERVER_SIDE_CURSORS"):
            through.setitem(_settings_past_it, name, connection.settings_dict.get(name))
        through.setitem(_environment_past_it, "DATABASE_URL", os.environ["DATABASE_URL"])
        through.setitem(_environment_past_it, "PGBOUNCER", "")
        through.setitem(connection.settings_dict, "HOST", "127.0.0.1")
        through.setitem(connection.settings_dict, "PORT", port)
        # As itemsite.settings with PGBOUNCER: no startup options, which PgBouncer refuses, and,
        # as Django asks of everybody who pools transactions, no cursors on the server.
        options = {**connection.settings_dict["OPTIONS"]}
        options.pop("options", None)
        through.setitem(connection.settings_dict, "OPTIONS", options)
        through.setitem(connection.settings_dict, "DISABLE_SERVER_SIDE_CURSORS", True)
        url = "postgres://{user}:{password}@127.0.0.1:{through}/{dbname}"
        through.setenv("DATABASE_URL", url.format(**direct, through=port))
        through.setenv("PGBOUNCER", "1")
        connection.close()
        yield port
        connection.close()


@pytest.fixture
def pgbouncer() -> Iterator[int]:
    """Its port; all of Django's connections of this test go through it."""
    if PROGRAM is None:
        pytest.skip("there is no PgBouncer here")
    with in_between(FEW) as port:
        yield port


@pytest.fixture
def past_pgbouncer(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """With ``--pgbouncer``: this test's connections go straight to Postgres all the same.

    For what no pooler of transactions can give: a setting, a cursor or a LISTEN of a session, and
    a backend that is known by its number. What the test sets would be the next client's.
    """
    with monkeypatch.context() as direct:
        for name, value in _settings_past_it.items():
            direct.setitem(connection.settings_dict, name, value)
        for name, value in _environment_past_it.items():
            direct.setenv(name, value)
        if _past_it:
            connection.close()
        yield
        if _past_it:
            connection.close()
