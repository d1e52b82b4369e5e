"""The page of the list that the console reads: what it was made under, and what is there now."""

from dataclasses import asdict
from typing import Any, Final

from django.http import HttpRequest

from cachelayer.contrib.rest import pages
from cachelayer.exceptions import CacheUnavailable
from cachelayer.protocol import stamps
from cachelayer.representation import registry
from items.models import Item

PATH: Final = "/items?limit=10"


def snapshot(request: HttpRequest) -> dict[str, Any]:
    """Of the page that is at ``PATH`` under *request*'s host; never raises.

    ``stored``: there is a page; ``valid``: and the next reader gets it. ``redis`` is ``down``
    while it says nothing.
    """
    try:
        found = _seen(request.build_absolute_uri("/")[:-1])
    except CacheUnavailable:
        return {"redis": "down", "stored": False, "valid": False, "stamps": []}
    stored = any(stamp.made for stamp in found)
    return {
        "redis": "ok",
        "stored": stored,
        "valid": stored and all(stamp.made == stamp.now for stamp in found),
        "stamps": [asdict(stamp) for stamp in found],
    }


def _seen(base: str) -> list[stamps.Seen]:
    listed = pages.find(registry.get(Item))
    assert listed, "The lab caches its list."
    values = base, PATH, pages.code_of(pages.view_of(base, PATH))
    # Known also where there is no page.
    known = stamps.of(listed.database, listed.stamps(values))
    return stamps.seen(listed.key(values), known)
