"""What the cache page says: when all is well, of one row, and while Redis or Postgres is away."""

import json
import re

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection, transaction

import cachelayer
from cachelayer.operations import overview
from cachelayer.protocol import key_states, key_values
from cachelayer.redis import transport
from cachelayer.redis.gate import gate
from cachelayer.telemetry import counters
from cachelayer.tests.bookshop.models import Book, Note
from cachelayer.tests.outages import ENDED, NEVER_ENDS, write_unseen
from cachelayer.tracking import repair_log

pytestmark = pytest.mark.django_db(transaction=True)

PAGE = "/admin/cachelayer/cache/"


@pytest.fixture
def page(admin_client):
    """The text of the page, without its tags."""

    def read(**query):
        answer = admin_client.get(PAGE, query)
        assert answer.status_code == 200
        return words(answer.content.decode())

    return read


@pytest.fixture
def row():
    """A cached row and its key."""
    note = Note.objects.create(text="before", stars=3)
    return note, f"note:{note.pk}"


def words(html):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", html))


def tamper():
    write_unseen("UPDATE bookshop_note SET text = 'after'")


class TestInOrder:
    def test_it_says_so(self, page, row):
        cachelayer.read(Note, row[0].pk)
        text = page()
        assert "In order." in text
        assert "Redis ✓" not in text, "the tick is the stylesheet's"
        assert re.search(r"Redis answers in [\d.]+ ms", text)
        assert "Repair log 0 keys" in text
        assert "Cached rows 1 " in text
        assert "Eviction noeviction" in text
        assert re.search(r"Trust +trusted", text)

    def test_the_numbers_are_those_of_the_statistics(self, admin_client, row):
        counters.add("hit", 3)
        counters.add("miss")
        counters.add("checked", 3000)
        found = admin_client.get(f"{PAGE}stats.json").json()
        assert found["level"] == "ok"
        assert found["stats"]["total_hits"] == 3
        assert sum(piece["counts"]["hit"] for piece in found["history"]) == 3
        numbers = words(found["html"]["numbers"])
        assert "75.0 % in all" in numbers
        assert "of 3000 checked; below 0.1 % of all hits (95 %)" in numbers
        assert found["redis"]["policy"] == "noeviction"

    def test_the_live_regions_hold_nothing_that_takes_the_focus(self, admin_client, row):
        html = admin_client.get(f"{PAGE}stats.json").json()["html"]
        assert html.keys() == {"as_of", "verdict", "numbers", "charts", "processes", "redis"}
        assert not re.findall(r"<(?:a|button|input|select|textarea)\b|tabindex", str(html))

    def test_the_charts_say_in_words_what_they_show(self, admin_client):
        counters.add("hit", 30)
        charts = admin_client.get(f"{PAGE}stats.json").json()["html"]["charts"]
        labels = re.findall(r'role="img" aria-label="([^"]*)"', charts)
        assert len(labels) == 3
        assert labels[0].startswith("Reads per second over the last 15 minutes")
        assert labels[1] == "Hit rate over the last 15 minutes: 100 % at last."
        assert "get" in labels[2] or "other" in labels[2]


class TestOneRow:
    def test_that_is_cached(self, page, row):
        text = page(key=row[1])
        assert re.search(rf"{row[1]} row +expires in [\d.]+ min", text)
        assert "The cached bytes match the database row." in text
        assert re.search(r"stars +3 +3 ", text)

    def test_an_id_and_its_model_do_as_well(self, page, row):
        assert row[1] in page(key=f" {row[0].pk} ", model="note")

    def test_that_differs_is_marked_field_by_field(self, admin_client, row):
        tamper()
        html = admin_client.get(PAGE, {"key": row[1]}).content.decode()
        assert "The cached bytes differ from the database row." in html
        [differing] = re.findall(r'<tr class="differs">(.*?)</tr>', html, re.S)
        assert words(differing).split() == [
            "text",
            "differs",
            "&quot;before&quot;",
            "&quot;after&quot;",
        ]

    def test_that_is_not_cached(self, page, row):
        transport.client().delete(row[1])
        text = page(key=row[1])
        assert "absent" in text
        assert "Not cached. The next read loads it." in text

    def test_that_is_marked_by_a_transaction_that_runs(self, page, row):
        key_states.mark([row[1]], key_values.new_mark(NEVER_ENDS))
        text = page(key=row[1])
        assert f"{row[1]} mark " in text
        assert "A transaction that wrote this row is still running; readers go to Postgres." in text
        assert "next reader loads" not in text

    def test_that_is_marked_by_a_transaction_that_has_ended(self, page, row):
        key_states.mark([row[1]], key_values.new_mark(ENDED))
        text = page(key=row[1])
        assert "The transaction that wrote this row has ended. The next reader loads it." in text
        assert "still running" not in text

    def test_that_is_leased(self, page, row):
        transport.client().delete(row[1])
        key_states.lease({row[1]: None}, key_values.new_lease())
        assert "A reader is loading this row." in page(key=row[1])

    def test_that_is_known_absent(self, page):
        cachelayer.read(Book, 77)
        assert "Redis remembers that there is no such row, and there is none." in page(
            key="book:77"
        )

    def test_that_does_not_exist_is_told_from_null_that_is_wrong(self, page):
        book = Book.objects.create(title="Emma")
        transport.client().set(f"book:{book.pk}", key_values.NULL)
        text = page(key=f"book:{book.pk}")
        assert "differ from the database row" in text
        assert "Emma" in text

    @pytest.mark.parametrize(
        ("key", "sentence"),
        [
            ("note:7", "no note id after the colon"),
            ("7", "is not an id of a note"),
            ("<b>", "is not an id of a note"),
            ("session:1", "is not an id of a note"),
        ],
    )
    def test_that_is_no_key(self, admin_client, key, sentence):
        html = admin_client.get(PAGE, {"key": key, "model": "note"}).content.decode()
        assert sentence in html
        assert "<b>&" not in html
        assert f'value="{key}"' in html or "&lt;b&gt;" in html

    def test_it_is_escaped(self, admin_client):
        note = Note.objects.create(text="<script>alert(1)</script>")
        html = admin_client.get(PAGE, {"key": f"note:{note.pk}"}).content.decode()
        assert "<script>alert" not in html
        transport.client().set(f"note:{note.pk}", b"<script>alert(2)</script>")
        html = admin_client.get(PAGE, {"key": f"note:{note.pk}"}).content.decode()
        assert "<script>alert" not in html

    def test_clear_it(self, admin_client, row, value):
        answer = admin_client.post(f"{PAGE}clear-key/", {"key": row[1]}, follow=True)
        assert f"The key {row[1]} was deleted." in answer.content.decode()
        assert value(row[1]) is None
        assert LogEntry.objects.get().object_repr == f"Clear {row[1]}"
        assert f"Clear {row[1]}" in answer.content.decode()

    def test_a_mark_is_not_cleared(self, admin_client, row, value):
        key_states.mark([row[1]], b"w:somebody")
        answer = admin_client.post(f"{PAGE}clear-key/", {"key": row[1]}, follow=True)
        assert "had no value that may be deleted" in answer.content.decode()
        assert key_values.is_mark(value(row[1]))

    def test_a_key_of_somebody_else_is_not_cleared(self, admin_client, value):
        transport.client().set("session:1", b"theirs")
        answer = admin_client.post(f"{PAGE}clear-key/", {"key": "session:1"}, follow=True)
        assert "is not a key of a cached model" in answer.content.decode()
        assert value("session:1") == b"theirs"
        assert not LogEntry.objects.exists()


class TestTrouble:
    def test_redis_stopped(self, admin_client, own_redis, page):
        note = Note.objects.create(text="here")
        own_redis.stop()
        text = page(key=f"note:{note.pk}")
        assert "Trouble" in text
        assert "Redis does not answer this process" in text
        assert re.search("Redis away gate (open|settling)", text)
        assert "here" in text, "the database row is shown all the same"
        found = admin_client.get(f"{PAGE}stats.json").json()
        assert found["level"] == "error"
        assert found["redis"] is None

    def test_redis_paused(self, admin_client, own_redis):
        own_redis.pause()
        try:
            found = admin_client.get(f"{PAGE}stats.json").json()
        finally:
            own_redis.resume()
        assert (found["level"], found["redis"]) == ("error", None)

    @pytest.mark.parametrize(
        ("path", "data"),
        [
            ("clear/", None),
            ("clear-key/", {"key": "book:1"}),
        ],
    )
    def test_with_redis_stopped_an_operation_says_that_nothing_was_done(
        self, admin_client, own_redis, path, data
    ):
        own_redis.stop()
        send = admin_client.post if data else admin_client.get
        answer = send(PAGE + path, data, follow=True)
        assert answer.status_code == 200
        assert "Redis does not answer, so nothing was done" in answer.content.decode()

    def test_postgres_stopped(self, admin_client, monkeypatch, caplog):
        monkeypatch.setitem(connection.settings_dict, "PORT", 1)
        connection.close()
        answer = admin_client.get(PAGE)
        assert answer.status_code == 503
        assert answer["Retry-After"] == "5"
        text = words(answer.content.decode())
        assert "Postgres does not answer." in text
        assert "manage.py cache_stats" in text
        assert "Traceback" not in caplog.text
        monkeypatch.undo()
        assert admin_client.get(PAGE).status_code == 200

    def test_postgres_stopped_says_it_to_the_script_as_json(self, admin_client, monkeypatch):
        monkeypatch.setitem(connection.settings_dict, "PORT", 1)
        connection.close()
        headers = {"Accept": "application/json"}
        answer = admin_client.get(f"{PAGE}stats.json", headers=headers)
        monkeypatch.undo()
        assert answer.status_code == 503
        assert "Postgres does not answer" in json.loads(answer.content)["error"]

    def test_postgres_that_takes_no_new_connection(self, page, monkeypatch):
        with monkeypatch.context() as outage:
            outage.setitem(connection.settings_dict, "PORT", 1)
            text = page()
        assert "Postgres refuses no new connection" in text
        assert "Postgres refuses new connections, so the repair log is unknown" in text

    def test_a_gate_that_settles(self, page, monkeypatch):
        monkeypatch.setattr(gate, "_run", lambda: None)
        gate.settle("This Redis was flushed.")
        assert "This process does not trust Redis yet: This Redis was flushed." in page()

    def test_a_backlog_that_nobody_drains(self, page, monkeypatch):
        with transaction.atomic():
            repair_log.log(connection, ["note:1"])
        monkeypatch.setattr(overview, "LATE", 0)
        text = page()
        assert "1 keys wait in the repair log" in text
        assert "No cache_repair is listening: start one, unless it polls behind PgBouncer." in text

    def test_stale_reads(self, page):
        counters.add("checked", 100)
        counters.add("stale", 2)
        assert "The live check found 2 stale reads among 100." in page()

    def test_a_redis_that_may_evict_nothing_and_is_nearly_full(self, page, own_redis):
        client = transport.client()
        client.config_set("maxmemory", int(client.info("memory")["used_memory"] * 1.02))
        assert "it refuses marks. Raise maxmemory" in page()
