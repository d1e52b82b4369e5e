"""A Redis with nothing in it, which is trusted all the same."""

from cachelayer import incarnation, link
from cachelayer.gate import gate


def empty_redis() -> None:
    """Forget every key; what is left is a reconciled, empty Redis."""
    link.client().flushdb()
    with link.fresh_connection() as connection:
        server = incarnation.look(connection).server
    link.client().set(incarnation.KEY, incarnation.trusted(incarnation.settling(server)))


def trust_redis() -> None:
    """As in a new process, with an empty Redis: the gate is closed."""
    empty_redis()
    gate.start_afresh()
    link.forget_connections()
