"""Whether Redis may evict marks: every policy, also where INFO does not name it."""

from contextlib import contextmanager

import pytest
import redis

import cachelayer
from cachelayer.protocol import key_states, key_values, watchdog
from cachelayer.redis import eviction, server_info, transport
from cachelayer.redis.gate import Mode, gate
from cachelayer.tests.bookshop.models import Note
from cachelayer.tests.hiding import Hiding
from cachelayer.tests.outages import closed
from cachelayer.tests.polling import until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("quick")]

SPARING = ["volatile-lru", "volatile-lfu", "volatile-ttl", "volatile-random", "noeviction"]
TAKING = ["allkeys-lru", "allkeys-lfu", "allkeys-random"]


@pytest.fixture
def admin(own_redis):
    with redis.Redis(port=own_redis.port, decode_responses=True) as connection:
        yield connection
        connection.execute_command("ACL", "SETUSER", "default", "+@all")
        connection.config_set("maxmemory", 0)


@pytest.fixture
def note(own_redis):
    return Note.objects.create(stars=1)


@contextmanager
def hiding(own_redis, settings, *fields):
    """The cache layer comes to Redis by a way on which INFO lacks *fields*."""
    cache = settings.CACHES["default"]
    with Hiding(own_redis.port, *fields) as hidden:
        location = f"redis://127.0.0.1:{hidden.port}/0"
        settings.CACHES = {"default": {**cache, "LOCATION": location}}
        transport.forget_connections()
        yield hidden
        settings.CACHES = {"default": cache}
        transport.forget_connections()


def limit(admin, policy):
    admin.config_set("maxmemory-policy", policy)
    admin.config_set("maxmemory", "100mb")


def read(note):
    return cachelayer.read(Note, note.pk).outcome


@pytest.mark.parametrize("policy", SPARING[:-1])
def test_what_a_full_redis_evicts_is_never_a_mark(admin, note, policy):
    admin.config_set("maxmemory-policy", policy)
    marks = [f"note:marked-{number}" for number in range(50)]
    key_states.mark(marks, b"w:token")
    admin.config_set("maxmemory", admin.info("memory")["used_memory"] + 300_000)
    for number in range(400):
        admin.set(f"note:{number}", "{" + "x" * 4000, px=300_000)
    assert admin.info("stats")["evicted_keys"] > 0
    assert all(key_values.is_mark(value) for value in transport.client().mget(marks))


@pytest.mark.parametrize("policy", SPARING)
def test_a_policy_that_spares_marks_is_used(admin, note, policy):
    limit(admin, policy)
    transport.forget_connections()
    assert read(note) == "hit"
    watchdog.check()
    assert closed()


@pytest.mark.parametrize("policy", TAKING)
def test_a_policy_that_takes_marks_is_not(admin, note, policy):
    limit(admin, policy)
    transport.forget_connections()
    assert read(note) == "bypass"
    until(lambda: policy in gate.state.reason)
    assert all(name in gate.state.reason for name in SPARING)
    admin.config_set("maxmemory-policy", "volatile-ttl")
    until(closed)


@pytest.mark.parametrize(
    "fields", [["maxmemory_policy"], ["maxmemory"], ["maxmemory", "maxmemory_policy"]]
)
@pytest.mark.parametrize("policy", ["volatile-lfu", "allkeys-lru"])
def test_what_info_hides_is_asked_for(own_redis, settings, admin, note, fields, policy):
    limit(admin, policy)
    with hiding(own_redis, settings, *fields):
        if policy in SPARING:
            assert read(note) == "hit"
            watchdog.check()
            assert closed()
            assert server_info.ask().policy == policy
        else:
            assert read(note) == "bypass"
            until(lambda: policy in gate.state.reason)
            admin.config_set("maxmemory", 0)
            until(closed)
            admin.config_set("maxmemory", "100mb")
            watchdog.check()
            assert gate.mode is Mode.SETTLING
            assert policy in gate.state.reason


def test_what_nobody_says_is_not_trusted(own_redis, settings, admin, note):
    """Whatever it is: it may be changed, and nobody would see it."""
    limit(admin, "noeviction")
    admin.execute_command("ACL", "SETUSER", "default", "-config")
    with hiding(own_redis, settings, "maxmemory_policy"):
        assert read(note) == "bypass"
        until(lambda: "does not say" in gate.state.reason)
        assert "+config|get" in gate.state.reason
        assert not server_info.ask().incarnation.is_trusted
        admin.execute_command("ACL", "SETUSER", "default", "+config|get")
        until(closed)
        assert read(note) in ("hit", "miss")
        admin.execute_command("ACL", "SETUSER", "default", "-config")
        watchdog.check()
        assert gate.mode is not Mode.CLOSED
        admin.execute_command("ACL", "SETUSER", "default", "+config")
        until(closed)


def test_no_limit_needs_no_policy(own_redis, settings, admin, note):
    admin.execute_command("ACL", "SETUSER", "default", "-config")
    with hiding(own_redis, settings, "maxmemory_policy"):
        assert read(note) == "hit"
        assert closed()


def test_a_policy_that_spares_marks_needs_no_limit(own_redis, settings, admin, note):
    limit(admin, "volatile-random")
    admin.execute_command("ACL", "SETUSER", "default", "-config")
    with hiding(own_redis, settings, "maxmemory"):
        assert read(note) == "hit"
        assert closed()


@pytest.mark.parametrize(
    ("info", "answers", "safe"),
    [
        (b"maxmemory:0\r\n", [], True),
        (b"maxmemory:5\r\nmaxmemory_policy:volatile-new\r\n", [], True),
        (b"maxmemory:5\r\nmaxmemory_policy:everykey\r\n", [], False),
        (b"maxmemory:\r\nmaxmemory_policy:\r\n", [[], []], False),
        (b"", [[b"maxmemory", b"0"], []], True),
        (b"", [{}, {b"maxmemory-policy": b"noeviction"}], True),
        (b"", [{"maxmemory": "9"}, {"maxmemory-policy": "allkeys-lru"}], False),
        (b"", [5, None], False),
    ],
)
def test_answers_of_other_servers(info, answers, safe):
    assert eviction.memory(info, lambda *questions: answers).is_safe is safe
