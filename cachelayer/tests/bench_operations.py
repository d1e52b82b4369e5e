"""What one operation of the cache layer costs, each beside what it can be compared with.

    ./lab test cachelayer/tests/bench_operations.py
    ./lab test */tests/bench_*.py               these, whole requests, and Django's layers

What is compared stands in one table; the numbers in brackets are ratios to its fastest. All
against a real Postgres and a real Redis on this machine; that Postgres keeps nothing (no
fsync), so a COMMIT is cheaper than on a server. The suite tries that these files work, and
measures nothing: they are run only when they are named.
"""

from decimal import Decimal

import pytest
from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone
from prometheus_client import REGISTRY
from redis import Redis

import cachelayer
from cachelayer.protocol import key_states, key_values
from cachelayer.redis import transport
from cachelayer.representation import plans, registry, rendering
from cachelayer.representation.loading import read_rows
from cachelayer.telemetry import counters, prometheus
from cachelayer.tests.bookshop.models import Author, Note, Novel, Review, Tag, Topic, Writer
from cachelayer.tests.bookshop.serializers import NoteSerializer

pytestmark = pytest.mark.django_db(transaction=True)

#: Rounds of what cannot be done twice in a row: each is prepared.
ROUNDS = 500

ONE = pytest.mark.benchmark(group="1. one row that Redis has")
MANY = pytest.mark.benchmark(group="2. fifty rows that Redis has")
MISS = pytest.mark.benchmark(group="3. one row that Redis does not have")
WRITE = pytest.mark.benchmark(group="4. one row is written")
RENDER = pytest.mark.benchmark(group="5. one row becomes bytes")
NOTE = pytest.mark.benchmark(group="6. what each answer needs besides")
DOCUMENT = pytest.mark.benchmark(group="7. a row, and a document that shows five more")
WRITE_SHOWN = pytest.mark.benchmark(group="8. a row is written that no document shows, or one does")


def make_note(number=0):
    return Note(
        text=f"Note {number}: " + "a sentence of some length. " * 5,
        stars=number,
        price=Decimal("42.99"),
        weight=0.5,
        printed=timezone.now(),
    )


def key(note):
    return registry.get(Note).key(note.pk)


@pytest.fixture
def note():
    """A row that Redis has: a write puts it there."""
    note = make_note()
    note.save()
    assert key_values.name(transport.client().get(key(note))) == "row"
    return note


@pytest.fixture
def notes():
    return [Note.objects.create(text=make_note(n).text, stars=n) for n in range(50)]


@pytest.fixture
def redis():
    """A client as redis-py makes it, which knows nothing of the cache layer."""
    with Redis.from_url(settings.CACHES["default"]["LOCATION"]) as client:
        yield client


@pytest.fixture
def without(benchmark, note):
    """Measure a call for which Redis never has the row of *note*."""

    def measure(call):
        def forget():
            transport.client().delete(key(note))

        return benchmark.pedantic(call, setup=forget, rounds=ROUNDS, warmup_rounds=5)

    return measure


@ONE
def test_get_by_redis_py(benchmark, redis, note):
    assert key_values.is_known(benchmark(redis.get, key(note)))


@ONE
def test_get_by_link(benchmark, note):
    [value] = benchmark(transport.get, [key(note)])
    assert key_values.is_known(value)


@ONE
def test_read_hit(benchmark, note):
    assert benchmark(cachelayer.read, Note, note.pk).outcome == "hit"


@MANY
def test_mget_by_redis_py(benchmark, redis, notes):
    values = benchmark(redis.mget, [key(note) for note in notes])
    assert len(values) == 50
    assert all(map(key_values.is_known, values))


@MANY
def test_get_of_50_by_link(benchmark, notes):
    values = benchmark(transport.get, [key(note) for note in notes])
    assert len(values) == 50
    assert all(map(key_values.is_known, values))


@MANY
def test_rows_of_50(benchmark, notes):
    pks = [note.pk for note in notes]
    assert benchmark(cachelayer.rows, Note, pks) == [cachelayer.render(note) for note in notes]


@MISS
def test_select_and_render(without, note):
    cached = registry.get(Note)
    assert without(lambda: read_rows("default", cached, [note.pk]))[note.pk][:1] == key_values.ROW
    assert transport.client().get(key(note)) is None


@MISS
def test_lease_and_fill(without, note):
    row = cachelayer.render(note)

    def lease_and_fill():
        token = key_values.new_lease()
        return key_states.lease({key(note): None}, token), key_states.fill({key(note): row}, token)

    assert without(lease_and_fill) == ([True], [True])


@MISS
def test_read_miss(without, note):
    assert without(lambda: cachelayer.read(Note, note.pk)).outcome == "miss"
    assert transport.client().get(key(note)) == cachelayer.render(note)


@WRITE
def test_save_of_a_row_that_is_not_cached(benchmark):
    author = Author.objects.create(name="Somebody")
    assert registry.find(Author) is None

    def save():
        with transaction.atomic():
            author.save()

    benchmark(save)


@WRITE
def test_update_by_sql(benchmark, note):
    """The statements of the save below, without the ORM and the cache layer."""
    fields = [field for field in Note._meta.concrete_fields if not field.primary_key]
    columns = ", ".join(f"{field.column} = %s" for field in fields)
    values = [getattr(note, field.attname) for field in fields]
    sql = f"UPDATE {Note._meta.db_table} SET {columns} WHERE id = %s"

    def update():
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(sql, [*values, note.pk])
            return cursor.rowcount

    assert benchmark(update) == 1


@WRITE
def test_mark_and_push(benchmark, note):
    row = cachelayer.render(note)

    def mark_and_push():
        token = key_values.new_mark(1)
        key_states.mark([key(note)], token)
        return key_states.push({key(note): row}, token)

    assert benchmark(mark_and_push) == ["pushed"]


@WRITE
def test_save_of_a_cached_row(benchmark, note):
    def save():
        with transaction.atomic():
            note.save()

    before = REGISTRY.get_sample_value(
        "cachelayer_pushes_total", {"result": "pushed", "kind": "row"}
    )
    benchmark(save)
    assert (
        REGISTRY.get_sample_value("cachelayer_pushes_total", {"result": "pushed", "kind": "row"})
        > before
    )
    assert transport.client().get(key(note)) == cachelayer.render(note)


@RENDER
def test_render_by_a_serializer_made_for_it(benchmark, note):
    found = benchmark(
        lambda: rendering.dump(NoteSerializer().to_representation(note), NoteSerializer)
    )
    assert found == cachelayer.render(note)


@RENDER
def test_render_by_a_serializer(benchmark, note):
    serializer = NoteSerializer()
    found = benchmark(lambda: rendering.dump(serializer.to_representation(note), NoteSerializer))
    assert found == cachelayer.render(note)


@RENDER
def test_render_an_instance_by_the_plan(benchmark, note):
    assert plans.plan_of(NoteSerializer, Note) is not None
    found = benchmark(cachelayer.render, note)
    assert found == rendering.dump(NoteSerializer().to_representation(note), NoteSerializer)


@RENDER
def test_render_columns_by_the_plan(benchmark, note):
    plan = plans.plan_of(NoteSerializer, Note)
    values = [getattr(note, column) for column in plan.columns]
    found = benchmark(lambda: rendering.dump(plan.data(values), NoteSerializer))
    assert found == cachelayer.render(note)


def count_of_hits():
    return REGISTRY.get_sample_value("cachelayer_read_seconds_count", {"outcome": "hit"})


@NOTE
def test_etag(benchmark, note):
    tag = benchmark(cachelayer.etag, cachelayer.render(note))
    assert tag != cachelayer.etag(cachelayer.render(make_note()))


@NOTE
def test_observe_a_read(benchmark):
    seen = count_of_hits()
    benchmark(prometheus.read_seconds["hit"].observe, 0.0001)
    assert count_of_hits() > seen


@NOTE
def test_count_a_hit(benchmark):
    benchmark(counters.add, "hit")
    assert counters.totals()["hit"] >= 1


@pytest.fixture
def novel():
    """A document of its own row, its writer's two, a topic's, and two reviews."""
    writer = Writer.objects.create(name="Ann")
    made = Novel.objects.create(title="Waves", writer=writer)
    made.topics.add(Topic.objects.create(slug="sea", label="The sea"))
    Review.objects.bulk_create(Review(novel=made, stars=n) for n in range(2))
    cachelayer.read(Novel, made.pk)
    return made


@DOCUMENT
def test_read_hit_of_a_row(benchmark, note):
    assert benchmark(cachelayer.read, Note, note.pk).outcome == "hit"


@DOCUMENT
def test_read_hit_of_a_document(benchmark, novel):
    assert benchmark(cachelayer.read, Novel, novel.pk).outcome == "hit"


@DOCUMENT
def test_load_of_a_document(benchmark, novel):
    cached = registry.get(Novel)
    assert benchmark(read_rows, "default", cached, [novel.pk])[novel.pk][:1] == key_values.ROW


@WRITE_SHOWN
def test_update_of_a_row_that_is_not_shown(benchmark, novel):
    tag = Tag.objects.create(name="x")
    assert benchmark(Tag.objects.filter(pk=tag.pk).update, name="y") == 1


@WRITE_SHOWN
def test_update_of_a_cached_row(benchmark, note):
    assert benchmark(Note.objects.filter(pk=note.pk).update, stars=3) == 1


@WRITE_SHOWN
def test_update_of_a_row_that_documents_show(benchmark, novel):
    assert benchmark(Review.objects.filter(pk=novel.reviews.first().pk).update, stars=3) == 1
