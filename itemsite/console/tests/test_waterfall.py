"""Traces in Jaeger's JSON become the page's requests, each with its spans as they are read."""

from itemsite.console.waterfall import shown

START = 1_795_535_364_628_000


def span(name, at, took, parent=None, **tags):
    """As Jaeger has it: microseconds."""
    references = [{"refType": "CHILD_OF", "traceID": "t", "spanID": parent}] if parent else []
    return {
        "traceID": "t",
        "spanID": name,
        "operationName": name,
        "references": references,
        "startTime": START + at,
        "duration": took,
        "tags": [{"key": key.replace("__", "."), "value": value} for key, value in tags.items()],
    }


def request(**tags):
    known = {"http__request__method": "PATCH", "url__path": "/items/1", "cache__outcome": "hit"}
    return span("PATCH items", 0, 5000, "of-the-client", **{**known, **tags})


def trace(*spans):
    return {"traceID": "t", "spans": list(spans)}


def only(*spans):
    [found] = shown([trace(*spans)])
    return found


def test_a_request_says_what_and_how_long():
    found = only(request(http__response__status_code=200))
    assert {**found, "spans": []} == {
        "id": "t",
        "at": START / 1000,
        "ms": 5.0,
        "method": "PATCH",
        "path": "/items/1",
        "status": 200,
        "outcome": "hit",
        "spans": [],
    }


def test_spans_stand_below_their_parents_in_the_order_of_their_start():
    rows = only(
        span("cache.push", 4300, 180, "PATCH items"),
        span("COMMIT", 3800, 300, "transaction", db__system__name="postgresql"),
        span("transaction", 900, 3300, "PATCH items"),
        span("cache.mark", 3500, 200, "transaction"),
        request(),
    )["spans"]
    assert [(row["name"], row["depth"], row["at"], row["where"]) for row in rows] == [
        ("PATCH items", 0, 0.0, "api"),
        ("transaction", 1, 0.9, "api"),
        ("cache.mark", 2, 3.5, "redis"),
        ("COMMIT", 2, 3.8, "postgres"),
        ("cache.push", 1, 4.3, "redis"),
    ]


def test_a_span_whose_parent_is_missing_is_not_lost():
    rows = only(request(), span("SELECT", 10, 5, "not-sent-yet"))["spans"]
    assert [(row["name"], row["depth"]) for row in rows] == [("PATCH items", 0), ("SELECT", 1)]


def test_the_repair_log_and_the_check_of_a_connection_have_names():
    logged = "INSERT INTO cachelayer_repair (key) SELECT unnest(%s::text[])"
    rows = only(
        request(),
        span("SELECT", 1, 1, "PATCH items", db__query__text="SELECT 1"),
        span("INSERT", 2, 1, "PATCH items", db__query__text=logged),
    )["spans"]
    assert [row["name"] for row in rows[1:]] == ["SELECT 1", "INSERT into the repair log"]


def test_what_the_gate_refused_and_what_failed_are_told_apart():
    rows = only(
        request(),
        span("cache.get", 1, 1, "PATCH items", cache__refused="The gate is open."),
        span("cache.mark", 2, 1, "PATCH items", error=True),
    )["spans"]
    assert [(row["refused"], row["failed"]) for row in rows[1:]] == [(True, False), (False, True)]


def test_what_polls_and_what_is_no_request_is_left_out():
    polling = [trace(request(url__path=path)) for path in ("/", "/console/live", "/health")]
    background = trace(span("SELECT", 0, 5, db__system__name="postgresql"))
    assert shown([*polling, background, trace()]) == []


def test_the_query_is_not_shown():
    assert only(request(url__path="/items?cursor=secret"))["path"] == "/items"
