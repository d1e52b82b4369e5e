import threading

import psycopg
import pytest

from cachelayer.protocol import watchdog
from cachelayer.redis import transport
from cachelayer.redis.shard_gates import shard_gates
from cachelayer.telemetry import counters
from cachelayer.tests.cluster_notes import idle
from cachelayer.tests.pgbouncer import direct_parameters, past_pgbouncer

__all__ = ["past_pgbouncer"]


@pytest.fixture
def value():
    """What Redis holds under a key."""
    return lambda key: transport.client().get(key)


@pytest.fixture
def psql():
    """Another program's connection; past a PgBouncer, as its locks and settings are a session's."""
    with psycopg.connect(**direct_parameters(), autocommit=True) as outside:
        yield outside


@pytest.fixture
def away(settings):
    """Redis does not answer."""
    cache = settings.CACHES["default"]
    settings.CACHES = {"default": {**cache, "LOCATION": "redis://127.0.0.1:1/0"}}
    transport.forget_connections()


@pytest.fixture
def round_trips(monkeypatch):
    """The round trips to Redis since the last ``clear()``, each a list of its commands."""
    trips = []
    send = transport._send

    def count(commands, connections):
        if threading.current_thread().daemon:
            return send(commands, connections)  # The counters' own flush.
        trips.append([command[0] for command in commands])
        return send(commands, connections)

    get = transport._get

    def count_get(keys):
        if not threading.current_thread().daemon:
            trips.append(["GET" if len(keys) == 1 else "MGET"])
        return get(keys)

    monkeypatch.setattr(transport, "_send", count)
    monkeypatch.setattr(transport, "_get", count_get)
    return trips


@pytest.fixture
def quick(settings, monkeypatch):
    """A gate that settles fast, and no flush of the counts that finds a fault before the test."""
    settings.CACHELAYER = {"PROBE_INTERVAL": 0.02, "SETTLING_TIME": 0.05}
    monkeypatch.setattr(counters, "add", lambda *args: None)


@pytest.fixture
def patient(quick, settings):
    """No test reads past the cache because it has read for long."""
    settings.CACHELAYER = {**settings.CACHELAYER, "REQUEST_BUDGET": 60.0}


@pytest.fixture
def unnoticed(monkeypatch):
    """No thread repairs or reconciles anything."""
    monkeypatch.setattr(shard_gates, "reconcile", idle)
    monkeypatch.setattr(watchdog.task, "wake_now", lambda: None)
