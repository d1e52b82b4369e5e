"""Errors for which REST framework has no class. ``errors.py`` answers them."""

from rest_framework import status
from rest_framework.exceptions import APIException


class BodyTooLarge(APIException):
    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_detail = "The body is larger than 1 MB. Send a smaller one."
    default_code = "too_large"


class Conflict(APIException):
    status_code = status.HTTP_409_CONFLICT
    default_detail = "Another write got in the way. Send the request again."
    default_code = "conflict"


class DatabaseAway(APIException):
    """503, with ``Retry-After``."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_code = "database_away"
    wait = 2
