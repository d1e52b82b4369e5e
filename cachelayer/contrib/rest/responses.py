"""Responses of REST framework views that send a row's bytes unchanged."""

import json
from typing import Any, Final

import orjson
from rest_framework.renderers import JSONRenderer
from rest_framework.response import Response
from rest_framework.utils.encoders import JSONEncoder

_encode_odd_types = JSONEncoder().default
_INDENT: Final = "indent="


class Row:
    """JSON bytes that go to the client unchanged."""

    __slots__ = ("json",)

    def __init__(self, json: bytes) -> None:
        self.json = json


class RowResponse(Response):
    """A response whose body is a row. Its ``data`` is parsed on first access."""

    def __init__(self, row: bytes, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._row = row
        self._is_parsed = self._is_rendering = False

    @property
    def data(self) -> Any:
        """The row as a dictionary. Changes to it are sent."""
        if self._is_rendering and not self._is_parsed:
            return Row(self._row)
        if not self._is_parsed:
            self.data = json.loads(self._row)
        return self._data

    @data.setter
    def data(self, data: Any) -> None:
        self._data, self._is_parsed = data, True

    @property
    def rendered_content(self) -> Any:
        self._is_rendering = True
        try:
            content = super().rendered_content
        finally:
            self._is_rendering = False
        if content and content != self._row:
            del self["ETag"]  # The ETag is the row's, and these are other bytes.
        return content


class JSONRowRenderer(JSONRenderer):
    """REST framework's JSON renderer that also passes a ``Row`` through unchanged."""

    #: Whether ``render`` takes a ``Row``.
    renders_rows = True

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Any = None,
    ) -> bytes:
        if not isinstance(data, Row):
            return self.render_data(data, accepted_media_type, renderer_context)
        if _INDENT in (accepted_media_type or ""):
            parsed = json.loads(data.json)
            return JSONRenderer.render(self, parsed, accepted_media_type, renderer_context)
        return data.json

    def render_data(
        self, data: Any, accepted_media_type: str | None, renderer_context: Any
    ) -> bytes:
        """Render data that is not a row."""
        return JSONRenderer.render(self, data, accepted_media_type, renderer_context)


class RowRenderer(JSONRowRenderer):
    """The same with orjson, which is several times as fast."""

    # JSON is always UTF-8 (RFC 8259), so the parameter would be noise.
    charset = None

    def render_data(
        self, data: Any, accepted_media_type: str | None, renderer_context: Any
    ) -> bytes:
        if data is None:
            return b""
        return orjson.dumps(data, default=_encode_odd_types, option=orjson.OPT_NON_STR_KEYS)
