"""Documents that functions compute."""

import orjson
import pytest
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.db import transaction

import cachelayer
from cachelayer import exceptions
from cachelayer.operations import inspect_key, live_check, verify
from cachelayer.protocol import documents, drain, key_states
from cachelayer.redis import transport, variants
from cachelayer.representation import computed, registry
from cachelayer.tests.bookshop.documents import calls, careless, stars, titles_of
from cachelayer.tests.bookshop.models import Note, Novel, Review, Topic, Writer
from cachelayer.tests.interleaving import start, stopped
from cachelayer.tests.truth import logged, outside

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("quick")]


@pytest.fixture
def writer():
    calls.clear()
    writer = Writer.objects.create(name="Ann")
    Novel.objects.create(title="Waves", writer=writer)
    return writer


def test_it_is_computed_once_and_is_a_hit_from_then_on(writer, round_trips):
    assert titles_of.read(writer.pk) == cachelayer.Read("miss", b'["Waves"]')
    round_trips.clear()
    assert titles_of.read(writer.pk) == cachelayer.Read("hit", b'["Waves"]')
    assert titles_of(writer.pk) == b'["Waves"]'
    assert len(round_trips) == 2, "one for each"
    assert calls == [writer.pk]
    assert titles_of.__name__ == "titles_of"


def test_its_lifetime_is_its_own(writer):
    titles_of(writer.pk)
    assert 25 <= transport.client().ttl(f"titles_of:[{writer.pk}]") <= 30


def test_a_write_of_rows_with_the_value_is_seen_and_no_other_matters(writer):
    other = Writer.objects.create(name="Bea")
    novel = Novel.objects.create(title="Other", writer=other)
    titles_of(writer.pk), titles_of(other.pk)
    Novel.objects.create(title="Tides", writer=writer)
    assert orjson.loads(titles_of(writer.pk)) == ["Waves", "Tides"]
    assert titles_of.read(other.pk).outcome == "hit"
    novel.writer = writer
    novel.save()
    assert titles_of(other.pk) == b"[]"
    assert len(orjson.loads(titles_of(writer.pk))) == 3


def test_all_rows_of_a_model(writer):
    assert stars() == b"w:0 stars, 0 topics", "bytes that look like a mark are bytes"
    assert stars.read().outcome == "hit"
    Review.objects.create(novel=Novel.objects.get(), stars=4)
    assert stars() == b"w:4 stars, 0 topics"
    Topic.objects.create(slug="sea")
    assert stars() == b"w:4 stars, 1 topics"
    assert stars.read().outcome == "hit"
    Note.objects.create()
    assert stars.read().outcome == "hit"


def test_a_statement_of_very_many_rows(writer):
    titles_of(writer.pk)
    Novel.objects.bulk_create([Novel(title=str(n)) for n in range(1001)])
    Novel.objects.update(title="x")
    assert titles_of(writer.pk) == b'["x"]'


def test_sql_from_elsewhere_is_followed(writer):
    titles_of(writer.pk), stars()
    with outside() as psql:
        psql.execute("UPDATE bookshop_novel SET title = 'SQL'")
        psql.execute("INSERT INTO bookshop_topic (slug, label) VALUES ('sql', '')")
    assert {f"@bookshop_novel.writer_id:{writer.pk}", "@bookshop_topic:*"} <= logged()
    drain.drain()
    assert titles_of(writer.pk) == b'["SQL"]'
    assert stars() == b"w:0 stars, 1 topics"


def test_inside_a_transaction_that_has_written_it_is_computed_for_this_one_only(writer):
    titles_of(writer.pk)
    with transaction.atomic():
        Novel.objects.update(title="Mine")
        assert titles_of.read(writer.pk) == cachelayer.Read("bypass", b'["Mine"]')
        transaction.set_rollback(True)
    assert titles_of.read(writer.pk) == cachelayer.Read("hit", b'["Waves"]')


def test_a_write_while_it_is_computed(writer):
    """1. A reader computes. 2. A writer commits. 3. The reader fills: valid for nobody."""
    with stopped(key_states, "fill") as fill:
        reader = start(lambda: titles_of(writer.pk))
        fill.reached()
        Novel.objects.update(title="Tides")
        fill.release()
        assert reader.result() == b'["Waves"]'
    assert titles_of(writer.pk) == b'["Tides"]'


def test_a_write_that_has_not_committed_yet(writer):
    titles_of(writer.pk)
    with stopped(key_states, "mark", after=True) as mark:
        writing = start(lambda: Novel.objects.update(title="Tides"))
        mark.reached()
        assert titles_of.read(writer.pk) == cachelayer.Read("bypass", b'["Waves"]')
        mark.release()
        writing.result()
    assert titles_of(writer.pk) == b'["Tides"]'


def test_values_are_in_one_form(writer):
    """As text with a zero before it, the stamp would be one that no trigger names."""
    assert titles_of(f"0{writer.pk}") == b'["Waves"]'
    Novel.objects.update(title="Tides")
    assert titles_of(f"0{writer.pk}") == b'["Tides"]'


@pytest.mark.parametrize("values", [(), (1, 2), (1.5,), (b"1",), (None,), ([1],), (2**63,)])
def test_values_that_are_none(values):
    with pytest.raises(ValidationError):
        titles_of(*values)


def test_undeclared_tables_are_an_error_in_tests(writer):
    with pytest.raises(exceptions.UndeclaredRead, match="reads bookshop_review"):
        careless(writer.pk)


def test_a_query_to_another_database_is_undeclared(writer, monkeypatch):
    """A replica has the same tables, and may be behind."""
    monkeypatch.setattr(computed.Computed, "database", "primary")
    with pytest.raises(exceptions.UndeclaredRead, match="reads bookshop_novel"):
        titles_of.cached.compute((writer.pk,), fresh=True)


def test_undeclared_tables_in_production_are_said_and_nothing_is_cached(
    writer, settings, caplog, monkeypatch
):
    settings.CACHELAYER = {"RECORDER": "off"}
    monkeypatch.setattr(documents, "_complained", set())
    for _ in range(2):
        assert careless.read(writer.pk) == cachelayer.Read("bypass", b"0")
    [said] = [record for record in caplog.records if record.name == "cachelayer.documents"]
    assert "'careless' reads bookshop_review, which its depends_on does not" in said.message
    Review.objects.create(novel=Novel.objects.get())
    assert careless(writer.pk) == b"1"


def test_a_function_that_fails_keeps_nobody_waiting(writer, monkeypatch, settings):
    settings.CACHELAYER = {"LEASE_WAIT": 5}
    monkeypatch.setattr(Novel.objects, "filter", lambda **kwargs: 1 / 0)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            titles_of(writer.pk)
    assert not transport.client().exists(f"titles_of:[{writer.pk}]")
    monkeypatch.undo()
    assert titles_of.read(writer.pk).outcome == "miss"


def test_it_is_verified_looked_up_and_live_checked(writer, settings, monkeypatch, caplog):
    titles_of(writer.pk), stars()
    *_, report = verify.verify()
    assert (report.differing, report.compared >= 2) == (0, True)
    key = f"titles_of:[{writer.pk}]"
    look = inspect_key.inspect_text(key)
    assert (look.state, look.verdict) == ("value", "same")
    stored = transport.client().get(key)
    transport.client().set(key, stored.replace(b"Waves", b"Wrong"))
    *_, report = verify.verify()
    assert [found.key for found in report.differences] == [key]
    settings.CACHELAYER = {"CHECK_SHARE": 1.0}
    monkeypatch.setattr(live_check, "_rested", 0.0)
    titles_of(writer.pk)
    live_check.check_waiting()
    assert f"Stale read: {key} gave" in caplog.text


@pytest.mark.parametrize("key", ["titles_of:7", "titles_of:[7", "titles_of:[ 7]", "titles_of:[]"])
def test_what_is_no_key_of_it(key):
    with pytest.raises(ValueError, match="titles_of"):
        inspect_key.inspect_text(key)


def test_another_release_has_documents_of_its_own(writer):
    titles_of(writer.pk)
    mine = variants._own
    variants._own = {**(mine or {}), "titles_of": "b" * 12}
    try:
        assert [titles_of.read(writer.pk).outcome for _ in range(2)] == ["miss", "hit"]
        Novel.objects.update(title="Tides")
        assert titles_of(writer.pk) == b'["Tides"]'
    finally:
        variants._own = mine
    assert titles_of(writer.pk) == b'["Tides"]'


def make(*depends_on, args=("writer",), function=lambda writer: b"", **options):
    return computed.make("name", args, depends_on, function, options.get("lifetime"))


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (lambda: make(), "depends on nothing"),
        (lambda: make(cachelayer.Rows(Novel, writer="nobody")), "not one of its arguments"),
        (lambda: make(Novel, args=()), "does not take the arguments"),
        (lambda: make(Novel, args="writer"), r"a list of names: \['writer'\]"),
        (lambda: make(Novel, lifetime=0), "Set it to seconds"),
        (lambda: cachelayer.Rows(Novel, writer="a", title="b"), "takes one column"),
    ],
)
def test_a_document_that_cannot_be(wrong, why):
    with pytest.raises(ImproperlyConfigured, match=why):
        wrong()


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        (cachelayer.Rows(Novel, nothing="writer"), "no field 'nothing'"),
        (cachelayer.Rows(Novel, topics="writer"), "is not a column"),
        (cachelayer.Rows(Note, price="writer"), "Postgres writes differently"),
        (cachelayer.Rows("bookshop.Nothing"), "Nothing"),
    ],
)
def test_what_a_document_cannot_follow_is_an_error_of_the_check(rows, why, monkeypatch):
    from cachelayer.checks import documents as document_checks

    monkeypatch.setitem(registry._computed, "name", make(rows))
    [problem] = document_checks.check_documents()
    assert problem.id == "cachelayer.E017"
    assert why in problem.msg


def test_too_late_to_be_followed():
    with pytest.raises(ImproperlyConfigured, match=r"Import its module in AppConfig.ready\(\)"):
        cachelayer.document("late", depends_on=[Note])(lambda: b"")
