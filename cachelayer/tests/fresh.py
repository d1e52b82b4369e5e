"""A Redis with nothing in it, which is trusted all the same."""

from cachelayer import incarnation, link
from cachelayer.gate import gate


def empty_redis() -> None:
    """Forget every key; what is left is a reconciled, empty Redis."""
    with link.fresh_connection() as connection:
        server = incarnation.look(connection).server
    # At once: a thread in the background must not find it flushed.
    pipeline = link.client().pipeline(transaction=True)
    pipeline.flushdb()
    pipeline.set(incarnation.KEY, incarnation.trusted(incarnation.settling(server)))
    pipeline.execute()


def trust_redis() -> None:
    """As in a new process, with an empty Redis: the gate is closed."""
    empty_redis()
    gate.start_afresh()
    link.forget_connections()
