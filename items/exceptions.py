"""The errors of a body that REST framework would take for an empty object."""

from rest_framework import status
from rest_framework.exceptions import APIException, ParseError


class EmptyBodyError(ParseError):
    default_detail = 'The body is empty. Send a JSON object, such as {"name": "Tea", "price": 4}.'


class LengthRequired(APIException):
    status_code = status.HTTP_411_LENGTH_REQUIRED
    default_detail = "The body came in chunks of unknown length. Send it with Content-Length."
    default_code = "length_required"
