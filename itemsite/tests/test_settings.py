"""The environment is read in one place, refused with a sentence, and safe by default."""

import json
import os
import subprocess
import sys

import pytest
from django.core.exceptions import ImproperlyConfigured

from itemsite import traces
from itemsite.environment import Environment, TracingEnvironment, WebEnvironment

NEEDED = {
    "SECRET_KEY": "secret",
    "DATABASE_URL": "postgres://user@host/db",
    "REDIS_URL": "redis://host",
}


def load(names, **environ):
    """The settings *names* as a fresh process has them; its error output if it fails."""
    program = (
        "import json, django; django.setup(); from django.conf import settings;"
        f"print(json.dumps([getattr(settings, name) for name in {names!r}]))"
    )
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**inherited, "DJANGO_SETTINGS_MODULE": "itemsite.settings", **environ},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return json.loads(done.stdout) if done.returncode == 0 else done.stderr


@pytest.mark.parametrize("missing", NEEDED)
def test_what_has_no_safe_default_must_be_set(missing):
    environ = {name: value for name, value in NEEDED.items() if name != missing}
    for incomplete in (environ, {**environ, missing: ""}):
        with pytest.raises(ImproperlyConfigured, match=rf"^{missing} is not set\. Set it to .*\.$"):
            Environment.read(incomplete)


def test_a_missing_secret_key_stops_the_start():
    error = load(["DEBUG"], **{**NEEDED, "SECRET_KEY": ""})
    assert "ImproperlyConfigured: SECRET_KEY is not set." in error


def test_a_write_rate_that_nobody_can_read_stops_the_start():
    error = load(["DEBUG"], **NEEDED, WRITE_RATE="fast")
    assert "ImproperlyConfigured: The rate limit of writes is 'fast'." in error


@pytest.mark.parametrize("rate", ["fast", "0/min", "10", "10/min/s", "-1/s"])
def test_a_write_rate_is_a_number_per_time(rate):
    with pytest.raises(ImproperlyConfigured, match="Set WRITE_RATE to a number per second"):
        Environment.read({**NEEDED, "WRITE_RATE": rate})


def test_the_life_of_rows_can_be_set():
    assert load(["CACHELAYER"], **NEEDED)[0]["ROW_TTL"] == 300
    assert load(["CACHELAYER"], **NEEDED, ROW_TTL="20")[0]["ROW_TTL"] == 20


@pytest.mark.parametrize("seconds", ["0", "-1", "1.5", "long"])
def test_the_life_of_rows_is_whole_seconds(seconds):
    with pytest.raises(ImproperlyConfigured, match=r"ROW_TTL=.*Set it to a whole number"):
        Environment.read({**NEEDED, "ROW_TTL": seconds})


def test_by_default_nothing_is_open():
    debug, lab, hosts = load(["DEBUG", "LAB", "ALLOWED_HOSTS"], **NEEDED)
    assert (debug, lab, hosts) == (False, False, [])


def test_the_lab_is_open_to_this_machine_only():
    debug, lab, hosts = load(["DEBUG", "LAB", "ALLOWED_HOSTS"], **NEEDED, LAB="1")
    assert (debug, lab, hosts) == (False, True, ["localhost", "127.0.0.1", "[::1]"])


def test_https_makes_cookies_secure_and_redirects():
    names = ["SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE", "SECURE_SSL_REDIRECT"]
    assert load(names, **NEEDED) == [False] * 3
    assert load(names, **NEEDED, HTTPS="1") == [True] * 3


@pytest.mark.parametrize("name", ["LAB", "DEBUG", "HTTPS", "PGBOUNCER"])
def test_a_flag_is_yes_or_no_and_nothing_else(name):
    field = name.lower()
    for text, value in [("1", True), ("True", True), ("on", True), ("0", False), ("", False)]:
        assert getattr(Environment.read({**NEEDED, name: text}), field) is value
    with pytest.raises(ImproperlyConfigured, match="Set it to 1 or to 0"):
        Environment.read({**NEEDED, name: "maybe"})


def test_lists_are_separated_by_commas():
    environment = Environment.read({**NEEDED, "ALLOWED_HOSTS": "a.example, b.example,"})
    assert environment.allowed_hosts == ["a.example", "b.example"]


def test_links_are_checked_where_the_variable_says():
    checks = "grafana=http://grafana:3000, locust=http://locust:8089/"
    environment = Environment.read({**NEEDED, "LINK_CHECKS": checks})
    assert environment.link_checks == {
        "grafana": "http://grafana:3000",
        "locust": "http://locust:8089/",
    }
    with pytest.raises(ImproperlyConfigured, match=r"LINK_CHECKS has 'grafana'\. Write name="):
        Environment.read({**NEEDED, "LINK_CHECKS": "grafana"})


def test_behind_a_pooler_no_connection_says_what_the_pooler_would_refuse_or_forget():
    [direct] = load(["DATABASES"], **NEEDED)
    [pooled] = load(["DATABASES"], **NEEDED, PGBOUNCER="1")
    assert "statement_timeout" in direct["default"]["OPTIONS"]["options"]
    assert "options" not in pooled["default"]["OPTIONS"]
    assert pooled["default"]["DISABLE_SERVER_SIDE_CURSORS"] is True


def test_where_sentinels_are_named_they_say_which_redis_is_the_primary():
    named = {**NEEDED, "REDIS_URL": "redis://mymaster/0", "REDIS_SENTINELS": "a:26379, 10.0.0.2:1"}
    [caches] = load(["CACHES"], **named)
    assert caches["default"]["LOCATION"] == "redis://mymaster/0"
    options = caches["default"]["OPTIONS"]
    assert options["SENTINELS"] == [["a", 26379], ["10.0.0.2", 1]]
    assert options["CONNECTION_FACTORY"] == "django_redis.pool.SentinelConnectionFactory"
    [caches] = load(["CACHES"], **NEEDED)
    assert not {"SENTINELS", "CONNECTION_FACTORY"} & caches["default"]["OPTIONS"].keys()
    with pytest.raises(ImproperlyConfigured, match=r"REDIS_SENTINELS has 'a'\. Write host:port"):
        Environment.read({**NEEDED, "REDIS_SENTINELS": "a"})


def test_where_nodes_of_a_cluster_are_named_it_is_one():
    named = {**NEEDED, "REDIS_URL": "rediss://u:p%40@a:7000/0", "REDIS_CLUSTER": "b:7001,c:7002"}
    [caches] = load(["CACHES"], **named)
    assert caches["default"]["LOCATION"] == [
        "rediss://u:p%40@a:7000/0",
        "rediss://u:p%40@b:7001/0",
        "rediss://u:p%40@c:7002/0",
    ]
    factory = caches["default"]["OPTIONS"]["CONNECTION_FACTORY"]
    assert factory == "cachelayer.redis.cluster.ClusterConnectionFactory"
    with pytest.raises(ImproperlyConfigured, match=r"REDIS_CLUSTER has 'b'\. Write host:port"):
        Environment.read({**NEEDED, "REDIS_CLUSTER": "b"})


def test_a_request_ends_before_gunicorn_gives_its_worker_up():
    """A worker that is killed in mid-statement answers nobody."""
    from itemsite import gunicorn, settings

    longest = settings._STATEMENT_TIMEOUT_MS / 1000
    connecting = settings.DATABASES["default"]["OPTIONS"]["connect_timeout"]
    assert longest + connecting < gunicorn.timeout


def test_a_folder_for_metrics_that_cannot_be_written_to_is_refused(tmp_path):
    assert WebEnvironment.read({"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}).metrics_dir
    with pytest.raises(ImproperlyConfigured, match="not a folder that this user can write to"):
        WebEnvironment.read({"PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "missing")})


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"LAB": "1"}, "up to 10 requests a second"),
        ({"LAB": "1", "TRACES_PER_SECOND": "50"}, "set TRACES_PER_SECOND higher"),
        ({"LAB": "1", "OTEL_TRACES_SAMPLER": "always_off"}, "unset OTEL_TRACES_SAMPLER"),
        ({"LAB": "1", "TRACES_PER_SECOND": "0"}, ""),
        ({"LAB": "1", "OTEL_TRACES_SAMPLER": "parentbased_always_on"}, ""),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}, "parentbased_traceidratio chooses"),
    ],
)
def test_who_misses_a_request_is_told_why(environ, words):
    said = traces.sampled(TracingEnvironment.read({**environ}))
    assert words in said if words else not said
