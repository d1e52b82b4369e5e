"""What the lab's gunicorn does for its workers, for the peers' workers."""

import gc
from typing import Any


def post_worker_init(worker: Any) -> None:
    """Take what is loaded by now out of the garbage collector's sight."""
    gc.collect()
    gc.freeze()
