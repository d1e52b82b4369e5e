"""Which renderer answers."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer

if TYPE_CHECKING:
    from rest_framework.request import Request


class JSONOnly(DefaultContentNegotiation):
    """JSON, whatever ``Accept`` says (RFC 9110, section 12.5.1, allows it).

    A 406 would help nobody: there is nothing else to be had.
    """

    same_for_anonymous = True

    def select_renderer(  # type: ignore[override]
        self,
        request: "Request",
        renderers: Sequence[BaseRenderer],
        format_suffix: str | None = None,
    ) -> tuple[BaseRenderer, str]:
        return renderers[0], str(renderers[0].media_type)
