"""``ENABLED = False``: the process does as without the layer, and harms nobody who has it on."""

import socket
import threading

import orjson
import pytest
from django.core.checks import run_checks
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test import TestCase, override_settings
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIRequestFactory
from rest_framework.viewsets import ModelViewSet

import cachelayer
from cachelayer.checks import configuration
from cachelayer.contrib import wsgi
from cachelayer.contrib.rest import CachedViewMixin
from cachelayer.models import Repair
from cachelayer.operations import overview, stats
from cachelayer.protocol import drain, key_values
from cachelayer.redis import keyspace, transport, variants
from cachelayer.redis.gate import Mode, gate
from cachelayer.tests.bookshop.models import Note
from cachelayer.tests.bookshop.serializers import NoteSerializer
from cachelayer.tests.polling import until
from cachelayer.tests.sent import heads, sent
from cachelayer.tracking import tracked_tables, triggers

pytestmark = pytest.mark.django_db(transaction=True)

OFF = {"ENABLED": False, "BASE_URL": "http://testserver"}


@pytest.fixture
def note():
    return Note.objects.create(text="before")


@pytest.fixture
def off(settings):
    settings.CACHELAYER = OFF


@pytest.fixture
def no_network():
    """No new connection is made, and no old one is used."""
    transport.forget_connections()

    def refuse(*args, **kwargs):
        raise AssertionError("Redis was asked.")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(transport, "_new_connection", refuse)
        yield


@pytest.fixture
def started(monkeypatch):
    """The names of the threads that are started."""
    names = []
    start = threading.Thread.start

    def note_start(thread):
        names.append(thread.name)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", note_start)
    return names


def logged():
    return sorted(Repair.objects.values_list("key", flat=True))


class Notes(CachedViewMixin, ModelViewSet):
    queryset = Note.objects.all()
    serializer_class = NoteSerializer
    rows_are_public = True


@pytest.mark.parametrize("partition", ["bounded", "strict"])
def test_reads_and_writes_ask_no_redis_and_start_no_thread(
    note, settings, no_network, started, partition
):
    settings.CACHELAYER = OFF | {"PARTITION": partition, "CHECK_SHARE": 1.0}
    note.text = "after"
    note.save()
    Note.objects.filter(pk=note.pk).update(stars=3)
    with transaction.atomic():
        other = Note.objects.create()
    assert orjson.loads(cachelayer.read(Note, note.pk).row)["text"] == "after"
    assert [read.outcome for read in cachelayer.read_many(Note, [note.pk]).values()] == ["bypass"]
    assert len(cachelayer.rows(Note, [note.pk, other.pk])) == 2
    assert started == []
    assert gate.state.changes == 0


def test_a_view_answers_as_past_the_cache(note, off, no_network):
    view = Notes.as_view({"get": "retrieve"})
    answer = view(APIRequestFactory().get("/"), pk=str(note.pk)).render()
    assert answer["X-Cache"] == "BYPASS"
    assert orjson.loads(answer.content)["text"] == "before"
    again = APIRequestFactory().get("/", headers={"If-None-Match": answer["ETag"]})
    assert view(again, pk=str(note.pk)).status_code == 304


def test_below_django_there_is_nothing(off):
    def application(environ, start_response):
        raise NotImplementedError

    assert wsgi.fast_hits(application) is application


def test_a_statement_says_nothing_of_a_listener(note, off):
    with sent() as texts:
        Note.objects.filter(pk=note.pk).update(text="after")
    assert heads(texts) == ["UPDATE"], "no BEGIN, no COMMIT"
    assert "cachelayer" not in texts[0]


def test_what_it_writes_is_followed_by_those_that_have_it_on(note, settings, value):
    key = f"note:{note.pk}"
    before = value(key)
    assert key_values.name(before) == "row"
    with override_settings(CACHELAYER=OFF):
        note.text = "after"
        note.save()
        assert logged() == [key]
    assert value(key) == before, "nobody has asked Redis"
    drain.drain()
    found = cachelayer.read(Note, note.pk)
    assert (found.outcome, orjson.loads(found.row)["text"]) == ("miss", "after")
    assert cachelayer.read(Note, note.pk).outcome == "hit"


def test_a_transaction_that_began_with_the_layer_on(note, settings, value):
    with transaction.atomic():
        Note.objects.filter(pk=note.pk).update(text="on")
        with override_settings(CACHELAYER=OFF):
            other = Note.objects.create()
    assert logged() == [f"note:{other.pk}"]
    assert orjson.loads(value(f"note:{note.pk}"))["text"] == "on"
    with transaction.atomic():
        Note.objects.filter(pk=note.pk).update(text="off")
        settings.CACHELAYER = OFF
    assert logged() == sorted([f"note:{other.pk}", f"note:{note.pk}"])


def test_an_invalidation_is_logged(note, off):
    cachelayer.invalidate(Note, note.pk)
    assert logged() == [f"note:{note.pk}"]


def test_a_database_without_triggers_stays_without(note):
    with connection.cursor() as cursor:
        cursor.execute(f"DROP FUNCTION {tracked_tables.FUNCTION} CASCADE")
    try:
        with override_settings(CACHELAYER=OFF):
            call_command("migrate", verbosity=0)
            version, relations = tracked_tables.inspect(connection)
            assert version == 0
            assert not any(relation.triggers for relation in relations)
            note.save()
            assert logged() == []
        call_command("migrate", verbosity=0)
        assert triggers.problems(connection) == []
        assert "note:*" in logged(), "what was written meanwhile is not believed"
    finally:
        triggers.install("default")


def test_triggers_that_are_there_stay_and_are_mended(off):
    with connection.cursor() as cursor:
        cursor.execute("DROP TRIGGER cachelayer_update ON bookshop_note")
    call_command("migrate", verbosity=0)
    assert triggers.problems(connection) == []


def test_checks_ask_for_no_redis(settings):
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    assert [problem.id for problem in configuration.check_settings()] == ["cachelayer.E004"]
    settings.CACHELAYER = OFF
    found = run_checks(databases=["default"])
    assert [problem for problem in found if problem.id.startswith("cachelayer.")] == []


def test_whether_it_is_on_is_true_or_false(settings):
    settings.CACHELAYER = {"ENABLED": "no"}
    assert [problem.id for problem in configuration.check_settings()] == ["cachelayer.E002"]


def test_it_is_said_where_people_look(off, no_network):
    assert stats.collect()["redis"] == "off"
    assert stats.gate_state()["state"] == "off"
    [trouble, *_] = overview.collect().troubles
    assert "CACHELAYER['ENABLED']" in trouble.sentence


@pytest.mark.parametrize("command", ["cache_warm", "cache_verify", "cache_clear", "cache_repair"])
def test_a_command_that_needs_redis_says_so_and_ends(note, off, no_network, command):
    arguments = ["--yes"] if command == "cache_clear" else []
    with pytest.raises(CommandError, match="is switched off here"):
        call_command(command, *arguments)


class OfAProject(TestCase):
    """As a project's own test would."""

    @override_settings(CACHELAYER=OFF)
    def test_switched_off_for_one_test(self):
        note = Note.objects.create(text="tea")
        assert cachelayer.read(Note, note.pk).outcome == "bypass"
        with self.captureOnCommitCallbacks(execute=True) as callbacks:
            note.save()
        assert callbacks == []


def test_switched_on_again_it_is_used(note):
    with override_settings(CACHELAYER=OFF):
        assert cachelayer.read(Note, note.pk).outcome == "bypass"
    assert cachelayer.read(Note, note.pk).outcome == "hit"


def test_a_gate_that_was_opened_while_it_was_off_is_seen_to_later(note, started):
    with override_settings(CACHELAYER=OFF):
        gate.settle("Another database.")
        assert started == []
    assert cachelayer.read(Note, note.pk).outcome == "bypass"
    assert started == ["cachelayer-reconcile"]
    until(lambda: gate.mode is Mode.CLOSED)
    assert cachelayer.read(Note, note.pk).outcome in ("hit", "miss")


def test_a_read_is_one_query(note, off):
    keyspace.forget()
    variants.forget()
    with CaptureQueriesContext(connection) as asked:
        cachelayer.read(Note, note.pk)
    assert len(asked) == 1
