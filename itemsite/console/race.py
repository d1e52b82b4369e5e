"""The race's row: one UPDATE, one COMMIT, and two caches that are told of it.

The page is the clients and the checker. Every write counts the row's price up by one
under the row's lock, so the price is the number of the write, and a read that gives less
than a write that was acknowledged before the read began is stale. The real cache's reads
are those of ``GET /items/{uuid}``.
"""

from datetime import timedelta
from typing import Final
from uuid import UUID

from django.db import DatabaseError, transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_http_methods

import cachelayer
from items.models import Item
from itemsite.api import errors
from itemsite.console import control_cache
from itemsite.console.lab_only import lab_only

#: What tells a race's row from others.
_MARKS: Final = {"name": "Race", "description": "Its price is the number of the last write."}
_LONG_OVER: Final = timedelta(minutes=10)


@lab_only
@require_http_methods(["POST"])
def start(request: HttpRequest) -> HttpResponse:
    """Make the row; both caches have it. Rows of races that were left are taken away."""
    Item.objects.filter(**_MARKS, created_at__lt=timezone.now() - _LONG_OVER).delete()
    item = Item.objects.create(**_MARKS, price=0)
    row = cachelayer.render(item)
    control_cache.put(item.pk, row)
    return _answer(row, 201)


@lab_only
@require_http_methods(["GET", "PUT", "DELETE"])
def row(request: HttpRequest, pk: UUID) -> HttpResponse:
    """GET: what the naive cache says. PUT: one more write. DELETE: the end."""
    try:
        if request.method == "GET":
            found, hit = control_cache.read(pk)
            return _answer(found, headers={"X-Cache": "HIT" if hit else "MISS"})
        if request.method == "PUT":
            return _answer(_write(pk))
        Item.objects.filter(**_MARKS, pk=pk).delete()
        control_cache.forget(pk)
        return HttpResponse(status=204)
    except Item.DoesNotExist as error:
        raise Http404 from error
    except DatabaseError:
        return errors.respond(503, "Postgres does not answer. Try again in a moment.")


def _write(pk: UUID) -> bytes:
    with transaction.atomic():
        item = Item.objects.select_for_update().get(pk=pk)
        item.price += 1
        # Before the save: so it runs right after COMMIT, ahead of the real push.
        transaction.on_commit(lambda: control_cache.put(pk, written), robust=True)
        item.save()
        written = cachelayer.render(item)
    return written


def _answer(row: bytes, status: int = 200, headers: dict[str, str] | None = None) -> HttpResponse:
    return HttpResponse(
        row,
        status=status,
        content_type="application/json",
        headers={"Cache-Control": "no-store", **(headers or {})},
    )
