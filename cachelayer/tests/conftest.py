import pytest

from cachelayer import link


@pytest.fixture
def value():
    """What Redis holds under a key."""
    return lambda key: link.client().get(key)


@pytest.fixture
def round_trips(monkeypatch):
    """The round trips to Redis since the last ``clear()``, each a list of its commands."""
    trips = []
    send = link._send

    def count(commands, connections):
        trips.append([command[0] for command in commands])
        return send(commands, connections)

    monkeypatch.setattr(link, "_send", count)
    return trips
