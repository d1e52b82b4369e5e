"""Documents: bytes made of several rows, never older than a write to any of them."""

from dataclasses import replace

import orjson
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import models, transaction
from django.template.loader import render_to_string
from django.test.utils import isolate_apps
from django.utils import timezone
from rest_framework import serializers

import cachelayer
from cachelayer import exceptions
from cachelayer.models import Repair
from cachelayer.operations import inspect_key, verify, warm
from cachelayer.protocol import commit, documents, drain, key_states, key_values, partition, stamps
from cachelayer.redis import incarnation, transport, variants
from cachelayer.redis.gate import Mode, gate
from cachelayer.representation import registry
from cachelayer.tests.bookshop.models import Agency, Novel, Person, Review, Topic, Writer
from cachelayer.tests.interleaving import start, stopped
from cachelayer.tests.polling import until
from cachelayer.tests.truth import hit, logged, outside, repaired, told

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("quick")]


@pytest.fixture
def novel():
    """A novel that shows rows of seven tables, cached."""
    writer = Writer.objects.create(name="Ann", agency=Agency.objects.create(name="Old"))
    topic = Topic.objects.create(slug="sea", label="The sea")
    novel = Novel.objects.create(title="Waves", writer=writer, main_topic=topic)
    novel.topics.add(topic, Topic.objects.create(slug="war", label="War"))
    Review.objects.create(novel=novel, stars=4, critic=Person.objects.create(name="Carl"))
    hit(Novel, novel.pk)
    return novel


def shown(novel):
    return told(Novel, novel.pk)


def test_it_shows_what_the_serializer_does(novel):
    assert shown(novel) == {
        "id": novel.pk,
        "title": "Waves",
        "writer": {"id": novel.writer_id, "name": "Ann", "agency": "Old"},
        "main_topic": "The sea",
        "topics": ["The sea", "War"],
        "reviews": [{"id": novel.reviews.get().pk, "stars": 4, "critic": "Carl"}],
        "review_count": 1,
    }


WRITES = {
    "the row itself": lambda novel: Novel.objects.update(title="Tides"),
    "a row of its foreign key": lambda novel: Writer.objects.get().save(),
    "a column of that row's parent": lambda novel: Person.objects.filter(name="Ann").update(
        name="B"
    ),
    "a row two keys away": lambda novel: Agency.objects.update(name="New"),
    "a key two keys away": lambda novel: Writer.objects.update(agency=None),
    "another row for its key": lambda novel: Novel.objects.update(
        writer=Writer.objects.create(name="Bea")
    ),
    "no row for its key": lambda novel: Novel.objects.update(writer=None),
    "a key that is no primary key": lambda novel: Topic.objects.filter(slug="sea").update(
        label="x"
    ),
    "a link": lambda novel: novel.topics.remove(Topic.objects.get(slug="war")),
    "a link from the other side": lambda novel: Topic.objects.create(slug="y").novels.add(novel),
    "a linked row": lambda novel: Topic.objects.filter(slug="war").update(label="Peace"),
    "a deleted linked row": lambda novel: Topic.objects.get(slug="war").delete(),
    "a row that refers to it": lambda novel: Review.objects.update(stars=1),
    "one more that does": lambda novel: Review.objects.create(novel=novel),
    "one that does no more": lambda novel: Review.objects.update(
        novel=Novel.objects.create(title="Other")
    ),
    "a deleted one": lambda novel: Review.objects.get().delete(),
    "a row that one of these shows": lambda novel: Person.objects.filter(name="Carl").update(
        name="D"
    ),
    "a cascade": lambda novel: Person.objects.get(name="Carl").delete(),
    "all of them": lambda novel: Review.objects.all().delete(),
    "many at once": lambda novel: Review.objects.bulk_create(
        [Review(novel=novel, stars=n) for n in range(20)]
    ),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
@pytest.mark.parametrize("within", ["autocommit", "atomic"])
def test_a_write_of_anything_that_it_shows_is_in_the_next_read(novel, write, within):
    before = shown(novel)
    if within == "autocommit":
        write(novel)
    else:
        with transaction.atomic():
            write(novel)
            assert cachelayer.read(Novel, novel.pk).outcome == "bypass"
            shown(novel)
    after = shown(novel)
    assert after != before or write is WRITES["a row of its foreign key"]
    hit(Novel, novel.pk)
    assert logged() == set()


def test_a_write_of_another_row_leaves_it_cached(novel):
    other = Novel.objects.create(title="Other", writer=Writer.objects.create(name="Bea"))
    Review.objects.create(novel=other)
    Topic.objects.create(slug="new")
    Writer.objects.filter(pk=other.writer_id).update(agency=None)
    assert cachelayer.read(Novel, novel.pk).outcome == "hit"


def test_a_rollback_leaves_it_cached(novel):
    with transaction.atomic():
        Review.objects.update(stars=0)
        transaction.set_rollback(True)
    assert cachelayer.read(Novel, novel.pk).outcome == "hit"


def test_a_hit_is_one_round_trip(novel, round_trips):
    round_trips.clear()
    assert cachelayer.read(Novel, novel.pk).outcome == "hit"
    assert round_trips == [["EVALSHA"]]


def test_several_are_one_round_trip(novel, round_trips):
    other = Novel.objects.create(title="Other")
    hit(Novel, other.pk, novel.pk + 1000)
    round_trips.clear()
    found = cachelayer.read_many(Novel, [novel.pk, other.pk, novel.pk + 1000])
    assert [read.outcome for read in found.values()] == ["hit"] * 3
    assert round_trips == [["EVALSHA"]]
    Review.objects.all().delete()
    found = cachelayer.read_many(Novel, [novel.pk, other.pk])
    assert [read.outcome for read in found.values()] == ["miss", "hit"]
    assert orjson.loads(found[novel.pk].row)["review_count"] == 0


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE bookshop_review SET stars = 1",
        "UPDATE bookshop_agency SET name = 'psql'",
        "DELETE FROM bookshop_novel_topics",
        "TRUNCATE bookshop_review",
    ],
)
def test_sql_of_another_program_is_repaired(novel, sql):
    with outside() as other:
        other.execute(sql)
    assert logged()
    repaired(*logged())
    shown(novel)


def test_a_statement_of_very_many_rows_marks_one_stamp(novel):
    Review.objects.bulk_create(Review(novel=novel) for _ in range(1500))
    hit(Novel, novel.pk)
    marked = []
    mark = key_states.mark

    def noting(keys, token):
        marked.extend(keys)
        return mark(keys, token)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(key_states, "mark", noting)
        Review.objects.update(stars=3)
    # The other is for functions that may read any of them.
    assert marked == ["@bookshop_review:*", "@bookshop_review.novel_id:*"]
    assert {review["stars"] for review in shown(novel)["reviews"]} == {3}


def test_a_writer_that_is_killed_before_its_release_costs_one_read(novel, monkeypatch):
    monkeypatch.setattr(commit.Commit, "push", lambda self: None)
    Review.objects.update(stars=1)
    monkeypatch.undo()
    assert shown(novel)["reviews"][0]["stars"] == 1
    hit(Novel, novel.pk)


def test_a_reader_that_loaded_before_a_commit_fills_what_nobody_hits(novel):
    """1. A reader notes the stamps and loads. 2. A write comes and goes. 3. The reader fills."""
    transport.client().delete(f"novel:{novel.pk}")
    with stopped(key_states, "fill") as fill:
        reader = start(cachelayer.read, Novel, novel.pk)
        fill.reached()
        Review.objects.update(stars=1)
        fill.release()
        assert orjson.loads(reader.result().row)["reviews"][0]["stars"] == 4
    assert cachelayer.read(Novel, novel.pk).outcome == "miss"
    assert shown(novel)["reviews"][0]["stars"] == 1


def test_what_somebody_writes_just_now_is_not_filled(novel):
    transport.client().delete(f"novel:{novel.pk}")
    with stopped(commit.Commit, "push") as push:
        with stopped(commit.Commit, "mark", after=True) as marked:
            writer = start(Review.objects.update, stars=1)
            marked.reached()
            assert cachelayer.read(Novel, novel.pk).outcome == "bypass"
            assert transport.client().get(f"novel:{novel.pk}") is None, "the lease is given back"
            marked.release()
        push.reached()
        assert cachelayer.read(Novel, novel.pk).outcome == "miss", "its transaction has ended"
        push.release()
        writer.result()
    shown(novel)


def test_a_row_that_it_refers_to_since_the_stamps_were_noted(novel):
    """1. A reader notes the stamps of what was shown last. 2. The novel gets another writer, who is
    3. renamed after the reader has loaded. Filled under the first stamps, that would be missed."""
    bea = Writer.objects.create(name="Bea")
    Agency.objects.update(name="New")  # Invalid, and says under which stamps it was made.
    noted = []
    note = stamps.note

    def note_and_change(using, keys, seconds):
        found = note(using, keys, seconds)
        if not noted:
            Novel.objects.update(writer=bea)
        noted.append(set(keys))
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stamps, "note", note_and_change)
        cachelayer.read(Novel, novel.pk)
    assert f"@bookshop_writer.person_ptr_id:{bea.pk}" in noted[1]
    Person.objects.filter(pk=bea.pk).update(name="Bee")
    assert shown(novel)["writer"]["name"] == "Bee"


def test_a_cold_one_is_loaded_twice_and_another_time_once(novel):
    loads = []
    load = documents.load

    def count(*args):
        loads.append(args)
        return load(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(documents, "load", count)
        transport.client().delete(f"novel:{novel.pk}")
        assert cachelayer.read(Novel, novel.pk).outcome == "miss"
        assert len(loads) == 2
        Agency.objects.update(name="New")
        assert cachelayer.read(Novel, novel.pk).outcome == "miss"
        assert len(loads) == 3


def test_a_write_costs_the_same_however_many_show_the_row(novel, round_trips):
    for n in range(50):
        other = Novel.objects.create(title=str(n), writer=novel.writer)
        hit(Novel, other.pk)
    round_trips.clear()
    Agency.objects.update(name="New")
    assert len(round_trips) == 2, "a mark and a release"
    assert cachelayer.read(Novel, other.pk).outcome == "miss"


def test_absent_it_is_null_until_it_comes(novel):
    hit(Novel, novel.pk + 1)
    assert transport.client().get(f"novel:{novel.pk + 1}") == key_values.NULL
    Novel.objects.create(pk=novel.pk + 1, title="New")
    assert shown(Novel(pk=novel.pk + 1))["title"] == "New"


def test_with_redis_away_a_write_is_logged_with_its_stamps(own_redis):
    novel = Novel.objects.create(title="Waves")
    hit(Novel, novel.pk)
    own_redis.kill()
    Review.objects.create(novel=novel, stars=2)
    assert f"@bookshop_review.novel_id:{novel.pk}" in logged()
    assert shown(novel)["review_count"] == 1
    own_redis.start()
    until(lambda: gate.mode is Mode.CLOSED)
    assert shown(novel)["review_count"] == 1


def test_a_look_says_which_stamp_made_it_invalid(novel):
    found = inspect_key.inspect(Novel, novel.pk)
    assert (found.state, found.verdict, found.changed) == ("row", "same", [])
    Agency.objects.update(name="New")
    found = inspect_key.inspect(Novel, novel.pk)
    assert (found.state, found.verdict) == ("invalid", "nothing")
    [changed] = found.changed
    assert changed.key == f"@bookshop_agency.id:{novel.writer.agency_id}"
    assert changed.state == "absent"
    assert changed.made < timezone.now()
    assert found.ttl
    page = render_to_string("admin/cachelayer/cache/_inspection.html", {"inspection": found})
    assert "has changed" in page
    assert f"<code>{changed.key}</code>\n      changed or expired, and was not loaded again" in page
    assert f"belong to the stamp of {changed.made:%H:%M:%S}" in page


def test_the_stamps_of_a_document_valid_or_not(novel):
    key, of_agency = f"novel:{novel.pk}", f"@bookshop_agency.id:{novel.writer.agency_id}"
    found = {stamp.key: stamp for stamp in stamps.seen(key)}
    assert all(stamp.made == stamp.now and stamp.state == "value" for stamp in found.values())
    made = found[of_agency].made
    Agency.objects.update(name="New")
    [changed] = [stamp for stamp in stamps.seen(key) if stamp.made != stamp.now]
    assert changed == stamps.Seen(of_agency, made, None, "absent")
    assert stamps.seen("novel:0") == []
    assert stamps.seen("novel:0", {of_agency}) == [stamps.Seen(of_agency, None, None, "absent")]


def test_two_releases_have_documents_of_their_own(novel):
    mine = registry.get(Novel)
    other = replace(mine, serializer=with_writer, depends_on=("writer",))
    registry._registered[Novel] = other
    variants._own = {"novel": "b" * 12}
    try:
        assert [cachelayer.read(Novel, novel.pk).outcome for _ in range(2)] == ["miss", "hit"]
        Person.objects.filter(name="Ann").update(name="Bea")
        assert shown(novel) == {"writer": "Bea"}
        Novel.objects.update(title="Tides")
        assert cachelayer.read(Novel, novel.pk).outcome == "miss"
    finally:
        registry._registered[Novel] = mine
        variants._own = {}
    assert shown(novel)["writer"]["name"] == "Bea"


def with_writer(found):
    return {"writer": found.writer.name}


def test_strict_asks_for_the_epoch_in_the_same_round_trip(
    novel, settings, monkeypatch, round_trips
):
    settings.CACHELAYER = {**settings.CACHELAYER, "PARTITION": "strict", "TRUST_LIFETIME": 60.0}
    for name in ("wake", "wake_now"):
        monkeypatch.setattr(partition.task, name, lambda: None)
    partition.trust.ask()
    try:
        round_trips.clear()
        assert cachelayer.read(Novel, novel.pk).outcome == "hit"
        assert round_trips == [["EVALSHA"]]
        transport.client().set(incarnation.KEY, "another:0 trusted 1")
        assert cachelayer.read(Novel, novel.pk).outcome == "bypass"
    finally:
        partition.trust.start_afresh()


def test_keys_that_postgres_writes_otherwise_are_refused():
    with isolate_apps("cachelayer.tests.bookshop"):

        class Day(models.Model):  # noqa: DJ008  (nobody prints it)
            date = models.DateField(primary_key=True)

            class Meta:
                app_label = "bookshop"

        class Event(models.Model):  # noqa: DJ008  (nobody prints it)
            day = models.ForeignKey(Day, models.CASCADE)

            class Meta:
                app_label = "bookshop"

        with pytest.raises(ImproperlyConfigured, match="integers, UUIDs or text"):
            assert registry.make(Event, dict, depends_on=["day"]).shown


def test_verify_and_warm_know_documents(novel):
    other = Novel.objects.create(title="Other")
    [*_, (seen, filled)] = warm.warm(Novel)
    assert (seen, filled) == (2, 1)
    assert cachelayer.read(Novel, other.pk).outcome == "hit"
    [*_, report] = verify.verify()
    # Two documents, and two cards, which were pushed.
    assert (report.compared, report.differing) == (4, 0)


def test_a_stamp_that_is_evicted_is_made_anew(novel):
    keys = transport.client().keys("@*")
    assert b"@bookshop_review.novel_id:*" in keys
    transport.client().delete(*keys)
    assert cachelayer.read(Novel, novel.pk).outcome == "miss"
    hit(Novel, novel.pk)


def test_every_stamp_may_expire(novel):
    assert all(transport.client().pttl(key) > 0 for key in transport.client().keys("@*"))


def with_topics(found):
    return {"topics": [topic.label for topic in found.topics.all()]}


@pytest.fixture
def only_writer(novel):
    """The novel as it is shown by code that reads its topics, which nobody has declared."""
    mine = registry.get(Novel)
    transport.client().delete(f"novel:{novel.pk}")
    registry._registered[Novel] = registry.make(Novel, with_topics, depends_on=["writer"])
    yield novel
    registry._registered[Novel] = mine


def test_what_is_not_declared_is_not_cached_and_said_once(only_writer, settings, caplog):
    settings.CACHELAYER = {**settings.CACHELAYER, "RECORDER": "off"}  # As in production.
    for _ in range(2):
        assert cachelayer.read(Novel, only_writer.pk).outcome == "bypass"
    [line] = [each for each in caplog.messages if "declared" in each]
    assert "bookshop_topic" in line
    assert "depends_on" in line


def test_what_is_declared_and_queried_all_the_same_is_not_cached_and_said(
    only_writer, settings, caplog
):
    def with_first_topic(found):
        return {"topic": found.topics.order_by("label").first().label}

    settings.CACHELAYER = {**settings.CACHELAYER, "RECORDER": "off"}  # As in production.
    registry._registered[Novel] = registry.make(
        Novel, with_first_topic, "novel", depends_on=["topics"]
    )
    assert cachelayer.read(Novel, only_writer.pk).outcome == "bypass"
    [line] = [each for each in caplog.messages if "bookshop_topic" in each]
    assert "undeclared rows" not in line
    assert "read them by .all()" in line


def test_a_document_of_very_many_stamps_is_not_cached_and_said(novel, monkeypatch, caplog):
    monkeypatch.setattr(documents, "MOST", 2)
    Agency.objects.update(name="New")
    for _ in range(2):
        assert cachelayer.read(Novel, novel.pk).outcome == "bypass"
    [line] = [each for each in caplog.messages if "stamps" in each]
    assert "more than 2 stamps" in line
    assert "Show fewer related rows" in line


class WithKeys(serializers.ModelSerializer):
    """Its own links by their keys, which are a part of the row, beside another row."""

    writer = serializers.CharField(source="writer.name")

    class Meta:
        model = Novel
        fields = ["writer", "topics"]


def test_links_by_their_keys_are_no_undeclared_query(only_writer, settings):
    settings.CACHELAYER = {**settings.CACHELAYER, "RECORDER": "off"}
    registry._registered[Novel] = registry.make(Novel, WithKeys, "novel")
    cachelayer.read(Novel, only_writer.pk)
    read = cachelayer.read(Novel, only_writer.pk)
    assert read.outcome == "hit"
    assert len(orjson.loads(read.row)["topics"]) == 2


def with_reviews(found):
    return {"title": found.title, "reviews": Review.objects.filter(novel=found).count()}


def test_a_row_that_code_shows_is_looked_at_in_production(only_writer, settings, caplog, value):
    """Nobody has declared anything, and a write of what it asks for would not be seen."""
    settings.CACHELAYER = {**settings.CACHELAYER, "RECORDER": "off"}  # As in production.
    registry._registered[Novel] = registry.make(Novel, with_reviews, "novel")
    for _ in range(2):
        assert cachelayer.read(Novel, only_writer.pk).outcome == "bypass"
    assert cachelayer.read_many(Novel, [only_writer.pk])[only_writer.pk].outcome == "bypass"
    Novel.objects.update(title="Tides")
    assert value(f"novel:{only_writer.pk}") is None, "nor is it pushed"
    [line] = [each for each in caplog.messages if "bookshop_review" in each]
    assert "undeclared rows" in line
    assert "Or set depends_on=[]" in line


def test_who_has_made_sure_is_believed(only_writer, settings):
    settings.CACHELAYER = {**settings.CACHELAYER, "RECORDER": "off"}
    registry._registered[Novel] = registry.make(Novel, with_reviews, "novel", depends_on=[])
    cachelayer.read(Novel, only_writer.pk)
    assert cachelayer.read(Novel, only_writer.pk).outcome == "hit"


@pytest.mark.parametrize("depends_on", [["writer"], []], ids=["a document", "a row"])
def test_a_read_whose_serializer_fails_leaves_no_lease(only_writer, value, depends_on):
    """The next reader would wait for it, and each after that."""

    def failing(found):
        raise ValueError("no request")

    registry._registered[Novel] = registry.make(Novel, failing, "novel", depends_on=depends_on)
    with pytest.raises(ValueError, match="no request"):
        cachelayer.read(Novel, only_writer.pk)
    assert value(f"novel:{only_writer.pk}") is None


class Active(models.Manager):
    """Asks for rows of another table, too."""

    def get_queryset(self):
        return super().get_queryset().exclude(critic__name="hidden")


def test_what_a_manager_asks_for_is_declared_or_it_is_not_cached(novel, monkeypatch, caplog):
    def with_stars(found):
        return {"stars": [review.stars for review in found.reviews.all()]}

    manager = Active()
    manager.model = Review
    monkeypatch.setitem(Review._meta.__dict__, "default_manager", manager)
    transport.client().delete(f"novel:{novel.pk}")
    mine = registry.get(Novel)
    try:
        registry._registered[Novel] = registry.make(Novel, with_stars, depends_on=["reviews"])
        assert cachelayer.read(Novel, novel.pk).outcome == "bypass"
        assert "bookshop_person" in caplog.text
        registry._registered[Novel] = registry.make(
            Novel, with_stars, depends_on=["reviews__critic"]
        )
        assert [cachelayer.read(Novel, novel.pk).outcome for _ in range(2)] == ["miss", "hit"]
    finally:
        registry._registered[Novel] = mine


def test_in_a_test_what_is_not_declared_is_an_error(only_writer):
    with pytest.raises(exceptions.UndeclaredRead, match=r"test_documents\.py:\d+"):
        cachelayer.read(Novel, only_writer.pk)


def test_what_is_declared_is_followed(only_writer):
    registry._registered[Novel] = registry.make(Novel, with_topics, depends_on=["topics"])
    assert [cachelayer.read(Novel, only_writer.pk).outcome for _ in range(2)] == ["miss", "hit"]
    Topic.objects.filter(slug="war").update(label="Peace")
    assert shown(only_writer) == {"topics": ["The sea", "Peace"]}


def test_a_path_that_there_is_not_says_what_to_name():
    with pytest.raises(ImproperlyConfigured, match="has no relation 'nothing'"):
        assert registry.make(Novel, dict, depends_on=["writer__nothing"]).shown


def test_a_repair_of_all_rows_is_one_of_the_stamp_that_all_have(novel):
    Repair.objects.create(key="@bookshop_review.novel_id:*")
    drain.drain()
    assert cachelayer.read(Novel, novel.pk).outcome == "miss"
