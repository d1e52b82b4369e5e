"""The collector's HTTP side."""

import json
import re
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from itemsite import waterfall
from itemsite.collector import otlp
from itemsite.collector.store import Store

#: Of a request's body, also when it is unpacked.
BODY: Final = 8 * 1024 * 1024
_PROTOBUF: Final = "application/x-protobuf"
_LIMIT: Final = 20
_ID: Final = re.compile(r"/(api/traces|trace)/([0-9a-fA-F]{1,32})")


class Server(ThreadingHTTPServer):
    """On 127.0.0.1 only: traces hold statements and their values."""

    daemon_threads = True

    def __init__(self, port: int, store: Store | None = None) -> None:
        self.store = store or Store()
        super().__init__(("127.0.0.1", port), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing when a client goes away."""


class _Refused(Exception):  # noqa: N818
    """The request cannot be answered; the sentence says what would do."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    #: An exporter keeps its connection between batches.
    timeout = 300
    #: Answers are small, and Nagle would hold them back.
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        try:
            self._answer_post()
        except _Refused as refused:
            # What is left of the body would be taken for the next request.
            self.close_connection = True
            self._refuse(refused)
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def do_GET(self) -> None:
        try:
            self._answer_get()
        except _Refused as refused:
            self._refuse(refused)

    def _answer_post(self) -> None:
        if urlsplit(self.path).path != "/v1/traces":
            raise _Refused(404, "Traces are posted to /v1/traces.")
        kind = self.headers.get("Content-Type", "").partition(";")[0].strip()
        if kind != _PROTOBUF:
            raise _Refused(
                415, f"{kind!r} is not understood. Set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf."
            )
        try:
            self.server.store.add(otlp.decode(self._body()))
        except otlp.MalformedError as error:
            raise _Refused(400, f"The body is not an ExportTraceServiceRequest: {error}") from None
        # An empty ExportTraceServiceResponse: everything was taken.
        self._send(200, b"", _PROTOBUF)

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            raise _Refused(411, "Send a Content-Length.")
        if int(length) > BODY:
            raise _Refused(413, f"Send {BODY} bytes at most.")
        body = self.rfile.read(int(length))
        encoding = self.headers.get("Content-Encoding", "").strip().lower()
        if encoding in ("", "identity"):
            return body
        if encoding not in ("gzip", "deflate"):
            raise _Refused(415, f"{encoding!r} cannot be unpacked. Send gzip, deflate or neither.")
        # A small body may unpack to any size.
        unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
        try:
            unpacked = unpacker.decompress(body, BODY)
        except zlib.error as error:
            raise _Refused(400, f"The body cannot be unpacked: {error}") from None
        if unpacker.unconsumed_tail:
            raise _Refused(413, f"Send {BODY} bytes at most, unpacked.")
        if not unpacker.eof:
            raise _Refused(400, "The body ends before its time.")
        return unpacked

    def _answer_get(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        store = self.server.store
        if url.path == "/":
            traces = [trace for s in store.services() for trace in store.recent(s, _LIMIT)]
            self._send_text(waterfall.text(traces) or "No traces yet.\n")
        elif url.path == "/api/services":
            self._send_json(store.services())
        elif url.path == "/api/traces":
            if not query.get("service"):
                raise _Refused(400, "Say of which service: /api/traces?service=api")
            limit = query.get("limit", str(_LIMIT))
            if not (limit.isascii() and limit.isdigit() and int(limit)):
                raise _Refused(400, f"limit={limit!r} is not valid. Give a number above 0.")
            self._send_json(store.recent(query["service"], int(limit)))
        elif found := _ID.fullmatch(url.path):
            trace = store.find(found[2])
            if trace is None:
                raise _Refused(404, "trace not found")
            if found[1] == "trace":
                self._send_text(waterfall.text([trace]))
            else:
                self._send_json([trace])
        else:
            raise _Refused(404, "Try /api/services, /api/traces?service=api or /.")

    def _refuse(self, refused: _Refused) -> None:
        error = {"code": refused.status, "msg": str(refused)}
        self._send_body(refused.status, {"data": None, "errors": [error]})

    def _send_json(self, data: list[Any]) -> None:
        self._send_body(200, {"data": data, "total": len(data), "errors": None})

    def _send_body(self, status: int, body: dict[str, Any]) -> None:
        envelope = {"data": None, "total": 0, "limit": 0, "offset": 0, "errors": None}
        self._send(status, json.dumps({**envelope, **body}).encode(), "application/json")

    def _send_text(self, text: str) -> None:
        self._send(200, text.encode(), "text/plain; charset=utf-8")

    def _send(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """A line for every batch would be noise."""
