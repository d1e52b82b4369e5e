"""What the tests of faults share: a note, its stars as readers are told them, and the gate."""

import orjson
from django.db import connection, transaction

import cachelayer
from cachelayer.models import Repair
from cachelayer.redis import epoch, incarnation, transport
from cachelayer.redis.gate import Mode, gate
from cachelayer.tests.bookshop.models import Note
from cachelayer.tests.polling import until as until

#: Of a mark: the number of a transaction that no server has begun, so that it never ends.
NEVER_ENDS = 2**62
#: Of one that has long ended.
ENDED = 3


def closed():
    return gate.mode is Mode.CLOSED


def stars(note):
    return orjson.loads(cachelayer.read(Note, note.pk).row)["stars"]


def set_stars(note, stars):
    note.stars = stars
    note.save()


def trust_this_redis():
    with transport.fresh_connection() as fresh:
        server = incarnation.fetch(fresh).server
    value = incarnation.settling(server, epoch.known())
    transport.client().set(incarnation.KEY, incarnation.trusted(value))


def write_unseen(sql, parameters=()):
    """Change rows as if no trigger had seen it: past Django's cursor, and out of the log again."""
    with transaction.atomic():
        connection.ensure_connection()
        connection.connection.execute(sql, parameters)
        Repair.objects.all().delete()
