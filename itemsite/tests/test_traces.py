"""Traces of a real gunicorn on a real Postgres and Redis, as they arrive over OTLP."""

import os
import re
import socket
import subprocess
import sys
import threading
from contextlib import closing
from http.client import HTTPConnection

import pytest

from itemsite import traces, waterfall
from itemsite.collector.server import Server
from itemsite.lab.bootstrap import ROOT
from itemsite.lab.ports import free_port
from itemsite.tests.running_site import COLD, HOT, running_site, until

KEY = "item:550e8400-e29b-41d4-a716-446655440001"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


class Collected:
    """A collector, and what it has of a response's trace."""

    def __init__(self, server):
        self.server = server
        self.url = f"http://127.0.0.1:{server.server_port}"

    def of(self, answer):
        """The spans of the request that got *answer*, when all have arrived."""
        _, trace_id, root, flags = answer.headers["traceresponse"].split("-")
        assert flags == "01"

        def complete():
            trace = self.server.store.find(trace_id)
            return trace and root in [span["spanID"] for span in trace["spans"]]

        # The root ends last, and spans are sent in the order in which they ended.
        until(complete)
        return waterfall.rows(self.server.store.find(trace_id))


@pytest.fixture(scope="module")
def collected():
    with Server(free_port()) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield Collected(server)
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def whole_site(tmp_path_factory, collected):
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collected.url)
        environment.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
        environment.setenv("TRACES_PER_SECOND", "1000")
        environment.setenv("OTEL_SDK_DISABLED", "")
        with running_site(tmp_path_factory) as site:
            yield site


@pytest.fixture
def site(whole_site):
    """All is well, every worker has its connections, and the hot item is cached."""
    whole_site.redis.start()
    until(whole_site.is_well)
    for _ in range(20):
        assert whole_site.get("/items?limit=1").status == 200
        assert whole_site.get(HOT).status == 200
    until(lambda: all(whole_site.get(HOT).headers["x-cache"] == "HIT" for _ in range(20)))
    return whole_site


def shape(rows):
    """The names, indented; of statements the first word. The connection's own are left out."""
    own = ("SELECT 1", "SELECT set_config")
    return [
        "  " * row.depth + row.name
        for row in rows
        if not str(row.tags.get("db.query.text", "")).startswith(own)
    ]


def named(rows, name):
    [found] = [row for row in rows if row.name == name]
    return found.tags


def test_a_hit_is_one_span_of_redis_and_none_of_postgres(site, collected):
    rows = collected.of(site.get(HOT))
    assert shape(rows) == ["GET items/<any-case-uuid:pk>", "  cache.get"]
    assert not [row for row in rows if row.tags.get("db.system.name") == "postgresql"]
    get = rows[1].tags
    assert get["span.kind"] == "client"
    assert get["db.system.name"] == "redis"
    assert get["cache.key"] == KEY
    assert get["cache.gate"] == "closed"
    assert get["cache.state"] == "row"
    request = rows[0].tags
    assert request["span.kind"] == "server"
    assert request["cache.outcome"] == "hit"
    assert request["http.request.method"] == "GET"
    assert request["http.response.status_code"] == 200


def test_a_miss_is_a_lease_a_select_and_a_fill(site, collected):
    assert site.ask("POST", "/cache/clear").status == 200
    rows = collected.of(site.get(COLD))
    assert shape(rows) == [
        "GET items/<any-case-uuid:pk>",
        "  cache.get",
        "  cache.lease",
        "  SELECT",
        "  cache.fill",
    ]
    assert rows[0].tags["cache.outcome"] == "miss"
    assert named(rows, "cache.get")["cache.state"] == "absent"
    assert named(rows, "cache.fill")["cache.filled"] == 1
    select = next(row.tags for row in rows if 'FROM "items"' in str(row.tags.get("db.query.text")))
    assert select["db.system.name"] == "postgresql"
    assert select["server.address"] == "127.0.0.1"


def test_a_post_is_a_transaction_with_the_mark_before_the_commit_then_a_push(site, collected):
    answer = site.ask("POST", "/items", {"name": "Tea", "price": 4.2})
    rows = collected.of(answer)
    assert shape(rows) == [
        "POST items",
        "  transaction",
        "    INSERT",
        "      BEGIN",
        "    cache.mark",
        "    COMMIT",
        "  cache.push",
    ]
    key = f"item:{answer.json['id']}"
    assert named(rows, "cache.mark")["cache.key"] == named(rows, "cache.push")["cache.key"] == key
    # The row is pushed, and its table's stamp is invalidated.
    assert named(rows, "cache.push")["cache.result"] == "invalidated, pushed"
    assert named(rows, "COMMIT")["db.system.name"] == "postgresql"
    assert named(rows, "COMMIT")["db.operation.name"] == "COMMIT"
    mark, commit, push = (
        next(row for row in rows if row.name == name)
        for name in ("cache.mark", "COMMIT", "cache.push")
    )
    assert mark.offset + mark.duration <= commit.offset
    assert commit.offset + commit.duration <= push.offset


def test_a_transaction_that_is_rolled_back_shows_no_mark(site, collected):
    missing = "/items/00000000-0000-4000-8000-000000000000"
    answer = site.ask("PATCH", missing, {"price": 1})
    assert answer.status == 404
    rows = collected.of(answer)
    assert shape(rows) == [
        "PATCH items/<any-case-uuid:pk>",
        "  transaction",
        "    SELECT",
        "      BEGIN",
        "    ROLLBACK",
    ]


def test_with_an_open_gate_reads_say_bypass_and_writes_go_into_the_repair_log(site, collected):
    site.redis.kill()
    until(lambda: site.get("/health").json["cache"]["gate"]["state"] == "open")
    found = {}

    def read():
        rows = collected.of(site.get(HOT))
        found["rows"] = rows
        return rows[0].tags["cache.gate"] == "open" and "cache.refused" in rows[1].tags

    until(read)
    assert shape(found["rows"]) == ["GET items/<any-case-uuid:pk>", "  cache.get", "  SELECT"]
    assert found["rows"][0].tags["cache.outcome"] == "bypass"
    assert "error" not in found["rows"][1].tags
    rows = collected.of(site.ask("PATCH", HOT, {"price": 5}))
    statements = [str(row.tags.get("db.query.text")) for row in rows]
    logged = next(i for i, text in enumerate(statements) if "cachelayer_repair" in text)
    assert logged < statements.index("COMMIT")


def test_what_was_written_without_a_mark_is_repaired_in_a_trace_of_its_own(site, collected):
    site.redis.kill()
    until(lambda: site.get("/health").json["cache"]["gate"]["state"] == "open")
    for price in range(10):
        assert site.ask("PATCH", HOT, {"price": price}).status == 200
    site.redis.start()
    until(site.is_well)

    def drained():
        found = [waterfall.rows(t) for t in collected.server.store.recent("api", 10_000)]
        return [rows for rows in found if [r for r in rows if r.name == "cache.repair"]]

    until(drained)
    rows = drained()[0]
    assert rows[0].name == "cache.drain"
    assert named(rows, "cache.repair")["cache.key"] == KEY
    assert [row for row in rows if "DELETE FROM cachelayer_repair" in row.note]


def test_the_response_says_where_its_trace_is(site, collected):
    answer = site.get(HOT)
    trace_id = answer.headers["traceresponse"].split("-")[1]
    assert answer.headers["link"] == f'<http://localhost:16686/trace/{trace_id}>; rel="trace"'


def test_a_trace_that_the_caller_began_goes_on(site, collected):
    trace_id, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    with closing(HTTPConnection("127.0.0.1", site.web.port, timeout=30)) as connection:
        connection.request("GET", HOT, headers={"traceparent": f"00-{trace_id}-{parent}-01"})
        answer = connection.getresponse()
        answer.read()
    assert answer.headers["traceresponse"].split("-")[1] == trace_id
    until(lambda: collected.server.store.find(trace_id))
    [request, _] = collected.server.store.find(trace_id)["spans"]
    assert request["references"][0]["spanID"] == parent


def test_log_lines_carry_the_trace(site, collected):
    site.redis.kill()
    answer = None

    def is_told():
        nonlocal answer
        answer = site.get(HOT)
        trace_id = answer.headers["traceresponse"].split("-")[1]
        pattern = rf"WARNING cachelayer\.gate trace_id={trace_id} span_id=[0-9a-f]{{16}} Gate "
        return re.search(pattern, site.web.log.read_text())

    # Whichever worker has noticed by itself has told it outside of any request; and one that has
    # told much is quiet for a while, so others are started.
    for _ in range(20):
        if is_told():
            break
        site.redis.start()
        site.web.stop()
        site.web.start()
        until(site.is_well)
        assert {site.get(HOT).status for _ in range(20)} == {200}
        site.redis.kill()
    else:
        pytest.fail(site.web.log.read_text()[-2000:])
    # The reconcile's own, of no request.
    until(lambda: "trace_id=- span_id=- Gate" in site.web.log.read_text())


def test_only_requests_of_people_begin_a_trace(site, collected):
    for path in ("/health", "/metrics"):
        assert "traceresponse" not in site.get(path).headers
    collected.of(site.get(HOT))
    for trace in collected.server.store.recent("api", 1000):
        roots = {
            (row.name, row.tags["span.kind"]) for row in waterfall.rows(trace) if not row.depth
        }
        others = {name for name, kind in roots if kind != "server"}
        assert others <= {"cache.drain"} or len(roots) > 1, waterfall.text([trace])


def test_recent_traces_can_be_asked_for(site, collected, settings):
    settings.TRACES_URL = collected.url
    first, second = site.get(HOT), site.get(COLD)
    collected.of(first), collected.of(second)
    found = [trace["traceID"] for trace in traces.recent(2)]
    assert found == [a.headers["traceresponse"].split("-")[1] for a in (second, first)]


def restart(site, monkeypatch, **environment):
    site.web.stop()
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    site.web.start()


@pytest.fixture
def own_site(site, monkeypatch, collected):
    """A site whose gunicorn this test may start again with another environment."""
    yield site
    monkeypatch.undo()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collected.url)
    site.web.stop()
    site.web.start()


def test_what_is_not_sampled_is_not_sent_and_says_nothing(own_site, monkeypatch, collected):
    restart(
        own_site,
        monkeypatch,
        OTEL_EXPORTER_OTLP_ENDPOINT=collected.url,
        OTEL_TRACES_SAMPLER="always_off",
    )
    before = len(collected.server.store.recent("api", 10_000))
    answer = own_site.ask("POST", "/items", {"name": "Tea", "price": 4.2})
    assert answer.status == 201
    assert not {"traceresponse", "link"} & set(answer.headers)
    own_site.web.stop()  # It sends what it has.
    assert len(collected.server.store.recent("api", 10_000)) == before


def test_an_application_that_is_loaded_before_the_fork_is_traced_too(
    own_site, monkeypatch, collected
):
    restart(
        own_site,
        monkeypatch,
        OTEL_EXPORTER_OTLP_ENDPOINT=collected.url,
        GUNICORN_CMD_ARGS="--preload",
    )
    # A worker's first connection to Redis asks Postgres for the epoch.
    assert {own_site.get(HOT).status for _ in range(20)} == {200}
    until(lambda: own_site.get(HOT).headers["x-cache"] == "HIT")
    assert shape(collected.of(own_site.get(HOT))) == ["GET items/<any-case-uuid:pk>", "  cache.get"]


def test_under_threads_alone_a_hit_has_the_same_spans(own_site, monkeypatch, collected):
    def spans():
        until(lambda: own_site.get(HOT).headers["x-cache"] == "HIT")
        own = ("client.port", "cache.gate", "process.pid", "user_agent.original")
        found = collected.of(own_site.get(HOT))
        tags = [{k: v for k, v in row.tags.items() if k not in own} for row in found]
        return [(row.depth, row.name) for row in found], tags

    on_loop = spans()
    restart(
        own_site,
        monkeypatch,
        OTEL_EXPORTER_OTLP_ENDPOINT=collected.url,
        WEB_WORKER="gthread",
    )
    assert {own_site.get(HOT).status for _ in range(20)} == {200}
    assert spans() == on_loop


def test_a_sampled_hit_is_not_a_request_to_django(site, collected):
    def seen_by_django():
        page = site.get("/metrics").text
        name = "django_http_requests_total_by_method_total"
        [line] = [x for x in page.splitlines() if x.startswith(f'{name}{{method="GET"}}')]
        return float(line.split()[-1])

    # Each worker has learned its answer in ``site``; a request for the metrics is one itself.
    before = seen_by_django()
    for _ in range(20):
        assert len(collected.of(site.get(HOT))) == 2
    assert seen_by_django() == before + 1


@pytest.mark.parametrize("how", ["refuses", "hangs"])
def test_a_collector_that_is_away_is_not_noticed(own_site, monkeypatch, how):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        if how == "hangs":
            silent.listen()
        restart(
            own_site,
            monkeypatch,
            OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{silent.getsockname()[1]}",
            OTEL_EXPORTER_OTLP_TIMEOUT="1",
            OTEL_BSP_MAX_QUEUE_SIZE="64",
            OTEL_BSP_MAX_EXPORT_BATCH_SIZE="32",
        )
        workers = len(own_site.web.workers)

        def complaints():
            lines = own_site.web.log.read_text().splitlines()
            return [line for line in lines if "opentelemetry" in line or "telemetry" in line]

        def all_have_noticed():
            # More than the queue holds, and again and again.
            assert {own_site.get(HOT).status for _ in range(100)} == {200}
            return len(complaints()) >= workers

        until(all_have_noticed, 60)
        for _ in range(3):
            assert {own_site.get(HOT).status for _ in range(100)} == {200}
        assert len(complaints()) == workers
        assert all("Traces do not arrive at http://127.0.0.1" in line for line in complaints())
        own_site.web.stop()


_MIDDLEWARE = """
import itemsite.wsgi, json, sys
from django.conf import settings
print(json.dumps([any("opentelemetry" in m for m in settings.MIDDLEWARE),
                  "opentelemetry.instrumentation.django" in sys.modules]))
"""


@pytest.mark.parametrize(
    ("environment", "instrumented"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1/v1/traces"}, True),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"},
            False,
        ),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none"},
            False,
        ),
    ],
)
def test_without_anywhere_to_send_to_nothing_is_instrumented(environment, instrumented):
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("OTEL_")}
    done = subprocess.run(
        [sys.executable, "-c", _MIDDLEWARE],
        cwd=ROOT,
        env={**inherited, "DJANGO_SETTINGS_MODULE": "itemsite.settings", **environment},
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == str([instrumented] * 2).lower(), done.stderr
