"""The strict choice: Redis is cut off from one process, and still nobody reads anything stale.

The process that is cut off is this one, with its gate held open; the one that can
reach Redis is another, whose trust is a ``Trust`` of its own.
"""

from contextlib import contextmanager

import pytest
from django.db import connection, transaction
from opentelemetry.sdk.trace import TracerProvider, sampling
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import REGISTRY

import cachelayer
from cachelayer.exceptions import CacheUnavailable
from cachelayer.models import Outage, Repair
from cachelayer.protocol import drain, key_states, partition
from cachelayer.redis.gate import gate
from cachelayer.telemetry import buffered_metrics, opentelemetry
from cachelayer.tests.bookshop.models import Note
from cachelayer.tests.interleaving import start, stopped
from cachelayer.tracking import repair_log

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def strictly(settings, monkeypatch):
    settings.CACHELAYER = {"PARTITION": "strict", "TRUST_LIFETIME": 60.0}
    # No thread asks by itself: the tests say when.
    monkeypatch.setattr(partition.task, "wake", lambda: None)
    monkeypatch.setattr(partition.task, "wake_now", lambda: None)
    waits = []
    monkeypatch.setattr(partition, "_wait", waits.append)
    yield waits
    partition.trust.start_afresh()


@pytest.fixture
def note():
    return Note.objects.create(stars=1)


@pytest.fixture
def cut_off(monkeypatch):
    """Marks and pushes of this process do not get through; its reads do (they are another's)."""

    def away(*args):
        raise CacheUnavailable("cut off")

    @contextmanager
    def cut():
        with monkeypatch.context() as cut:
            for operation in ("mark", "push", "release"):
                cut.setattr(key_states, operation, away)
            yield

    return cut


def outcome(note):
    return cachelayer.read(Note, note.pk).outcome


def test_no_hit_is_served_before_postgres_was_asked(note):
    assert outcome(note) == "bypass"
    partition.trust.ask()
    assert outcome(note) == "hit"
    assert [r.outcome for r in cachelayer.read_many(Note, [note.pk]).values()] == ["hit"]


def test_a_hit_is_a_get_to_prometheus_and_in_a_trace(note, monkeypatch):
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler=sampling.ALWAYS_ON)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("test")
    monkeypatch.setattr(opentelemetry, "_tracer", tracer)
    partition.trust.ask()

    def gets():
        buffered_metrics.flush()
        labels = {"operation": "get"}
        return REGISTRY.get_sample_value("cachelayer_redis_seconds_count", labels) or 0

    before = gets()
    with tracer.start_as_current_span("request"):
        assert outcome(note) == "hit"
    assert gets() == before + 1
    get, request = exporter.get_finished_spans()
    assert (get.name, get.attributes["cache.state"]) == ("cache.get", "row")
    assert request.attributes["cache.outcome"] == "hit"


def test_trust_ends_by_itself(note, settings):
    settings.CACHELAYER = {"PARTITION": "strict", "TRUST_LIFETIME": 0.0}
    partition.trust.ask()
    assert outcome(note) == "bypass"
    assert [r.outcome for r in cachelayer.read_many(Note, [note.pk]).values()] == ["bypass"]


def test_the_first_unmarked_write_declares_and_waits_the_trust_of_the_others_out(
    note, strictly, cut_off
):
    with cut_off():
        note.save()
        assert strictly == [pytest.approx(66.0)]
        note.save()
        assert len(strictly) == 1, "the declaration stands"
    assert Outage.objects.count() == 1
    assert Repair.objects.exists()


def test_the_declaration_is_seen_while_the_writer_waits_and_before_it_commits(
    note, monkeypatch, cut_off
):
    """By then every process has either seen it or lost its trust."""
    with cut_off(), stopped(partition, "_wait") as wait:
        writer = start(Note.objects.filter(pk=note.pk).update, stars=2)
        wait.reached()
        other = partition.Trust()
        other.ask()
        assert not other.held()
        assert Note.objects.get(pk=note.pk).stars == 1
        wait.release()
        writer.result()
    assert Note.objects.get(pk=note.pk).stars == 2


def test_nobody_trusts_while_a_key_waits_for_its_repair(note):
    with transaction.atomic():
        repair_log.log(connection, [f"note:{note.pk}"])
    partition.trust.ask()
    assert outcome(note) == "bypass"
    drain.drain()
    partition.trust.ask()
    assert outcome(note) == "miss"


def test_trust_counts_from_when_the_question_was_asked(note, monkeypatch):
    """The answer may be older than its arrival: a declaration may have come in between."""
    now = [1000.0]
    monkeypatch.setattr(partition.time, "monotonic", lambda: now[0])
    asked = partition._epoch_unless_unmarked

    def slowly(using):
        answer = asked(using)
        now[0] += 61
        return answer

    monkeypatch.setattr(partition, "_epoch_unless_unmarked", slowly)
    partition.trust.ask()
    assert not partition.trust.held()


def test_a_declaration_is_withdrawn_when_the_process_marks_again(note, cut_off, monkeypatch):
    monkeypatch.setattr(gate, "_run", lambda: None)  # This test takes the reconcile's steps.
    with cut_off():
        note.save()
    gate.settle("Redis answers again.")
    drain.drain()
    partition.trust.ask()
    assert not partition.trust.held()
    partition.trust.retire()
    partition.trust.ask()
    assert not partition.trust.held(), "not before the gate has closed"
    partition.trust.lift()
    partition.trust.ask()
    assert partition.trust.held()


def test_a_write_that_cannot_declare_is_not_committed(note, cut_off, monkeypatch):
    monkeypatch.setattr(partition.trust, "declare", lambda connection: 1 / 0)
    note.stars = 2
    with cut_off(), pytest.raises(ZeroDivisionError):
        note.save()
    assert Note.objects.get(pk=note.pk).stars == 1


def test_bounded_asks_nobody(note, settings, django_assert_num_queries):
    settings.CACHELAYER = {"PARTITION": "bounded"}
    with django_assert_num_queries(0):
        assert outcome(note) == "hit"
