"""The pages that a person sees who opens ``/items`` in a browser."""

from collections.abc import Mapping
from typing import Any, Final

import orjson
from django.conf import settings
from django.db import Error
from django.utils.html import format_html
from rest_framework.exceptions import APIException
from rest_framework.renderers import BrowsableAPIRenderer

from cachelayer.contrib.rest import Row

_WRITABLE: Final = ("name", "description", "price")
_SAMPLE: Final = {"name": "Tea", "description": "", "price": 4.2}


class ItemPages(BrowsableAPIRenderer):
    """REST framework's pages, with the JSON as the API gives it, indented.

    A page is another representation than the row, so it has no ``ETag`` of the row's.
    """

    template = "api/browsable.html"
    renders_rows = True

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> Any:
        assert renderer_context is not None
        response = renderer_context["response"]
        if response.status_code == 304:
            return b""
        response.headers.pop("ETag", None)
        try:
            return super().render(data, accepted_media_type, renderer_context)
        except (Error, APIException):
            # Who is logged in is not to be known now: the row still is.
            return format_html("<!doctype html><title>Items</title><pre>{}</pre>", _pretty(data))

    def get_content(
        self, renderer: Any, data: Any, accepted_media_type: Any, renderer_context: Any
    ) -> str:
        return _pretty(data)

    def get_raw_data_form(self, data: Any, view: Any, method: str, request: Any) -> Any:
        """With what can be sent in it: the row's own values, or a sample's."""
        form: Any = super().get_raw_data_form(data, view, method, request)
        if form:
            shown = orjson.loads(data.json) if isinstance(data, Row) else {}
            row = shown if "price" in shown else _SAMPLE
            sent = {name: row[name] for name in _WRITABLE}
            form.fields["_content"].initial = _pretty(sent)
        return form

    def get_context(
        self, data: Any, accepted_media_type: str | None, renderer_context: Mapping[str, Any]
    ) -> dict[str, Any]:
        context: dict[str, Any] = super().get_context(data, accepted_media_type, renderer_context)
        return {**context, "lab": settings.LAB}


def _pretty(data: Any) -> str:
    if data is None:
        return ""
    plain = orjson.loads(data.json) if isinstance(data, Row) else data
    return orjson.dumps(plain, option=orjson.OPT_INDENT_2).decode()
