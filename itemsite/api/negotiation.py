"""Which renderer answers."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django.http import Http404
from rest_framework.exceptions import NotAcceptable
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer

if TYPE_CHECKING:
    from rest_framework.request import Request


class JSONUnlessHTML(DefaultContentNegotiation):
    """JSON, unless ``Accept`` names ``text/html`` (as browsers do) and the view has a page.

    REST framework would answer 406 where it has nothing that ``Accept`` names; here that is
    JSON, too (RFC 9110, section 12.5.1, allows it).
    """

    same_for_anonymous = True

    def select_renderer(  # type: ignore[override]
        self,
        request: "Request",
        renderers: Sequence[BaseRenderer],
        format_suffix: str | None = None,
    ) -> tuple[BaseRenderer, str]:
        asks_for_page = "text/html" in request.META.get("HTTP_ACCEPT", "")
        if asks_for_page and _has_page(request.parser_context["view"]):
            try:
                renderer, media_type = super().select_renderer(request, renderers, format_suffix)
            except (NotAcceptable, Http404):
                pass
            else:
                return renderer, media_type
        return renderers[0], str(renderers[0].media_type)


def _has_page(view: Any) -> bool:
    """A page has forms, which are made from the view's serializer."""
    return hasattr(view, "get_serializer")
