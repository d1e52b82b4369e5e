"""Gunicorn's ``asgi`` worker, as the lab changes it; ``test_web_workers.py`` has it at work."""

import asyncio
import socket
from contextlib import ExitStack
from itertools import pairwise
from types import SimpleNamespace

import pytest

from itemsite.worker import Worker

BACKLOG = 64


@pytest.fixture
def listening():
    with socket.create_server(("127.0.0.1", 0), backlog=BACKLOG) as sock:
        yield sock


@pytest.fixture
def connect(listening):
    with ExitStack() as stack:

        def connect(count):
            for _ in range(count):
                client = socket.create_connection(listening.getsockname(), timeout=5)
                stack.enter_context(client)

        yield connect


def test_it_takes_one_connection_in_each_turn_of_its_loop(listening, connect):
    """Else the worker that wakes first takes all of a burst, and the others have nothing to do."""
    connect(5)
    made = []

    class Connection(asyncio.Protocol):
        def connection_made(self, transport):
            made.append(transport)

    async def turns(create_server):
        server = await create_server(Connection, sock=listening)
        counts = [0]
        while len(made) < 5:
            await asyncio.sleep(0)
            counts.append(len(made))
        # Nobody takes them now: they wait, as many as gunicorn's setting says.
        connect(20)
        for transport in made:
            transport.abort()
        server.close()
        return [after - before for before, after in pairwise(counts)]

    loop = asyncio.new_event_loop()
    worker = SimpleNamespace(cfg=SimpleNamespace(backlog=BACKLOG))
    create_server = Worker._serve_one_by_one(worker, loop.create_server)
    taken = loop.run_until_complete(turns(create_server))
    loop.close()
    assert max(taken) == 1
