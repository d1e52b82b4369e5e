"""Free ports on 127.0.0.1."""

import random
import socket

from itemsite.lab.errors import LabError

# Below the range that systems take outgoing connections' ports from (32768 and up).
# Inside it, a client that keeps dialling a stopped Redis can be given Redis's own port,
# connect to itself and block the port.
_RANGE = range(20000, 30000)
_share, _shares = 0, 1


def take_share(number: int, count: int) -> None:
    """Give only every *count*-th port from now on: processes with other numbers get others.

    A port is chosen before its server binds it. Without shares, a process could choose one that
    another has chosen just before.
    """
    global _share, _shares
    _share, _shares = number, count


def is_of_share(port: int) -> bool:
    return port % _shares == _share


def is_free(port: int) -> bool:
    with socket.socket() as candidate:
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A port that nobody listens on now."""
    for port in random.sample(_RANGE, 1000):
        if is_of_share(port) and is_free(port):
            return port
    raise LabError(
        f"No port from {_RANGE[0]} to {_RANGE[-1]} is free on 127.0.0.1; "
        "end some of the programs that listen there."
    )
