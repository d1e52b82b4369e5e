"""Request bodies: JSON objects of at most 1 MB, numbers kept exactly."""

import json
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import IO, Any, Final

from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser

from items.exceptions import EmptyBodyError
from itemsite.api.exceptions import BodyTooLarge

MAX_BYTES: Final = 1024 * 1024


class BoundedJSONParser(BaseParser):
    """A JSON object as a dict; raises ``ParseError`` and ``BodyTooLarge``.

    Not REST framework's parser: its numbers are floats, which round a price before anybody
    can refuse it; it reads bodies of any size; and deep nesting is a 500.
    """

    media_type = "application/json"

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        try:
            parsed = _decoder.decode(_text(stream, parser_context or {}))
        except json.JSONDecodeError as error:
            raise ParseError(
                f"The body is not JSON: {error.msg} at line {error.lineno}, "
                f"column {error.colno}. Correct it there."
            ) from error
        except RecursionError as error:
            raise ParseError("The JSON is nested too deeply. Send a flat object.") from error
        if not isinstance(parsed, dict):
            raise ParseError('The body must be a JSON object, such as {"name": "Tea", "price": 4}.')
        return parsed


def _text(stream: IO[Any], context: Mapping[str, Any]) -> str:
    request = context.get("request")
    announced = request.META.get("CONTENT_LENGTH") if request is not None else None
    if announced and int(announced) > MAX_BYTES:
        raise BodyTooLarge
    data: bytes = stream.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise BodyTooLarge
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise ParseError(
            f"The body is not UTF-8 (byte {error.start}). Encode it as UTF-8."
        ) from error
    if not text.strip():
        raise EmptyBodyError
    return text


def _refuse_constant(name: str) -> None:
    raise ParseError(f"The body is not JSON: it has no {name}. Send a finite number.")


def _number(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        # An exponent of twenty digits: the field refuses it.
        return Decimal("NaN")


_decoder = json.JSONDecoder(parse_int=_number, parse_float=_number, parse_constant=_refuse_constant)
