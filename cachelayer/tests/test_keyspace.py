"""Several databases on one Redis: who has the plain keys, and that nothing else is shared."""

import psycopg
import pytest
from django.db import connection
from redis.exceptions import NoPermissionError

import cachelayer
from cachelayer.operations import clear, row_count
from cachelayer.protocol import reconcile, scan, signs_of_life, watchdog
from cachelayer.redis import epoch, incarnation, keyspace, transport
from cachelayer.redis.gate import Mode, gate
from cachelayer.telemetry import counters
from cachelayer.tests.bookshop.models import Note
from cachelayer.tests.pgbouncer import direct_parameters
from cachelayer.tests.polling import until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("quick")]


@pytest.fixture
def identity():
    return keyspace._identity("default").encode()


def settled():
    gate.settle("for this test")
    until(lambda: gate.mode is Mode.CLOSED)


def other_project(*keys):
    """Another database's: it owns the plain keys, and has cached these."""
    plain = transport.client()
    plain.set(keyspace.OWNER, "1/other/public")
    for key in keys:
        plain.set(key, b'{"id":1,"text":"of another database"}')
    return plain


def test_the_first_database_owns_the_plain_keys(identity):
    asked = []
    assert keyspace.decide(lambda *commands: asked.extend(commands) or [None]) == ""
    assert asked == [("GET", keyspace.OWNER)], "a look claims nothing"
    settled()
    assert transport.client().get(keyspace.OWNER) == identity
    assert identity.decode().endswith(f"/{connection.settings_dict['NAME']}/public")


def test_any_other_has_keys_of_its_own(value):
    note = Note.objects.create(text="ours")
    plain = other_project(f"note:{note.pk}")
    keyspace.forget()
    settled()
    assert keyspace.prefix().startswith(f"{connection.settings_dict['NAME']}.")
    assert b"ours" in cachelayer.read(Note, note.pk).row
    assert cachelayer.read(Note, note.pk).outcome == "hit"
    assert b"another" in plain.get(f"note:{note.pk}")
    Note.objects.update(text="changed")
    assert b"changed" in plain.get(keyspace.of(f"note:{note.pk}"))
    assert b"another" in plain.get(f"note:{note.pk}")


def test_a_clear_a_sweep_a_count_and_the_totals_are_of_one_database_only():
    notes = Note.objects.bulk_create(Note() for _ in range(3))
    plain = other_project("note:1", "note:2", *(f"note:{note.pk}" for note in notes))
    plain.hset("cachelayer:counts", "hit", 1000)
    before = {key: plain.get(key) for key in plain.scan_iter("note:*")}
    keyspace.forget()
    settled()
    for note in notes:
        cachelayer.read(Note, note.pk)
    assert row_count.count().rows == 3
    counters._counts.add("miss", 3)
    assert counters.totals() == {"hit": 0, "miss": 3, "bypass": 0, "checked": 0, "stale": 0}
    assert sum(clear.clear_all()) == 3
    trusted = f"trusted {epoch.known()}"
    reconcile._sweep(trusted, signs_of_life.Signs({None: trusted}))
    Note.objects.all().delete()
    assert {key: plain.get(key) for key in plain.scan_iter("note:*")} == before
    assert plain.hgetall("cachelayer:counts") == {b"hit": b"1000"}


def test_an_owner_that_comes_after_a_flush_is_noticed_by_its_epoch():
    """Both had plain keys, of two servers: one is led to the other's."""
    note = Note.objects.create(text="ours")
    settled()
    plain = other_project(f"note:{note.pk}")
    plain.set(incarnation.KEY, f"{server()} trusted 999")
    until(lambda: _probes_and_is_closed(note))
    assert keyspace.prefix() != ""
    assert b"ours" in cachelayer.read(Note, note.pk).row


def server():
    with transport.fresh_connection() as fresh:
        return incarnation.fetch(fresh).server


def _probes_and_is_closed(note):
    watchdog.check()
    return gate.mode is Mode.CLOSED and keyspace.prefix() != ""


def test_a_write_of_another_database_with_the_same_ids_touches_nothing(value):
    note = Note.objects.create(text="ours")
    other_project()
    keyspace.forget()
    settled()
    Note.objects.update(text="theirs")
    assert b"ours" in value(f"note:{note.pk}")


@pytest.mark.parametrize(("namespace", "start"), [("shop", "shop/"), ("", "")])
def test_a_namespace_says_it_outright(settings, namespace, start):
    other_project()
    settings.CACHELAYER = {"NAMESPACE": namespace}
    assert keyspace.prefix() == start
    note = Note.objects.create()
    assert transport.client().exists(f"{start}note:{note.pk}")
    settled()


def test_the_key_prefix_of_the_cache_is_kept_to(settings):
    cache = settings.CACHES["default"]
    settings.CACHES = {"default": {**cache, "KEY_PREFIX": "a*[b]"}}
    transport.forget_connections()
    settled()
    note = Note.objects.create()
    assert transport.client().exists(f"a*[b]/note:{note.pk}")
    transport.client().set(f"aXb/note:{note.pk}", "no key of this project")
    assert list(scan.keys()) == [f"note:{note.pk}"]
    transport.forget_connections()


def test_a_test_database_never_owns_the_plain_keys(monkeypatch):
    monkeypatch.setattr(keyspace, "is_for_tests", lambda using: True)
    keyspace.forget()
    settled()
    assert keyspace.prefix() != ""
    assert transport.client().get(keyspace.OWNER) is None
    note = Note.objects.create()
    assert not transport.client().exists(f"note:{note.pk}")
    assert cachelayer.read(Note, note.pk).outcome == "hit"


@pytest.mark.parametrize(
    ("name", "test_name", "is_one"),
    [
        ("test_shop", None, True),
        ("suite", "suite", True),
        ("shop", None, False),
    ],
)
def test_a_test_database_is_told_by_its_name(monkeypatch, name, test_name, is_one):
    monkeypatch.undo()
    monkeypatch.setitem(connection.settings_dict, "NAME", name)
    monkeypatch.setitem(connection.settings_dict["TEST"], "NAME", test_name)
    assert keyspace.is_for_tests("default") is is_one


def test_an_alias_that_leads_to_another_database_has_another_prefix(monkeypatch):
    """As when Django's test runner has made its own."""
    Note.objects.create()
    other = "another_of_tests"
    with psycopg.connect(**direct_parameters(), autocommit=True) as outside:
        outside.execute(f"DROP DATABASE IF EXISTS {other}")
        outside.execute(f"CREATE DATABASE {other}")
    transport.client().set(keyspace.OWNER, keyspace._identity("default"))
    monkeypatch.setattr(gate, "_run", lambda: None)
    connection.close()
    name = connection.settings_dict["NAME"]
    connection.settings_dict["NAME"] = other
    try:
        connection.ensure_connection()
        assert gate.mode is Mode.SETTLING
        assert keyspace.prefix().startswith(f"{other}.")
    finally:
        connection.close()
        connection.settings_dict["NAME"] = name
        connection.ensure_connection()
        assert keyspace.prefix() == ""
        with psycopg.connect(**direct_parameters(), autocommit=True) as outside:
            # A pooler, if one is in between, keeps its connections.
            outside.execute(f"DROP DATABASE {other} WITH (FORCE)")


def test_a_redis_that_does_not_say_whose_it_is_is_not_used(monkeypatch):
    note = Note.objects.create()

    def refuse(*commands):
        raise NoPermissionError("this user has no permissions to run the 'get' command")

    monkeypatch.setattr(transport, "_ask_fresh", refuse)
    monkeypatch.setattr(gate, "_run", lambda: None)
    keyspace.forget()
    assert cachelayer.read(Note, note.pk).outcome == "bypass"
    assert gate.mode is Mode.SETTLING
    Note.objects.update(text="logged")
    assert gate.mode is Mode.OPEN
