"""``check --database``: what a Redis does not give the cache is said, with what to do."""

import ast
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import redis
from django.db import connection, transaction

import cachelayer
from cachelayer.checks import configuration
from cachelayer.checks import redis as redis_checks
from cachelayer.models import Repair
from cachelayer.operations import clear, inspect_key, overview, row_count
from cachelayer.protocol import key_states, retire_variants, watchdog
from cachelayer.redis import transport, variants
from cachelayer.redis.gate import gate
from cachelayer.telemetry import counters
from cachelayer.tests.bookshop.models import Note, Novel, Review
from cachelayer.tests.commands import run
from cachelayer.tests.hiding import Hiding
from cachelayer.tests.outages import closed, set_stars, stars
from cachelayer.tests.polling import until
from cachelayer.tracking import repair_log

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("quick")]

SECRET = "secret"


def found():
    return configuration.check_redis(databases=["default"])


def ids():
    return [problem.id for problem in found()]


@pytest.fixture
def admin(own_redis):
    with redis.Redis(port=own_redis.port, decode_responses=True) as connection:
        yield connection
        connection.execute_command(
            "ACL", "SETUSER", "default", "reset", "on", "nopass", "+@all", "~*"
        )
        connection.config_set("maxmemory", 0)


@contextmanager
def reached(settings, location):
    """The cache layer comes to Redis at *location*."""
    cache = settings.CACHES["default"]
    settings.CACHES = {"default": {**cache, "LOCATION": location}}
    transport.forget_connections()
    yield
    settings.CACHES = {"default": cache}
    transport.forget_connections()


@contextmanager
def hiding(own_redis, settings, *fields):
    with (
        Hiding(own_redis.port, *fields) as hidden,
        reached(settings, f"redis://127.0.0.1:{hidden.port}/0"),
    ):
        yield


@contextmanager
def as_user(own_redis, settings, admin, *rules, database=0):
    """As a user who may nothing but what *rules* give."""
    admin.execute_command("ACL", "SETUSER", "lab", "reset", "on", f">{SECRET}", *rules)
    with reached(settings, f"redis://lab:{SECRET}@127.0.0.1:{own_redis.port}/{database}"):
        yield


def line(problem):
    """The words of the command that the hint gives."""
    _, _, words = problem.hint.partition("ACL SETUSER ")
    return words.partition(". Unless")[0].split()


def test_a_redis_that_gives_all_is_quiet(own_redis):
    assert found() == []


def test_a_redis_that_is_away_is_no_mistake_of_the_project(own_redis):
    own_redis.stop()
    assert found() == []
    own_redis.start()


@pytest.mark.parametrize("databases", [None, []])
def test_nobody_is_asked_unless_a_database_is_named(own_redis, admin, databases):
    admin.execute_command("ACL", "SETUSER", "default", "-info")
    assert configuration.check_redis(databases=databases) == []


@pytest.mark.parametrize("option", [{"ROW_TLL": 5}, {"NULL_TTL": "5"}])
def test_wrong_settings_come_first(settings, option):
    settings.CACHELAYER = option
    assert found() == []


# What the cache uses, and who may do just that.


def test_the_list_is_what_the_code_sends(own_redis, admin):
    """In the scripts it is read from them; of the rest this is the only witness."""
    known = {name.lower() for name in admin.command_list()}
    sent = set()
    for path in Path(cachelayer.__file__).parent.rglob("*.py"):
        if "tests" not in path.parts and path != Path(redis_checks.__file__):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Tuple) and node.elts and _is_a_name(node.elts[0]):
                    sent.add(node.elts[0].value.lower())
    # CONFIG GET is asked where INFO does not say, and may be refused.
    of_cluster = {name.partition("|")[0] for name in redis_checks.SENT_TO_CLUSTER}
    assert sent & known - {"config"} == redis_checks.SENT | of_cluster
    missing = set(redis_checks.commands()) - set(redis_checks._HARMLESS)
    assert not missing, "say in checks/redis.py, _HARMLESS, how they are tried"


def _is_a_name(node):
    return isinstance(node, ast.Constant) and str(node.value).isupper()


@pytest.mark.parametrize("database", [0, 3])
def test_a_user_with_exactly_these_commands_can_do_everything(
    own_redis, settings, admin, monkeypatch, database
):
    with reached(settings, f"redis://127.0.0.1:{own_redis.port}/{database}"):
        rules = redis_checks.acl().split()
    with as_user(own_redis, settings, admin, *rules, database=database):
        transport.ping()
        until(closed)
        assert found() == []
        admin.execute_command("CONFIG", "RESETSTAT")
        admin.script_flush()
        _do_everything(admin, own_redis, monkeypatch, database)
        stats = admin.info("commandstats")
        assert closed()
        assert not Repair.objects.exists()
    assert found() == []
    used = {name.removeprefix("cmdstat_") for name, said in stats.items() if said["calls"]}
    assert not set(redis_checks.commands()) - used, "these are given for nothing"
    assert {name: said for name, said in stats.items() if said["rejected_calls"]} == {}


def _do_all_with_documents():
    novel = Novel.objects.create(title="Waves")
    for _ in range(2):
        cachelayer.read(Novel, novel.pk)
    Review.objects.create(novel=novel)
    assert cachelayer.read(Novel, novel.pk).outcome == "miss"


def _do_all_with_variants(note, monkeypatch):
    """As a process of another release, which then goes."""
    monkeypatch.setattr(retire_variants, "_next_word", 0.0)
    monkeypatch.setattr(variants, "_own", {"note": "b" * 12})
    stars(note)
    set_stars(note, 2)
    retire_variants.retire_unused()
    assert retire_variants.retire(f"note~{'b' * 12}")
    monkeypatch.setattr(variants, "_own", {})


def _do_everything(admin, own_redis, monkeypatch, database):
    notes = [Note.objects.create(text="x" * 60, stars=1) for _ in range(3)]
    set_stars(notes[0], 2)
    for _ in range(2):
        assert stars(notes[0]) == 2
    notes[1].delete()
    cachelayer.read_many(Note, [note.pk for note in notes])
    _do_all_with_variants(notes[0], monkeypatch)
    _do_all_with_documents()
    Note.objects.filter(pk=notes[2].pk).update(stars=3)
    with suppress(ZeroDivisionError), transaction.atomic():
        set_stars(notes[2], 4)
        raise ZeroDivisionError
    with monkeypatch.context() as killed:
        killed.setattr(key_states, "push", lambda rows, token: [])
        set_stars(notes[2], 5)
    set_stars(notes[2], 6)  # Its mark comes behind the one that was left.
    key = f"note:{notes[0].pk}"
    with transaction.atomic():
        repair_log.log(connection, [key])
    watchdog.check()
    inspect_key.inspect_text(key)
    transport.get([key])
    run("cache_verify")
    clear.count(["note"], 5)
    run("cache_clear", "--yes")
    run("cache_warm")
    monkeypatch.setattr(row_count, "SMALL", 0)
    row_count.count()
    row_count.walk()
    counters._counts.add("hit")
    counters.totals()
    overview.collect()
    assert transport.ping()
    with redis.Redis(port=own_redis.port, db=database) as own:
        own.flushdb()  # A reconcile, with its probe and its sweep.
    cachelayer.read(Note, notes[0].pk)
    until(closed)
    assert gate.state.changes
    assert stars(notes[0]) == 2


def test_e021_each_command_that_is_forbidden(own_redis, settings, admin):
    with as_user(own_redis, settings, admin, *redis_checks.acl().split()):
        for name in redis_checks.commands():
            admin.execute_command("ACL", "SETUSER", "lab", f"-{name}")
            [problem] = found()
            assert problem.id == "cachelayer.E021"
            assert f"user 'lab' may not run {name.replace('|', ' ').upper()}." in problem.msg
            admin.execute_command("ACL", "SETUSER", *line(problem))
            assert found() == []


@pytest.mark.parametrize(
    "rules",
    [
        ["~*", "+@all", "-info"],
        ["~*", "+@all", "-@dangerous", "-@scripting"],
        ["+@all"],
        ["~other:*", "+@all"],
        ["~note:*", "+@all"],
        ["~cachelayer:*", "+@all"],
        ["%R~*", "+@all"],
    ],
    ids=" ".join,
)
def test_e021_the_line_that_is_given_is_enough(own_redis, settings, admin, rules):
    note = Note.objects.create(stars=1)
    with as_user(own_redis, settings, admin, *rules):
        [problem] = found()
        assert problem.id == "cachelayer.E021"
        set_stars(note, 2)
        assert stars(note) == 2
        admin.execute_command("ACL", "SETUSER", *line(problem))
        assert found() == []
        until(lambda: cachelayer.read(Note, note.pk).outcome == "hit")
        assert stars(note) == 2


def test_e021_a_user_who_may_nothing_yet(own_redis, settings, admin):
    with as_user(own_redis, settings, admin):
        [problem] = found()
        assert problem.id == "cachelayer.E021"
        _, _, keys = problem.hint.partition(". Unless it may use every key, also ")
        admin.execute_command("ACL", "SETUSER", *line(problem))
        admin.execute_command("ACL", "SETUSER", "lab", *keys.split())
        assert found() == []


def test_e021_a_user_who_may_not_choose_its_database(own_redis, settings, admin):
    with as_user(own_redis, settings, admin, "~*", "+@all", "-select", database=3):
        [problem] = found()
        assert "SELECT" in problem.msg
        assert "+select" in problem.hint


def test_e021_the_default_user(own_redis, admin):
    admin.execute_command("ACL", "SETUSER", "default", "-info")
    [problem] = found()
    assert "'default'" in problem.msg
    assert "ACL SETUSER default +" in problem.hint


def test_e026_a_password_that_is_wrong(own_redis, settings, admin):
    with as_user(own_redis, settings, admin, "~*", "+@all"):
        admin.execute_command("ACL", "SETUSER", "lab", "resetpass", ">another")
        assert ids() == ["cachelayer.E026"]


def test_e025_a_command_that_was_taken_away(own_redis, settings):
    own_redis.stop()
    with pytest.MonkeyPatch.context() as patch:
        renamed = [*own_redis._options, "--rename-command", "SCAN", "hidden"]
        patch.setattr(own_redis, "_options", renamed)
        own_redis.start()
    [problem] = found()
    assert problem.id == "cachelayer.E025"
    assert "SCAN" in problem.msg
    assert "rename-command" in problem.hint


# Who it is, and what it evicts.


@pytest.mark.parametrize("field", ["run_id", "master_replid"])
def test_e022_a_redis_that_does_not_say_who_it_is(own_redis, settings, field):
    note = Note.objects.create(stars=1)
    with hiding(own_redis, settings, field):
        [problem] = found()
        assert problem.id == "cachelayer.E022"
        assert field in problem.msg
        assert cachelayer.read(Note, note.pk).outcome == "bypass"
        until(lambda: field in gate.state.reason)
    until(closed)


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-lfu", "allkeys-random"])
def test_e023_a_policy_under_which_the_cache_is_never_read(own_redis, admin, policy):
    admin.config_set("maxmemory-policy", policy)
    assert found() == [], "it has no limit"
    admin.config_set("maxmemory", "100mb")
    [problem] = found()
    assert problem.id == "cachelayer.E023"
    assert problem.is_serious()
    assert policy in problem.msg
    advised = problem.hint.split()[3].strip(",")
    admin.config_set("maxmemory-policy", advised)
    assert found() == []


@pytest.mark.parametrize(
    "policy", ["noeviction", "volatile-lru", "volatile-lfu", "volatile-ttl", "volatile-random"]
)
def test_every_policy_that_spares_marks_is_quiet(own_redis, admin, policy):
    admin.config_set("maxmemory-policy", policy)
    admin.config_set("maxmemory", "100mb")
    assert found() == []


def test_e024_a_policy_that_nobody_says(own_redis, settings, admin):
    admin.config_set("maxmemory", "100mb")
    with hiding(own_redis, settings, "maxmemory_policy"):
        assert found() == [], "CONFIG GET says it"
        admin.execute_command("ACL", "SETUSER", "default", "-config")
        [problem] = found()
        assert problem.id == "cachelayer.E024"
        assert "+config|get" in problem.msg
        admin.execute_command("ACL", "SETUSER", "default", "+config|get")
        assert found() == []
