"""Two Redis that are both alive, and a fail-back to the first: A, B, A.

Another process is led to B while this one still holds connections to A, which never restarted
and has the old row. Bounded: a look finds it. Strict: no read believes it.
"""

import subprocess
import sys

import pytest
import redis
from django.conf import settings as django_settings

import cachelayer
from cachelayer.protocol import partition, watchdog
from cachelayer.redis import epoch, transport
from cachelayer.tests.bookshop.models import Note
from cachelayer.tests.commands import environment_here
from cachelayer.tests.outages import closed, until
from cachelayer.tests.truth import hit, told

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("quick")]

#: Writes what it is told, and says when it is acknowledged and cached on its Redis.
WRITER = """
import sys, django
django.setup()
from django.conf import settings
settings.CACHELAYER = {settings!r}
import cachelayer
from cachelayer import conf
from cachelayer.redis.gate import Mode, gate
from cachelayer.tests.bookshop.models import Note
conf.get.cache_clear()
for line in sys.stdin:
    note = Note.objects.get()
    cachelayer.read(Note, note.pk)
    if line.startswith("settle"):
        import time
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and (
            gate.mode is not Mode.CLOSED or cachelayer.read(Note, note.pk).outcome == "bypass"
        ):
            cachelayer.read(Note, note.pk)
            time.sleep(0.02)
    else:
        Note.objects.update(stars=int(line))
    print("done", cachelayer.read(Note, note.pk).outcome, flush=True)
"""


@pytest.fixture
def other(own_redis, other_redis):
    """Tell a process that is led to the other Redis to write or to settle."""
    processes = []

    def begin(**settings):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER.format(settings=settings)],
            env={**environment_here(), "REDIS_URL": other_redis.url},
            cwd=django_settings.BASE_DIR,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        processes.append(process)

        def tell(what):
            print(what, file=process.stdin, flush=True)
            answer = process.stdout.readline()
            assert answer.startswith("done"), answer
            return answer.split()[1]

        return tell

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture
def note(own_redis):
    note = Note.objects.create(stars=1)
    hit(Note, note.pk)
    return note


@pytest.fixture
def lead(settings, own_redis, other_redis):
    """Lead this process' new connections to another Redis."""

    def lead(server):
        cache = settings.CACHES["default"]
        settings.CACHES = {"default": {**cache, "LOCATION": server.url}}
        transport.forget_connections()

    yield lead
    lead(own_redis)


def stars(note):
    return told(Note, note.pk)["stars"]


QUICK = {"PROBE_INTERVAL": 0.02, "SETTLING_TIME": 0.05}


def test_an_old_primary_that_is_alive_is_found_by_the_next_look(note, other, own_redis):
    """Bounded: this process goes on hitting A until it looks; then nothing old is served."""
    tell = other(**QUICK)
    tell("settle")  # B is reconciled: a new epoch.
    tell("2")
    watchdog.check()
    assert not closed() or stars(note) == 2
    assert stars(note) == 2
    until(closed)
    assert stars(note) == 2


def test_a_write_on_an_old_primary_is_logged_and_repaired_on_the_new_one(note, other, own_redis):
    """This process marks A, is told that Postgres has another epoch, and logs."""
    tell = other(**QUICK)
    assert tell("settle") in ("hit", "miss")
    assert tell("settle") == "hit"
    Note.objects.filter(pk=note.pk).update(stars=3)
    assert not closed(), "its mark met an epoch that is not the last"
    assert stars(note) == 3


def test_a_fail_back_to_a_server_that_never_restarted(note, other, own_redis, other_redis, lead):
    """A, B, A: what A has is from before; new connections to it find its epoch too old."""
    with transport.fresh_connection() as connection:
        connection.send_command("GET", f"note:{note.pk}")
        old = connection.read_response()
    lead(other_redis)
    until(lambda: cachelayer.read(Note, note.pk).outcome == "hit" and closed())
    Note.objects.filter(pk=note.pk).update(stars=2)
    assert stars(note) == 2
    lead(own_redis)
    with redis.Redis(port=own_redis.port) as there:
        assert there.get(f"note:{note.pk}") == old, "A still holds the old row"
    assert stars(note) == 2, "the first read is right already"
    until(closed)
    assert stars(note) == 2
    Note.objects.filter(pk=note.pk).update(stars=3)
    assert stars(note) == 3


def test_each_reconcile_has_an_epoch_of_its_own(note, other, own_redis, other_redis, lead):
    seen = [epoch.ask()]
    for server in (other_redis, own_redis, other_redis):
        lead(server)
        cachelayer.read(Note, note.pk)
        until(lambda: cachelayer.read(Note, note.pk).outcome == "hit" and closed())
        seen.append(epoch.ask())
    assert len(set(seen)) == 4
    assert sorted(seen, key=int) == seen


@pytest.fixture
def strictly(settings, monkeypatch):
    settings.CACHELAYER = {**QUICK, "PARTITION": "strict", "TRUST_LIFETIME": 0.5}
    # No thread asks by itself: the tests say when.
    monkeypatch.setattr(partition.task, "wake", lambda: None)
    monkeypatch.setattr(partition.task, "wake_now", lambda: None)
    yield settings.CACHELAYER
    partition.trust.start_afresh()


def test_strict_never_believes_an_old_primary(note, other, own_redis, strictly):
    """No look, and no time between the other's acknowledgement and this read."""
    partition.trust.ask()
    assert cachelayer.read(Note, note.pk).outcome == "hit"
    tell = other(**strictly)
    for count in range(2, 6):
        partition.trust.ask()
        cachelayer.read(Note, note.pk)
        tell(str(count))
        assert stars(note) == count
        tell("settle")
        partition.trust.ask()
        assert stars(note) == count


def test_strict_never_believes_a_server_that_was_failed_back_to(
    note, other, own_redis, other_redis, strictly, lead
):
    """The other process is led back as well: its last write marks B, whose epoch is the last."""
    partition.trust.ask()
    tell = other(**strictly)
    tell("settle")
    tell("2")
    assert stars(note) == 2
    lead(other_redis)
    assert stars(note) == 2
    until(closed)
    tell("settle")
    tell("3")
    lead(own_redis)
    partition.trust.ask()
    assert stars(note) == 3
