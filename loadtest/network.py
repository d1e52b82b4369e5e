"""A network namespace for a host: it finds our servers at their usual addresses, through proxies.

Sentinels and the nodes of a cluster tell addresses, past which no proxy on another port leads.
In a namespace of its own, a host's 127.0.0.1 is not ours: there, a proxy has the very port of the
server that it leads to, so each address leads to a proxy that can be cut.
"""

import socket
import subprocess
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Final, Self

from loadtest.proxy import Proxy

#: Keeps the namespace, and makes the sockets in it on which our proxies listen.
_KEEPER: Final = """
import fcntl, socket, struct, sys
with socket.socket() as any_socket:
    # SIOCSIFFLAGS with IFF_UP: a new namespace has a loopback interface that is down.
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sH22x", b"lo", 1))
listening = [socket.create_server(("127.0.0.1", int(port))) for port in sys.argv[2:]]
with socket.socket(fileno=int(sys.argv[1])) as ours:
    socket.send_fds(ours, [b"."], [each.fileno() for each in listening])
sys.stdin.read()
"""


@cache
def _unshare() -> Sequence[str] | None:
    """The command that makes a namespace; ``None`` where it cannot be had.

    Root needs nothing else. Others have the right to do it in a namespace of users.
    """
    for options in (["--net"], ["--net", "--user", "--map-root-user"]):
        try:
            subprocess.run(["unshare", *options, "true"], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        return ["unshare", *options]
    return None


def can_be_made() -> bool:
    """Whether this user may make network namespaces: on Linux, with ``unshare`` and ``nsenter``."""
    return _unshare() is not None


class Network:
    """A namespace in which 127.0.0.1 has *ports*, each of which leads to ours through a proxy."""

    def __init__(self, ports: Iterable[int]) -> None:
        wanted, unshare = [*ports], _unshare()
        if unshare is None:
            raise RuntimeError(
                "Network namespaces cannot be made: run it as root, on Linux, with util-linux."
            )
        ours, theirs = socket.socketpair()
        with ours, theirs:
            number = str(theirs.fileno())
            self._keeper = subprocess.Popen(
                [*unshare, sys.executable, "-c", _KEEPER, number, *map(str, wanted)],
                stdin=subprocess.PIPE,
                pass_fds=[theirs.fileno()],
            )
            theirs.close()
            _, files, _, _ = socket.recv_fds(ours, 1, len(wanted))
        if len(files) != len(wanted):
            raise RuntimeError(f"The network namespace has {len(files)} of {len(wanted)} ports.")
        self._users = "--user" in unshare
        self.proxies = {
            port: Proxy(port, socket.socket(fileno=file))
            for port, file in zip(wanted, files, strict=True)
        }

    @property
    def entrance(self) -> list[str]:
        """What a command line begins with, to run in it."""
        users = ["--user", "--preserve-credentials"] if self._users else []
        return ["nsenter", f"--target={self._keeper.pid}", "--net", *users, "--"]

    def close(self) -> None:
        """Its programs have ended."""
        for proxy in self.proxies.values():
            proxy.close()
        self._keeper.communicate(timeout=10)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
