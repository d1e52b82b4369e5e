"""Entity tags of rows (RFC 9110, section 8.8.3)."""

import hashlib

from django.utils.http import parse_etags


def etag(row: bytes) -> str:
    """The strong ETag of a row. Two ETags are equal exactly if the bytes are."""
    return f'"{hashlib.blake2b(row, digest_size=12).hexdigest()}"'


def names(header: str, tag: str) -> bool:
    """Whether the ``If-None-Match`` value *header* names *tag*, by the weak comparison."""
    known = parse_etags(header)
    return known == ["*"] or tag in [each.removeprefix("W/") for each in known]
