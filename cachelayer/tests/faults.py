"""What the tests of faults share: a note, its stars as readers are told them, and waiting."""

import threading
import time

import orjson

import cachelayer
from cachelayer import incarnation, link
from cachelayer.gate import Mode, gate
from cachelayer.tests.bookshop.models import Note


def until(condition):
    """Wait until *condition*; it has 20 seconds to come true."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, f"never came true; gate {gate.state}"
        threading.Event().wait(0.01)


def closed():
    return gate.mode is Mode.CLOSED


def stars(note):
    return orjson.loads(cachelayer.read(Note, note.pk).row)["stars"]


def set_stars(note, stars):
    note.stars = stars
    note.save()


def trust_this_redis():
    with link.fresh_connection() as fresh:
        server = incarnation.look(fresh).server
    link.client().set(incarnation.KEY, incarnation.trusted(incarnation.settling(server)))
