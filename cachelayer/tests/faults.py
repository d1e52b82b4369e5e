"""What the tests of faults share: a note, its stars as readers are told them, and the gate."""

import orjson

import cachelayer
from cachelayer import epoch, incarnation, link
from cachelayer.gate import Mode, gate
from cachelayer.tests.bookshop.models import Note
from cachelayer.tests.polling import until as until


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
    value = incarnation.settling(server, epoch.known())
    link.client().set(incarnation.KEY, incarnation.trusted(value))
