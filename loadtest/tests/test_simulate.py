"""The forecast of the simulation: against a play of every request, against itself, and a lab."""

import random
from dataclasses import replace
from math import exp

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from loadtest.simulate import check, events, popularity, refill
from loadtest.simulate.formula import forecast
from loadtest.simulate.site import Site, WrongSite

#: One row takes one byte, so that memory is a number of rows.
SMALL = Site(rows=3000, reads=300.0, ttl=10.0, skew=0.9, row_bytes=1.0)
#: What the formula may be away from a play of 80,000 requests with a fixed seed. Of so many
#: independent reads the standard error is 0.002; what Redis evicts by sampling costs another 0.01.
CLOSE = 0.015


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="the TTL decides"),
        pytest.param({"jitter": 0.0}, id="without jitter"),
        pytest.param({"jitter": 0.8}, id="much jitter"),
        pytest.param({"ttl": 2000.0, "memory": 300.0}, id="memory decides"),
        pytest.param({"memory": 700.0}, id="both decide"),
        pytest.param({"writes": 90.0, "write_skew": 0.9}, id="pushes"),
        pytest.param({"writes": 90.0, "write_skew": 0.9, "pushes": False}, id="deletions"),
        pytest.param({"writes": 90.0, "memory": 400.0}, id="pushes of rows that nobody reads"),
        pytest.param({"writes": 90.0, "memory": 400.0, "pushes": False}, id="deletions, memory"),
        pytest.param({"skew": 0.0, "ttl": 30.0}, id="all rows alike"),
        pytest.param({"skew": 1.3, "memory": 200.0}, id="a steep skew"),
    ],
)
def test_the_formula_says_what_comes_of_playing_every_request(changes):
    site = replace(SMALL, **changes)
    found, played = forecast(site), events.play(site, requests=80_000, seed=3)
    assert found.hit_rate == pytest.approx(played.hit_rate, abs=CLOSE)
    assert found.loads == pytest.approx(played.loads, rel=0.05)
    assert found.evictions == pytest.approx(played.evictions, rel=0.1, abs=1.0)


def test_a_ttl_alone_has_a_known_hit_rate():
    """All rows alike, no jitter, no writes: a life of the TTL, then a wait for a read."""
    site = Site(rows=100, reads=200.0, skew=0.0, ttl=3.0, jitter=0.0)
    assert forecast(site).hit_rate == pytest.approx(2 * 3 / (1 + 2 * 3), rel=1e-9)


def test_memory_alone_has_a_known_hit_rate():
    """All rows alike: a read finds the share of rows that fit."""
    site = Site(rows=1000, reads=100.0, skew=0.0, ttl=1e6, jitter=0.0, memory=300.0, row_bytes=1.0)
    assert forecast(site).hit_rate == pytest.approx(0.3, abs=1e-4)


def test_the_cached_rows_fill_the_memory():
    found = forecast(replace(SMALL, memory=250.0))
    assert found.cached_rows == pytest.approx(250, rel=1e-3)
    assert found.memory == pytest.approx(250, rel=1e-3)
    assert found.evictions > 0


def test_groups_of_ranks_are_all_rows_with_all_reads():
    site = Site(rows=200_000, reads=1000.0, writes=10.0, skew=0.8)
    groups = popularity.groups(site)
    assert sum(group.count for group in groups) == site.rows
    assert sum(group.count * group.reads for group in groups) == pytest.approx(site.reads)
    assert sum(group.count * group.writes for group in groups) == pytest.approx(site.writes)
    weights = [rank**-0.8 for rank in range(1, site.rows + 1)]
    first = sum(group.count * group.reads for group in groups[:100])
    counted = sum(group.count for group in groups[:100])
    assert first == pytest.approx(1000 * sum(weights[:counted]) / sum(weights), rel=1e-4)


def test_finer_groups_change_nothing(monkeypatch):
    site = Site(rows=10**6, reads=5000.0, writes=100.0, skew=0.9, memory=20_000.0, row_bytes=1.0)
    coarse = forecast(site).hit_rate
    monkeypatch.setattr(popularity, "_RATIO", 1.01)
    assert forecast(site).hit_rate == pytest.approx(coarse, abs=1e-4)


SITES = some.builds(
    Site,
    rows=some.integers(1, 10**9),
    reads=some.floats(0.1, 1e6),
    writes=some.floats(0, 1e5),
    skew=some.floats(0, 2),
    write_skew=some.floats(0, 2),
    ttl=some.floats(0.1, 1e5),
    jitter=some.floats(0, 0.9),
    memory=some.none() | some.floats(1e3, 1e12),
    row_bytes=some.floats(50, 1e5),
    pushes=some.booleans(),
)
#: Numeric integrals and a bisection are exact to less than this.
SLACK = 1e-5


@given(SITES)
@settings(max_examples=20)
def test_every_forecast_is_possible(site):
    found = forecast(site)
    assert -SLACK <= found.hit_rate <= 1 + SLACK
    assert found.loads == pytest.approx(site.reads * (1 - found.hit_rate), abs=SLACK * site.reads)
    assert 0 <= found.cached_rows <= site.rows * (1 + SLACK)
    assert found.evictions >= 0
    if site.room is not None:
        assert found.cached_rows <= site.room * (1 + 1e-3)


@given(SITES, some.floats(1, 20))
@settings(max_examples=20)
def test_more_memory_never_lowers_the_hit_rate(site, times):
    less = replace(site, memory=site.memory or 1e6)
    more = replace(less, memory=less.memory * times)
    assert forecast(more).hit_rate >= forecast(less).hit_rate - SLACK


@given(SITES, some.floats(1, 20))
@settings(max_examples=20)
def test_with_memory_for_all_a_longer_ttl_never_lowers_the_hit_rate(site, times):
    short = replace(site, memory=None)
    assert (
        forecast(replace(short, ttl=short.ttl * times)).hit_rate >= forecast(short).hit_rate - SLACK
    )


@given(SITES)
@settings(max_examples=20)
def test_with_memory_for_all_a_push_is_never_worse_than_a_deletion(site):
    pushes = replace(site, memory=None, pushes=True)
    assert forecast(pushes).hit_rate >= forecast(replace(pushes, pushes=False)).hit_rate - SLACK


def test_a_full_redis_that_must_not_evict_serves_nothing():
    found = forecast(replace(SMALL, memory=100.0, policy="noeviction"))
    assert (found.refuses, found.hit_rate, found.loads) == (True, 0.0, SMALL.reads)
    assert not forecast(replace(SMALL, policy="noeviction")).refuses


def test_an_emptied_cache_asks_postgres_for_everything_and_then_for_ever_less():
    site = replace(SMALL, writes=30.0, ttl=300.0)
    assert refill.loads(site, 0) == pytest.approx(site.reads)
    course = [refill.loads(site, seconds) for seconds in (0, 1, 5, 20, 100)]
    assert course == sorted(course, reverse=True)
    until = refill.seconds_until(site, 2.0)
    assert refill.loads(site, until) == pytest.approx(2 * forecast(site).loads, rel=1e-3)


def test_the_load_after_a_loss_is_what_comes_of_playing_it():
    """Reads of an empty cache, second by second, as the mean of many plays."""
    site = replace(SMALL, ttl=60.0)
    plays = [first_reads(site, seconds=5.0, seed=seed) for seed in range(20)]
    mean = sum(plays) / len(plays)
    expected = sum(refill.loads(site, t + 0.05) * 0.1 for t in (n / 10 for n in range(50)))
    assert mean == pytest.approx(expected, rel=0.02)


def test_rows_that_are_pushed_come_back_without_a_load():
    """All rows alike: each is read twice a second and written once."""
    site = Site(rows=100, reads=200.0, writes=100.0, skew=0.0)
    assert refill.loads(site, 0.5) == pytest.approx(200 * exp(-(2 + 1) * 0.5))
    deleted = replace(site, pushes=False)
    assert refill.loads(deleted, 0.5) == pytest.approx(200 * exp(-2 * 0.5))


def first_reads(site, seconds, seed):
    """How many different rows are read in the first *seconds*."""
    chance = random.Random(seed)
    weights = popularity.cumulative(site.rows, site.skew)
    reads = round(site.reads * seconds)
    return len(set(chance.choices(range(site.rows), cum_weights=weights, k=reads)))


def test_after_the_loss_of_one_node_of_ten_a_tenth_is_gone():
    site = replace(SMALL, ttl=300.0)
    usual = forecast(site).loads
    assert refill.loads(site, 0, share=0.1) == pytest.approx(0.9 * usual + 0.1 * site.reads)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"rows": 0}, "Give --rows 1 or more"),
        ({"reads": 0}, "Give --reads above 0"),
        ({"writes": -1}, "Give --writes 0 or more"),
        ({"skew": 4}, "Most sites have"),
        ({"ttl": 0}, "Give --ttl above 0"),
        ({"jitter": 1}, "Give --jitter from 0"),
        ({"memory": 0}, "Give --memory above 0"),
        ({"row_bytes": 0}, "Give --row-bytes above 0"),
        ({"policy": "allkeys-lru"}, "Redis may evict marks.*Choose volatile-lru"),
        ({"policy": "sometimes"}, "Choose one of volatile-lru, noeviction"),
    ],
)
def test_what_describes_no_site_is_refused_with_what_to_do(changes, sentence):
    with pytest.raises(WrongSite, match=sentence):
        replace(SMALL, **changes)


def test_events_are_not_played_for_what_would_take_hours():
    with pytest.raises(WrongSite, match="Give fewer --rows"):
        events.play(replace(SMALL, rows=10**9))
    with pytest.raises(WrongSite, match="give --policy volatile-lru"):
        events.play(replace(SMALL, memory=10.0, policy="noeviction"))


@pytest.mark.parametrize("rate", [40.0, 100.0])
def test_the_check_would_tell_a_formula_that_forgets_something(rate):
    by_ttl = replace(check.SITE, reads=rate, writes=rate / 5)
    by_memory = replace(by_ttl, memory=check.ROOM)
    right = forecast(by_memory).hit_rate
    assert forecast(by_ttl).hit_rate - right > 2 * check.TOLERANCE
    assert forecast(replace(by_ttl, ttl=1e9)).hit_rate - right > 2 * check.TOLERANCE


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_real_lab_has_the_hit_rate_of_the_formula():
    """``python -m loadtest.simulate --check``; ``check.TOLERANCE`` says how near."""
    try:
        runs = check.check()
    except check.TooBusy as reason:
        pytest.skip(str(reason))
    assert all(run.agrees for run in runs), runs
