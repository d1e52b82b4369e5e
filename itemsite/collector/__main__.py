"""``python -m itemsite.collector PORT``: serve until told to stop."""

import signal
import sys

from itemsite.collector.server import Server


def main(port: int) -> None:
    """Serve on 127.0.0.1:*port*."""
    signal.signal(signal.SIGTERM, lambda *args: sys.exit(0))
    with Server(port) as server:
        server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]))
