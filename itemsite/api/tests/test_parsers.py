"""What the parser reads of a body; ``items/tests/test_bad_input.py`` has what it refuses."""

import pytest
from rest_framework.request import Request

from itemsite.api.exceptions import BodyTooLarge
from itemsite.api.parsers import MAX_BYTES, BoundedJSONParser


class Endless:
    """A stream of spaces that counts what is read."""

    read_so_far = 0

    def read(self, size):
        self.read_so_far += size
        return b" " * size


@pytest.mark.parametrize(("announced", "read"), [("1", MAX_BYTES + 1), (str(MAX_BYTES + 1), 0)])
def test_no_more_than_a_megabyte_is_read_whatever_is_announced(rf, announced, read):
    request = Request(rf.post("/items", CONTENT_LENGTH=announced))
    stream = Endless()
    with pytest.raises(BodyTooLarge):
        BoundedJSONParser().parse(stream, None, {"request": request})
    assert stream.read_so_far == read
