"""An API that answers reads with an older row, which the real one cannot be made to do."""

import http.server
import json
import threading
import uuid
from contextlib import contextmanager


class StaleHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, etag, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("ETag", etag)
        self.send_header("X-Cache", "HIT")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self):
        self.answer(200, '"old"', {"id": self.path[7:], "items": [], "next": None})

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.answer(200 + (self.command == "POST"), '"new"', {"id": str(uuid.uuid4())})

    do_PUT = do_PATCH = do_DELETE = do_POST  # noqa: N815

    def log_message(self, *arguments):
        pass


@contextmanager
def stale_api():
    """Its URL, while the block runs."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), StaleHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
