"""A model's other registrations: more serializers, other unique columns, lifetimes."""

import orjson
import pytest
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.core.management import call_command
from django.db import IntegrityError, transaction

import cachelayer
from cachelayer.operations import inspect_key, verify
from cachelayer.protocol import drain, key_states, key_values
from cachelayer.redis import transport
from cachelayer.representation import registration, registry
from cachelayer.tests.bookshop.models import Audiobook, Note, Novel, Person, Topic, Writer
from cachelayer.tests.bookshop.serializers import NoteSerializer, NovelCardSerializer
from cachelayer.tests.interleaving import start, stopped
from cachelayer.tests.truth import logged, outside

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("quick")]

CARD = "novel.novelcardserializer"


@pytest.fixture
def novel():
    writer = Writer.objects.create(name="Ann")
    return Novel.objects.create(title="Waves", isbn="111", writer=writer)


def card(novel):
    return cachelayer.read(Novel, novel.pk, serializer=NovelCardSerializer)


def by_isbn(isbn, **options):
    """What a reader is told, twice, and where it came from."""
    reads = [cachelayer.read_by(Novel, isbn=isbn, **options) for _ in range(2)]
    assert reads[0].row == reads[1].row
    row = reads[1].row
    return row and orjson.loads(row), [read.outcome for read in reads]


def test_each_serializer_has_rows_of_its_own(novel):
    assert orjson.loads(card(novel).row) == {"id": novel.pk, "title": "Waves", "isbn": "111"}
    assert orjson.loads(cachelayer.read(Novel, novel.pk).row)["writer"]["name"] == "Ann"
    assert transport.client().exists(f"{CARD}:{novel.pk}", f"novel:{novel.pk}") == 2
    assert cachelayer.render(novel, NovelCardSerializer) == card(novel).row


def test_a_write_reaches_all_of_them(novel):
    card(novel)
    novel.title = "Tides"
    novel.save()
    read = card(novel)
    assert (orjson.loads(read.row)["title"], read.outcome) == ("Tides", "hit"), "it was pushed"
    assert orjson.loads(cachelayer.read(Novel, novel.pk).row)["title"] == "Tides"


def test_several_rows_and_a_list_of_them_by_another_serializer(novel):
    other = Novel.objects.create(title="Tides")
    keys = [novel.pk, other.pk]
    rows = cachelayer.rows(Novel, keys, serializer=NovelCardSerializer)
    assert [orjson.loads(row)["title"] for row in rows] == ["Waves", "Tides"]
    reads = cachelayer.read_many(Novel, keys, serializer=NovelCardSerializer)
    assert [read.row for read in reads.values()] == rows


def test_a_lifetime_of_its_own(novel):
    card(novel)
    cachelayer.read(Novel, novel.pk)
    assert 50 <= transport.client().ttl(f"{CARD}:{novel.pk}") <= 60
    assert transport.client().ttl(f"novel:{novel.pk}") > 60
    # A push as well as a fill.
    Novel.objects.update(title="Tides")
    assert 50 <= transport.client().ttl(f"{CARD}:{novel.pk}") <= 60


def test_a_stamp_stays_as_long_as_a_document_that_lives_longer(novel, monkeypatch):
    mine = registry.get(Novel)
    from dataclasses import replace

    monkeypatch.setitem(registry._registered, Novel, replace(mine, lifetime=5000.0))
    cachelayer.read(Novel, novel.pk)
    assert transport.client().ttl(f"novel:{novel.pk}") > 4000
    assert transport.client().ttl(f"@bookshop_person.id:{novel.writer_id}") > 4000


def test_a_row_is_read_by_another_unique_column(novel):
    shown, outcomes = by_isbn("111")
    assert shown == orjson.loads(cachelayer.read(Novel, novel.pk).row)
    assert outcomes == ["miss", "hit"]
    assert by_isbn("111", serializer=NovelCardSerializer)[0]["title"] == "Waves"
    assert by_isbn("none") == (None, ["miss", "hit"]), "that there is none is known as well"


def by_sql(statement):
    with outside() as psql:
        psql.execute(statement)


WRITES = {
    "its other columns": lambda novel: Novel.objects.update(title="Tides"),
    "the column": lambda novel: Novel.objects.update(isbn="222"),
    "to nothing": lambda novel: Novel.objects.update(isbn=None),
    "its row goes": lambda novel: novel.delete(),
    "another row gets it": lambda novel: (
        Novel.objects.filter(pk=novel.pk).update(isbn=None),
        Novel.objects.create(title="New", isbn="111"),
    ),
    "a row gets what there was not": lambda novel: Novel.objects.create(title="New", isbn="222"),
    "a row that it shows": lambda novel: Person.objects.update(name="Bea"),
    "a link": lambda novel: novel.topics.add(Topic.objects.create(slug="sea", label="Sea")),
    "by SQL": lambda novel: by_sql("UPDATE bookshop_novel SET isbn = '222', title = 'SQL'"),
    "said by hand": lambda novel: cachelayer.invalidate(Novel, novel.pk),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_row_by_another_column_follows_every_write(novel, write):
    for isbn in ("111", "222"):
        for serializer in (None, NovelCardSerializer):
            by_isbn(isbn, serializer=serializer)
    write(novel)
    if logged():
        drain.drain()
    for isbn in ("111", "222"):
        there = Novel.objects.filter(isbn=isbn).first()
        for serializer in (None, NovelCardSerializer):
            shown, _ = by_isbn(isbn, serializer=serializer)
            wanted = there and orjson.loads(cachelayer.render(there, serializer))
            assert shown == wanted


def test_a_row_by_another_column_is_not_pushed(novel):
    """Two rows may have had one value, one after the other: no lock of a row covers its key."""
    by_isbn("111", serializer=NovelCardSerializer)
    Novel.objects.update(title="Tides")
    assert not transport.client().exists(f"{CARD}.isbn:111")
    assert transport.client().exists(f"{CARD}:{novel.pk}")


def test_two_rows_that_swap_a_value_in_one_transaction(novel):
    other = Novel.objects.create(title="Other", isbn="222")
    by_isbn("111"), by_isbn("222")
    with transaction.atomic():
        Novel.objects.filter(pk=novel.pk).update(isbn="333")
        Novel.objects.filter(pk=other.pk).update(isbn="111")
        Novel.objects.filter(pk=novel.pk).update(isbn="222")
    assert by_isbn("111")[0]["title"] == "Other"
    assert by_isbn("222")[0]["title"] == "Waves"


def test_a_write_that_postgres_turns_down_changes_nothing(novel):
    Novel.objects.create(title="Other", isbn="222")
    by_isbn("111")
    with pytest.raises(IntegrityError):
        Novel.objects.filter(pk=novel.pk).update(isbn="222")
    assert by_isbn("111") == (by_isbn("111")[0], ["hit", "hit"])


def test_a_reader_by_column_that_loads_while_the_row_is_written_fills_nothing(novel):
    """1. A reader loads the row by its column. 2. The row gets another value of it, and commits.
    3. The reader fills. Later readers of the old value would find a row that has it no more."""
    with stopped(key_states, "fill") as fill:
        reader = start(lambda: cachelayer.read_by(Novel, isbn="111"))
        fill.reached()
        Novel.objects.update(isbn="222")
        fill.release()
        reader.result()
    assert by_isbn("111")[0] is None


def test_one_round_trip_for_a_hit_by_column(novel, round_trips):
    by_isbn("111")
    round_trips.clear()
    assert cachelayer.read_by(Novel, isbn="111").outcome == "hit"
    assert len(round_trips) == 1


def test_all_are_verified_warmed_and_looked_up(novel, capsys):
    Novel.objects.create(title="Without")
    call_command("cache_warm")
    said = capsys.readouterr().out
    assert "novel.isbn: 1 rows, 1 filled." in said
    assert f"{CARD}: 2 rows" in said
    *_, report = verify.verify()
    assert report.differing == 0
    assert report.compared >= 5
    transport.client().set(f"{CARD}:{novel.pk}", b'{"id":0}')
    *_, report = verify.verify()
    assert [found.key for found in report.differences] == [f"{CARD}:{novel.pk}"]
    assert inspect_key.inspect_text("novel.isbn:111").verdict == "same"
    assert inspect_key.inspect_text("novel.isbn:999").row == key_values.NULL


def test_what_is_registered_twice_or_too_much():
    with pytest.raises(ImproperlyConfigured, match="Register each serializer of a model once"):
        cachelayer.register(Novel, NovelCardSerializer, prefix="another")
    with pytest.raises(ImproperlyConfigured, match="lifetime of -1"):
        cachelayer.register(Note, NovelCardSerializer, lifetime=-1)
    assert registry.find(Note, NovelCardSerializer) is None


@pytest.mark.parametrize(
    ("model", "name", "why"),
    [
        (Note, "nothing", "has no field 'nothing'"),
        (Note, "text", "is not unique"),
        (Note, "price", "is not unique"),
        (Audiobook, "isbn", "rows in several tables"),
        (Novel, "topics", "is not unique"),
    ],
)
def test_a_column_by_which_no_row_can_be_read(model, name, why):
    with pytest.raises(ImproperlyConfigured, match=why):
        registration.by_column(registry.get(model), name)


def test_a_column_that_is_not_registered(novel):
    with pytest.raises(ImproperlyConfigured, match=r"Add read_by=\['stars'\]"):
        cachelayer.read_by(Note, stars=3)
    with pytest.raises(ImproperlyConfigured, match="is not cached as NoteSerializer shows it"):
        cachelayer.read(Novel, 1, serializer=NoteSerializer)
    Novel.objects.create(title="Without")
    with pytest.raises(ValidationError, match="by None"):
        cachelayer.read_by(Novel, isbn=None)
    with pytest.raises(TypeError, match="one column"):
        cachelayer.read_by(Novel, isbn="1", title="2")
