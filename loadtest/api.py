"""One connection to the API, without locust."""

import http.client
import json
import time
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

#: The sample rows that every lab has.
SAMPLES: Final = [f"550e8400-e29b-41d4-a716-44665544000{n}" for n in range(1, 6)]

_IDLE: Final = 1.0


class NoAnswer(ConnectionError):  # noqa: N818
    """The API cannot be reached, or says that it cannot answer now."""


@dataclass
class Api:
    """One connection to the API."""

    url: str
    token: str = ""
    #: Seconds that one answer may take.
    timeout: float = 5.0
    _connection: http.client.HTTPConnection | None = field(default=None, init=False)
    _used: float = field(default=0.0, init=False)

    def request(
        self, method: str, path: str, body: dict[str, Any] | None = None
    ) -> tuple[int, Any, str]:
        """The status, the JSON and ``X-Cache``; raises ``NoAnswer``."""
        headers = {"Authorization": f"Token {self.token}"} if self.token else {}
        if body is not None:
            headers["Content-Type"] = "application/json"
        # The server may close one that idles just as it is used again.
        if time.monotonic() - self._used > _IDLE:
            self.close()
        try:
            connection = self._connection or self._connect()
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            text = response.read()
            self._used = time.monotonic()
            answer = json.loads(text) if text else None
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            raise NoAnswer(f"{type(error).__name__}: {error}") from error
        if response.status >= 500:
            raise NoAnswer(f"{method} {path} was answered with {response.status}")
        return response.status, answer, response.headers.get("X-Cache", "")

    def close(self) -> None:
        if self._connection:
            self._connection.close()
            self._connection = None

    def _connect(self) -> http.client.HTTPConnection:
        parts = urlsplit(self.url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else None
        self._connection = (kind or http.client.HTTPConnection)(parts.netloc, timeout=self.timeout)
        return self._connection
