"""One interleaving, forced: a reader is held up between its queries and what it stores.

1. Nothing is cached. A reader loads the book, and is held up when it has the author's name.
2. A writer renames the author, and goes on when that is acknowledged. 3. The held reader
stores what it has. 4. What does the next reader see? Chance gives this seldom, a busy
server often enough.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any, Final

import orjson
from django.db import connection, transaction

from loadtest.bench.peers.library.contents import RACED, RACED_AUTHOR
from loadtest.bench.peers.library.models import Author

#: Seconds after which somebody who waits gives up.
_PATIENCE: Final = 20
_NEW: Final = "somebody else|1"


class _HeldUp:
    """Holds a thread up when its query for authors has been answered."""

    def __init__(self) -> None:
        self.has_read, self.may_go_on = Event(), Event()

    def __call__(self, execute: Callable[..., Any], sql: str, *arguments: Any) -> Any:
        answer = execute(sql, *arguments)
        if Author._meta.db_table in sql:
            self.has_read.set()
            self.may_go_on.wait(_PATIENCE)
        return answer


def is_lost(read: Callable[[int], bytes]) -> bool:
    """Whether a reader who comes after the held one sees the old name; to be called once."""
    held_up = _HeldUp()

    def read_slowly() -> None:
        with connection.execute_wrapper(held_up):
            read(RACED)
        connection.close()

    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(read_slowly)
        if not held_up.has_read.wait(_PATIENCE):
            raise RuntimeError("The reader that was to be held up has asked for no author.")
        with transaction.atomic():
            author = Author.objects.select_for_update().get(pk=RACED_AUTHOR)
            author.name = _NEW
            author.save()
        held_up.may_go_on.set()
        slow.result()
    return orjson.loads(read(RACED))["author"] != _NEW  # type: ignore[no-any-return]
