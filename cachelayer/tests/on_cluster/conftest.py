"""The protocol's own tests, each on a Redis Cluster of three primaries and three replicas.

A test that looks into Redis by itself finds each key in its shard. Left out is what one Redis does
otherwise: in another number of round trips, in one script, or in keys that nobody else has.
"""

import pytest

from cachelayer.redis import keyspace, transport
from cachelayer.tests.on_cluster.left_out import LEFT_OUT

#: Commands of which every argument is a key.
_OF_KEYS = {"delete", "exists", "mget", "unlink", "touch"}


class _InShards:
    """A client of the cluster whose keys are those of the repair log."""

    def __init__(self, client):
        self._client = client

    def __getattr__(self, name):
        call = getattr(self._client, name)
        if not callable(call):
            return call

        def with_stored(*arguments, **options):
            if name == "mget":
                [keys] = arguments
                return call([_stored(key) for key in keys], **options)
            if name == "mset":
                [values] = arguments
                stored = {_stored(key): value for key, value in values.items()}
                return self._client.mset_nonatomic(stored)
            count = len(arguments) if name in _OF_KEYS else 1
            stored = [_stored(each) for each in arguments[:count]]
            return call(*stored, *arguments[count:], **options)

        return with_stored


def _stored(key):
    text = key.decode() if isinstance(key, bytes) else key
    is_key = isinstance(text, str) and ":" in text and not text.startswith("{")
    return keyspace.of(text) if is_key else key


@pytest.fixture(autouse=True)
def _on_cluster(request, monkeypatch):
    marked = request.node.get_closest_marker("django_db")
    is_rolled_back = marked and not marked.kwargs.get("transaction")
    request.getfixturevalue("db" if is_rolled_back else "transactional_db")
    request.getfixturevalue("redis_cluster")
    client = transport.client
    monkeypatch.setattr(transport, "client", lambda: _InShards(client()))


def pytest_collection_modifyitems(items):
    for item in items:
        if "on_cluster" in item.path.parts:
            item.add_marker(pytest.mark.slow)
            name = f"{item.path.stem}.{item.originalname}"
            if name in LEFT_OUT:
                item.add_marker(pytest.mark.skip(reason=f"On Redis Cluster: {LEFT_OUT[name]}"))
