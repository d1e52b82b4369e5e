"""The stages of a run, what is counted in each, and when a run has failed."""

import pytest

from loadtest.stages import OUTAGE, RECOVERY, STAGES, STEADY, WARM_UP, Tally, stage_at, users_in
from loadtest.thresholds import Thresholds


def test_the_stages_fill_the_run_in_their_order():
    assert sum(stage.share for stage in STAGES) == pytest.approx(1)
    assert [stage_at(seconds, 100) for seconds in (0, 19, 21, 49, 51, 74, 76, 99)] == [
        *(WARM_UP, WARM_UP),
        *(STEADY, STEADY),
        *(OUTAGE, OUTAGE),
        *(RECOVERY, RECOVERY),
    ]
    assert stage_at(100, 100) is None


def test_all_users_are_there_when_the_warm_up_ends():
    assert users_in(WARM_UP, 40, 100) == (40, 2)
    assert users_in(WARM_UP, 1, 100_000)[1] > 0
    assert {users_in(stage, 40, 100)[0] for stage in STAGES} == {40}


def test_a_stage_is_told_by_what_was_counted_in_it():
    before = Tally(10, 1, {5: 10}, {"hit": 8, "miss": 2})
    after = Tally(110, 1, {5: 15, 20: 90, 300: 5}, {"hit": 98, "miss": 2, "bypass": 10})
    stage = after.since(before)
    assert stage == Tally(100, 0, {5: 5, 20: 90, 300: 5}, {"hit": 90, "bypass": 10})
    assert stage.sentence() == "100 requests, 0 failed, p50 20 ms, p95 20 ms, 90.0 % hits"


def test_counts_that_were_reset_are_taken_as_they_are():
    after = Tally(5, 0, {5: 5}, {"hit": 5})
    assert after.since(Tally(10, 1, {5: 10}, {"hit": 8})) == after
    assert Tally(0, 0, {}, {}).sentence().endswith("p50 0 ms, p95 0 ms, no reads")


@pytest.mark.parametrize(
    ("seen", "sentences"),
    [
        ({}, []),
        ({"requests": 0}, ["No request was made: is the API at the host that was given?"]),
        ({"fail_ratio": 0.02}, ["2.00% of the requests failed; 1.00% may."]),
        ({"fail_ratio": 0.01}, []),
        ({"p95": 101}, ["95 % of the answers took up to 101 ms; 100 ms may."]),
        ({"p95": 100}, []),
        ({"stale": 1}, ["1 reads were older than their own writer's last write."]),
        ({"stale": 1, "fail_ratio": 1, "p95": 9999}, [None, None, None]),
    ],
)
def test_each_gate_that_does_not_hold_is_a_sentence(seen, sentences):
    run = {"requests": 100, "fail_ratio": 0.0, "p95": 50.0, "stale": 0, **seen}
    broken = Thresholds(fail_ratio=0.01, p95=100).broken(**run)
    assert [None] * len(broken) == sentences if None in sentences else broken == sentences
