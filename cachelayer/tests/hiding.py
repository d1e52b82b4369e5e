"""In front of a real Redis, as a managed service has it: INFO says less."""

import socket
import threading
from contextlib import suppress


class Hiding:
    """Passes everything on to *backend*, a port, but some *fields* of INFO.

    A field's name is overwritten with one as long, so that the answer keeps its length.
    """

    def __init__(self, backend: int, *fields: str) -> None:
        self.fields = set(fields)
        self._backend = backend
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]

    def __enter__(self) -> "Hiding":
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._server.accept()
                try:
                    behind = socket.create_connection(("127.0.0.1", self._backend))
                except OSError:
                    client.close()
                    continue
                for ends in ((client, behind), (behind, client)):
                    threading.Thread(target=self._copy, args=ends, daemon=True).start()

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while part := source.recv(65536):
                # Whole lines: no name is cut in two.
                while not part.endswith(b"\n") and (more := source.recv(65536)):
                    part += more
                for field in self.fields:
                    name = f"\n{field}:".encode()
                    part = part.replace(name, b"\nx" + name[2:])
                target.sendall(part)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
