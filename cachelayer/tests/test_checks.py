"""System checks of settings and servers: each speaks when it should, the shipped are quiet."""

import pytest
from django.core.checks import run_checks
from django.db import connection

from cachelayer import conf
from cachelayer.checks import configuration
from cachelayer.tracking import triggers


def ids(problems):
    return [problem.id for problem in problems]


@pytest.mark.django_db
def test_the_shipped_settings_and_models_are_quiet():
    found = run_checks(databases=["default"])
    assert [problem for problem in found if problem.id.startswith("cachelayer.")] == []


def test_e001_an_option_that_does_not_exist(settings):
    settings.CACHELAYER = {"ROW_TLL": 5}
    [problem] = configuration.check_settings()
    assert problem.id == "cachelayer.E001"
    assert "ROW_TLL" in problem.msg
    assert "ROW_TTL" in problem.msg


def test_w002_a_former_name_is_taken_and_said(settings):
    settings.CACHELAYER = {"LOOK_INTERVAL": 7.0}
    assert conf.get().DRAIN_INTERVAL == 7.0
    [problem] = configuration.check_names()
    assert (problem.id, "DRAIN_INTERVAL" in problem.msg) == ("cachelayer.W002", True)
    assert configuration.check_settings() == []


@pytest.mark.parametrize(
    "option",
    [{"ROW_TTL": "300"}, {"PUSH_LIMIT": 1.5}, {"LEASE_LIFETIME": None}, {"NULL_TTL": True}],
)
def test_e002_a_value_of_another_type(settings, option):
    settings.CACHELAYER = option
    assert ids(configuration.check_settings()) == ["cachelayer.E002"]


@pytest.mark.parametrize(
    "option",
    [
        {"ROW_TTL": 0},
        {"NULL_TTL": -1.0},
        {"LEASE_LIFETIME": float("nan")},
        {"LEASE_LIFETIME": float("inf")},
        {"COUNT_INTERVAL": 0},
        {"LEASE_WAIT": -0.1},
        {"PUSH_LIMIT": -1},
        {"PROBE_INTERVAL": float("nan")},
        {"ROW_TTL_JITTER": 1.0},
        {"ROW_TTL_JITTER": -0.1},
        {"PROBE_INTERVAL": 0},
        {"SETTLING_TIME": float("inf")},
        {"DRAIN_INTERVAL": 0},
        {"REQUEST_BUDGET": 0},
        {"TRUST_LIFETIME": 0},
        {"CHECK_SHARE": -0.1},
        {"CHECK_SHARE": 1.1},
        {"CHECK_SHARE": float("nan")},
        {"PARTITION": "sometimes"},
    ],
)
def test_e003_a_value_that_makes_no_sense(settings, option):
    settings.CACHELAYER = option
    assert ids(configuration.check_settings()) == ["cachelayer.E003"]


@pytest.mark.parametrize("option", [{"LEASE_WAIT": 0}, {"PUSH_LIMIT": 0}, {"ROW_TTL_JITTER": 0}])
def test_nothing_is_a_sensible_value_of_some(settings, option):
    settings.CACHELAYER = option
    assert configuration.check_settings() == []


def test_e004_a_cache_that_is_no_redis(settings):
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    assert ids(configuration.check_settings()) == ["cachelayer.E004"]


def test_e004_an_alias_that_is_not_there(settings):
    settings.CACHELAYER = {"CACHE_ALIAS": "elsewhere"}
    [problem] = configuration.check_settings()
    assert problem.id == "cachelayer.E004"
    assert "elsewhere" in problem.msg


@pytest.mark.parametrize("name", ["SOCKET_TIMEOUT", "SOCKET_CONNECT_TIMEOUT"])
def test_e005_a_redis_that_may_hang(settings, name):
    cache = settings.CACHES["default"]
    options = {key: value for key, value in cache["OPTIONS"].items() if key != name}
    settings.CACHES = {"default": {**cache, "OPTIONS": options}}
    [problem] = configuration.check_settings()
    assert problem.id == "cachelayer.E005"
    assert name in problem.msg


@pytest.mark.parametrize("share", [0, 1, 0.5])
def test_any_share_of_the_hits_can_be_checked(settings, share):
    settings.CACHELAYER = {"CHECK_SHARE": share}
    assert configuration.check_settings() == []


def test_e012_a_settling_time_in_which_not_every_process_has_looked(settings):
    settings.CACHELAYER = {"PROBE_INTERVAL": 0.6, "SETTLING_TIME": 1.0}
    [problem] = configuration.check_settings()
    assert problem.id == "cachelayer.E012"
    settings.CACHELAYER = {"PROBE_INTERVAL": 0.5, "SETTLING_TIME": 1.0}
    assert configuration.check_settings() == []


@pytest.mark.parametrize("name", ["SOCKET_TIMEOUT", "SOCKET_CONNECT_TIMEOUT"])
def test_w003_a_timeout_above_the_budget_of_a_request(settings, name):
    cache = settings.CACHES["default"]
    quick = {"SOCKET_TIMEOUT": 0.05, "SOCKET_CONNECT_TIMEOUT": 0.05}
    settings.CACHELAYER = {"REQUEST_BUDGET": 0.06}
    settings.CACHES = {"default": {**cache, "OPTIONS": quick}}
    assert configuration.check_budget() == []
    settings.CACHES = {"default": {**cache, "OPTIONS": {**quick, name: 0.07}}}
    [problem] = configuration.check_budget()
    assert problem.id == "cachelayer.W003"
    assert name in problem.msg


@pytest.mark.django_db(transaction=True)
def test_no_database_is_asked_unless_it_is_named():
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE bookshop_note DISABLE TRIGGER cachelayer_update")
    try:
        assert configuration.check_triggers(databases=None) == []
        assert ids(configuration.check_triggers(databases=["default"])) == ["cachelayer.W005"]
    finally:
        triggers.install("default")


@pytest.mark.parametrize("option", [{"ROW_TLL": 5}, {"LEASE_WAIT": "60"}])
def test_the_database_is_asked_only_when_the_settings_are_right(settings, option):
    """Without leave to use the database, this test would fail."""
    settings.CACHELAYER = option
    assert configuration.check_triggers(databases=["default"]) == []


def test_e001_an_option_of_the_first_release(settings):
    settings.CACHELAYER = {"MARK_LIFETIME": 60.0}
    [problem] = configuration.check_settings()
    assert problem.id == "cachelayer.E001"
    assert "MARK_LIFETIME" in problem.msg
    assert "is not needed any more" in problem.msg
