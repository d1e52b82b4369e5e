"""A real Redis (or Valkey) on 127.0.0.1."""

import signal
import socket
from collections.abc import Sequence
from pathlib import Path

from itemsite.lab.process import Server
from itemsite.lab.redis_binary import find_server

# Saved on a clean stop and every five minutes: a killed Redis comes back with old
# data, which is a thing to see in a lab.
_SAVE = "300 1"


class Redis(Server):
    """A Redis with its data in *directory*."""

    name = "Redis"
    stop_signal = signal.SIGTERM
    order = 1

    def __init__(
        self,
        directory: Path,
        port: int,
        *,
        persistent: bool = True,
        options: Sequence[str] = (),
    ) -> None:
        super().__init__(directory)
        self.port = port
        self._save = _SAVE if persistent else ""
        self._options = list(options)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self, timeout: float = 30.0) -> None:
        """Start it and wait until it has loaded its data and answers."""
        if self.running:
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        self.log.write_bytes(b"")
        command = [find_server(), "--bind", "127.0.0.1", "--port", str(self.port)]
        # Relative, so that a blank in the path cannot be taken for two words.
        # In words of their own: Redis 6 takes "300 1" for no save point, and says nothing.
        save = self._save.split() or [""]
        command += ["--dir", ".", "--save", *save, "--appendonly", "no"]
        # A full disk must not make Redis refuse to cache.
        command += ["--stop-writes-on-bgsave-error", "no", *self._options]
        self._spawn(command, cwd=self.directory)
        self._await(self._answers, timeout)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False
