"""How long a write took, of which parts."""

import time

import pytest
from django.db import connection, transaction
from prometheus_client import REGISTRY

from cachelayer.protocol import key_states, write_timer
from cachelayer.tests.bookshop.models import Note

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def spent():
    """What the parts have grown by since the test began: how many, how long."""
    connection.ensure_connection()
    write_timer.install(connection)
    before = now()

    def grown():
        return {
            part: tuple(b - a for a, b in zip(before[part], now()[part], strict=True))
            for part in before
        }

    return grown


def now():
    return {
        part: tuple(
            REGISTRY.get_sample_value(f"cachelayer_write_seconds_{what}", {"part": part})
            for what in ("count", "sum")
        )
        for part in ("total", "postgres", "redis")
    }


def slow(monkeypatch, module, name, seconds):
    real = getattr(module, name)

    def late(*args, **kwargs):
        time.sleep(seconds)
        return real(*args, **kwargs)

    monkeypatch.setattr(module, name, late)


def test_one_observation_of_each_part_for_each_transaction_that_wrote_cached_rows(spent):
    with transaction.atomic():
        Note.objects.create()
        Note.objects.create()
    Note.objects.create()
    assert {part: count for part, (count, _) in spent().items()} == {
        "total": 2,
        "postgres": 2,
        "redis": 2,
    }


def test_nothing_is_observed_of_what_writes_no_cached_row_or_is_rolled_back(spent):
    with transaction.atomic():
        Note.objects.count()
    with transaction.atomic():
        Note.objects.create()
        transaction.set_rollback(True)
    assert spent()["total"] == (0, 0)


def test_time_in_postgres_is_that_of_the_statements_and_the_commit(spent):
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(0.2)")
        Note.objects.create()
    assert spent()["postgres"][1] >= 0.2
    assert spent()["postgres"][1] + spent()["redis"][1] <= spent()["total"][1]


def test_time_in_redis_is_that_of_marks_and_pushes(spent, monkeypatch):
    slow(monkeypatch, key_states, "mark", 0.1)
    slow(monkeypatch, key_states, "push", 0.1)
    Note.objects.create()
    assert spent()["redis"][1] >= 0.2
    assert spent()["total"][1] >= 0.2


def test_the_programs_own_time_is_in_the_total_only(spent):
    with transaction.atomic():
        Note.objects.create()
        time.sleep(0.3)
    total, postgres, redis = (spent()[part][1] for part in ("total", "postgres", "redis"))
    assert total - postgres - redis >= 0.3


def test_what_came_before_the_transaction_does_not_count(spent):
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(0.5)")
    start = time.perf_counter()
    Note.objects.create()
    assert spent()["total"][1] <= time.perf_counter() - start


def test_a_connection_that_is_made_anew_has_one_clock():
    connection.close()
    connection.ensure_connection()
    clocks = [w for w in connection.execute_wrappers if isinstance(w, write_timer.Clock)]
    assert len(clocks) == 1
