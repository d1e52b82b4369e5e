"""``./lab servers``: which servers the tests run on is said, and none that is in use is emptied."""

import os

import pytest
from redis import Redis

from itemsite.lab import cli, given_servers, suite
from itemsite.lab.errors import LabError
from itemsite.lab.ports import free_port


@pytest.fixture
def given():
    return {name: os.environ[name] for name in ("DATABASE_URL", "REDIS_URL")}


@pytest.fixture
def redis(given):
    with Redis.from_url(given["REDIS_URL"]) as client:
        client.flushall()
        yield client
        client.flushall()


@pytest.mark.parametrize("missing", ["DATABASE_URL", "REDIS_URL"])
def test_a_server_that_is_not_named_is_asked_for(given, missing, monkeypatch, capsys):
    monkeypatch.delenv(missing)
    assert cli.main(["servers"]) == 1
    said = capsys.readouterr().err
    assert f"{missing} is missing" in said
    assert "./lab servers" in said


def test_the_versions_are_those_of_the_servers(given, redis):
    number = redis.info("server")["redis_version"]
    said = given_servers.versions(given)
    assert said.startswith("Postgres 1")
    assert said.endswith((f"Redis {number}", f"Valkey {redis.info().get('valkey_version')}"))


@pytest.mark.parametrize("database", [0, 9])
def test_a_redis_that_is_in_use_is_not_emptied(given, redis, database):
    """Not if it is another database that is in use, either: the tests send FLUSHALL."""
    redis.select(database)
    redis.set("somebody", "else's")
    with pytest.raises(LabError, match="hold 1 keys, and the tests would delete them all; name a"):
        given_servers.versions(given)
    assert redis.get("somebody") == b"else's"


@pytest.mark.parametrize(
    ("name", "url"),
    [("DATABASE_URL", "postgres://nobody@127.0.0.1:{}/x"), ("REDIS_URL", "redis://127.0.0.1:{}")],
)
def test_a_server_that_does_not_answer_is_named(given, redis, name, url):
    given[name] = url.format(free_port())
    with pytest.raises(LabError, match=f"of {name} does not answer"):
        given_servers.versions(given)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], ["-m", "not slow", "cachelayer"]),
        (["-k", "gate", "cachelayer"], ["-k", "gate", "cachelayer"]),
    ],
)
def test_the_tests_of_cachelayer_run_on_them(given, redis, monkeypatch, arguments, expected):
    ran = []
    monkeypatch.setattr(suite, "_run", lambda *arguments: ran.append(arguments) or 0)
    assert suite.run_on_given_servers(arguments) == 0
    [(command, _, environment)] = ran
    assert command[-len(expected) :] == expected
    assert environment.items() >= given.items()


def test_a_second_run_on_the_same_servers_is_not_refused_for_what_the_first_has_left(
    given, redis, monkeypatch
):
    monkeypatch.setattr(suite, "_run", lambda *_: redis.set("cachelayer:incarnation", "x") and 0)
    assert [suite.run_on_given_servers([]) for _ in range(2)] == [0, 0]
    assert redis.dbsize() == 0


def test_a_redis_that_is_gone_after_the_tests_is_no_error(given):
    given_servers.empty_redis({**given, "REDIS_URL": f"redis://127.0.0.1:{free_port()}"})
