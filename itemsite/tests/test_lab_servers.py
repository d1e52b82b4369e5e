"""The embedded servers by themselves, as other tests use them, too."""

import json
import select
import socket
import subprocess
import sys

import psycopg
import pytest
import redis as redis_client

from itemsite.lab.errors import LabError
from itemsite.lab.ports import free_port, is_free
from itemsite.lab.postgres import Postgres
from itemsite.lab.process import RECORD, Record, wait_until
from itemsite.lab.redis_server import Redis


@pytest.fixture
def postgres(tmp_path):
    server = Postgres(tmp_path / "post gres", free_port(), durable=False)
    yield server
    server.stop()


@pytest.fixture
def redis(tmp_path):
    server = Redis(tmp_path / "re dis", free_port())
    yield server
    server.stop()


def client(server):
    return redis_client.Redis(port=server.port, socket_timeout=0.2, retry=None)


def test_a_killed_postgres_keeps_what_was_committed_and_starts_again(postgres):
    postgres.start()
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("CREATE TABLE t AS SELECT 1 AS n")
        connection.execute("CHECKPOINT")
    postgres.kill()
    assert not postgres.running
    postgres.start()
    with psycopg.connect(postgres.url) as connection:
        assert connection.execute("SELECT n FROM t").fetchall() == [(1,)]


def test_a_paused_postgres_does_not_answer_until_it_is_resumed(postgres):
    postgres.start()
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        postgres.pause()
        connection.pgconn.send_query(b"SELECT 1")
        assert not select.select([connection], [], [], 0.3)[0]
        postgres.resume()
        assert select.select([connection], [], [], 10)[0]
        assert connection.pgconn.get_result().get_value(0, 0) == b"1"
        assert connection.pgconn.get_result() is None


def test_postgres_wants_its_password(postgres):
    postgres.start()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(postgres.url.replace(postgres.password, "guess"))


def test_a_paused_redis_times_out_and_can_be_stopped(redis):
    redis.start()
    redis.pause()
    with pytest.raises(redis_client.TimeoutError):
        client(redis).ping()
    redis.resume()
    assert wait_until(redis._answers, 30)
    redis.pause()
    redis.stop()
    assert wait_until(lambda: is_free(redis.port), 5)


def test_a_server_that_cannot_start_says_why_and_where_to_look(tmp_path, postgres):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = Redis(tmp_path / "taken", other.getsockname()[1])
        with pytest.raises(LabError, match=r"Redis did not start: .*redis\.log has the rest"):
            taken.start()
    assert not taken.running


def test_a_pid_that_belongs_to_somebody_else_now_is_left_alone(tmp_path, redis):
    bystander = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    redis.directory.mkdir()
    record = Record.of(bystander.pid)
    stale = {"pid": record.pid, "identity": "earlier", "stop_signal": 15, "order": 1}
    (redis.directory / RECORD).write_text(json.dumps(stale))
    assert not redis.running
    redis.stop()
    redis.kill()
    assert bystander.poll() is None
    bystander.communicate()


def test_ports_are_out_of_the_range_of_outgoing_connections():
    assert 20000 <= free_port() < 30000
