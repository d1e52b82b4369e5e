"""A PgBouncer in transaction pooling, before this test's Postgres: the fixture ``pgbouncer``."""

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
_CONFIG = """
[databases]
{dbname} = host={host} port={port} dbname={dbname} user={user} password={password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 2
max_client_conn = 100
"""


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


@contextmanager
def _running() -> Iterator[int]:
    assert PROGRAM
    parameters = connection.get_connection_params()
    listen = _free_port()
    # It does not run as root, and whoever it runs as must be able to read its file.
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        config = Path(directory, "pgbouncer.ini")
        config.write_text(_CONFIG.format(**parameters, listen=listen))
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


@pytest.fixture
def pgbouncer(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Its port; all of Django's connections of this test go through it."""
    if PROGRAM is None:
        pytest.skip("there is no PgBouncer here")
    with _running() as port:
        with monkeypatch.context() as through:
            through.setitem(connection.settings_dict, "HOST", "127.0.0.1")
            through.setitem(connection.settings_dict, "PORT", port)
            # The lab's own time-outs: PgBouncer refuses what it does not know of a start.
            options = {**connection.settings_dict["OPTIONS"]}
            options.pop("options", None)
            through.setitem(connection.settings_dict, "OPTIONS", options)
            # As Django asks of everybody who pools transactions.
            through.setitem(connection.settings_dict, "DISABLE_SERVER_SIDE_CURSORS", True)
            connection.close()
            yield port
        connection.close()
