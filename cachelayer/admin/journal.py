"""The log of operators' actions, in Django's LogEntry."""

from collections.abc import Sequence
from typing import Any, Final

from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.utils.text import Truncator

from cachelayer.models import Cache

#: Entries that the page shows.
SHOWN: Final = 10


def note(user: Any, what: str) -> None:
    """Log that *user* did *what*. Raises ``DatabaseError``."""
    LogEntry.objects.create(
        user_id=user.pk,
        content_type=ContentType.objects.get_for_model(Cache),
        # The column holds 200 characters.
        object_repr=Truncator(what).chars(200),
        action_flag=CHANGE,
    )


def latest() -> Sequence[LogEntry]:
    """The last entries, newest first. Raises ``DatabaseError``."""
    content_type = ContentType.objects.get_for_model(Cache)
    entries = LogEntry.objects.filter(content_type=content_type).select_related("user")
    return list(entries.order_by("-action_time", "-pk")[:SHOWN])
