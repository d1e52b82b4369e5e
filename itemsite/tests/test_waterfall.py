"""Traces for a terminal, from Jaeger's JSON."""

from itemsite import waterfall


def span(number, name, start, duration, parent=None, **tags):
    return {
        "spanID": f"{number:016x}",
        "operationName": name,
        "references": [{"spanID": f"{parent:016x}"}] if parent else [],
        "startTime": 1_000_000 + start,
        "duration": duration,
        "tags": [{"key": key.replace("_", "."), "value": value} for key, value in tags.items()],
    }


def trace(*spans):
    return {"traceID": "a" * 32, "spans": list(spans)}


POST = trace(
    span(5, "cache.push", 800, 100, 1, db_system_name="redis", cache_result="pushed"),
    span(1, "POST items", 0, 1000, url_path="/items", cache_outcome="hit"),
    span(3, "INSERT", 110, 200, 2, db_system_name="postgresql", db_query_text="INSERT INTO items"),
    span(2, "transaction", 100, 650, 1),
    span(4, "cache.mark", 400, 100, 2, db_system_name="redis", cache_key="item:1"),
)


def test_spans_stand_below_their_parents_in_the_order_in_which_they_began():
    assert [(row.depth, row.name) for row in waterfall.rows(POST)] == [
        (0, "POST items"),
        (1, "transaction"),
        (2, "INSERT"),
        (2, "cache.mark"),
        (1, "cache.push"),
    ]


def test_bars_stand_where_the_span_was_in_the_trace():
    lines = waterfall.text([POST]).splitlines()
    push = next(line for line in lines if "cache.push" in line)
    whole = next(line for line in lines if line.startswith("  POST items"))
    assert whole.count("━") == 30
    assert push.index("━") == whole.index("━") + 24
    assert push.count("━") == 3
    assert "0.10 ms" in push
    assert push.endswith("pushed")


def test_the_heading_says_what_was_asked_and_how_it_ended():
    heading = waterfall.text([POST]).splitlines()[0]
    for part in ("/items", "hit", "1.00 ms", "a" * 32):
        assert part in heading


def test_a_span_whose_parent_is_missing_is_shown_all_the_same():
    rows = waterfall.rows(trace(span(2, "COMMIT", 0, 10, 1), span(3, "cache.push", 20, 10, 1)))
    assert [(row.depth, row.name) for row in rows] == [(0, "COMMIT"), (0, "cache.push")]


def test_no_line_is_wider_than_the_terminal():
    long = trace(span(1, "SELECT", 0, 0, db_query_text="SELECT " + "x, " * 200))
    for width in (40, 80, 120):
        lines = waterfall.waterfall([long, POST], width).plain.splitlines()
        assert max(map(len, lines)) <= width
        assert any("SELECT" in line and "━" in line for line in lines)


def test_what_failed_says_why():
    failed = span(1, "cache.get", 0, 5, error=True, error_type="TimeoutError")
    refused = span(2, "cache.get", 0, 5, cache_refused="The gate is open.", cache_gate="open")
    text = waterfall.text([trace(failed, refused)])
    assert "failed: TimeoutError" in text
    assert "The gate is open. gate open" in text


def test_nothing_is_nothing():
    assert waterfall.text([]) == ""
