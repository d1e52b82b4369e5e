"""Free ports on 127.0.0.1."""

import random
import socket

from itemsite.lab.errors import LabError

# Below the range that systems take outgoing connections' ports from (32768 and up).
# Inside it, a client that keeps dialling a stopped Redis can be given Redis's own port,
# connect to itself and block the port.
_RANGE = range(20000, 30000)


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
    for port in random.sample(_RANGE, 200):
        if is_free(port):
            return port
    raise LabError(
        f"No port from {_RANGE[0]} to {_RANGE[-1]} is free on 127.0.0.1; "
        "end some of the programs that listen there."
    )
