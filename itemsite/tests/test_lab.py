"""``./lab``, as a person uses it: real processes from a copy of the project."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from itemsite.lab.process import wait_until
from itemsite.lab.web import Web
from itemsite.tests.running_lab import RunningLab

SAMPLE = "550e8400-e29b-41d4-a716-446655440001"
TEA = {"name": "Tea", "price": 4.2}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A running lab for the tests that leave it running; its path has a blank in it."""
    with RunningLab(tmp_path_factory.mktemp("lab") / "a checkout") as lab:
        yield lab.start()


@pytest.fixture
def isolated_lab(tmp_path):
    """A lab for a test that ends it."""
    with RunningLab(tmp_path / "checkout") as lab:
        yield lab


def test_the_banner_says_where_everything_is_and_how_to_log_in(lab):
    for path in ("/", "/items", "/api/docs", "/health", "/cache/stats", "/metrics", "/admin/"):
        assert f"http://127.0.0.1:{lab.port}{path}\n" in lab.said
        assert lab.ask(path)[0] in (200, 302)
    assert f"user admin, password {lab.folder.secrets().admin_password}" in lab.said
    assert "./lab stop" in lab.said


def test_it_serves_the_samples_and_is_healthy(lab):
    assert lab.health() == "ok"
    status, _, item = lab.ask(f"/items/{SAMPLE}")
    assert status == 200
    assert item["id"] == SAMPLE
    assert lab.ask(f"/items/{SAMPLE}")[1]["X-Cache"] == "HIT"


def test_secrets_are_for_the_owner_only(lab):
    for name in ("secrets.json", "state.json"):
        assert (lab.folder.path / name).stat().st_mode & 0o777 == 0o600
    assert (lab.folder.path / "postgres").stat().st_mode & 0o777 == 0o700
    assert lab.postgres.password not in lab.said


def test_a_shell_can_read_the_settings(lab):
    printed = lab.command("env").stdout
    shell = 'eval "$1"; printf "%s\\n" "$DATABASE_URL" "$REDIS_URL"'
    told = subprocess.run(["sh", "-c", shell, "sh", printed], capture_output=True, text=True)
    assert told.stdout.split() == [lab.postgres.url, lab.redis.url]


def test_manage_works_on_the_running_lab(lab):
    code = "from items.models import Item; print(Item.objects.count() >= 5)"
    done = lab.command("manage", "shell", "--no-imports", "-c", code)
    assert done.stdout == "True\n", done.stderr
    assert lab.command("manage", "no_such_command").returncode == 1


def test_the_admin_password_logs_in(lab):
    password = lab.folder.secrets().admin_password
    code = (
        "from django.contrib.auth import authenticate;"
        f"print(authenticate(username='admin', password={password!r}).is_superuser)"
    )
    done = lab.command("manage", "shell", "--no-imports", "-c", code)
    assert done.stdout == "True\n", done.stderr


def test_the_last_requests_are_shown_as_a_waterfall(lab):
    answer = lab.ask(f"/items/{SAMPLE}")
    trace_id = answer[1]["traceresponse"].split("-")[1]
    assert wait_until(lambda: trace_id in lab.command("trace").stdout, 30)
    done = lab.command("trace", "1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].split()[1:4] == ["GET", f"/items/{SAMPLE}", "200"]
    assert "    cache.get" in done.stdout
    assert done.stdout.splitlines()[-1] == (
        "Each process traces up to 10 requests a second. A request that is missing was not "
        "sampled: send it again, or set TRACES_PER_SECOND higher and start again."
    )
    assert "\x1b" not in done.stdout
    link = answer[1]["Link"].partition(">")[0].removeprefix("<")
    assert link.startswith("http://127.0.0.1:")
    assert link.endswith(trace_id)


def test_in_a_pipe_new_requests_are_followed(lab):
    lab.ask("/items")
    with lab.output.with_suffix(".trace").open("w+b") as output:
        follower = subprocess.Popen(
            [sys.executable, "-m", "itemsite.lab", "trace", "50", "--watch"],
            cwd=lab.root,
            env={**lab.environment, "PYTHONUNBUFFERED": "1"},
            stdout=output,
        )
        try:
            ids = [lab.ask("/items?limit=1")[1]["traceresponse"].split("-")[1] for _ in range(3)]
            said = Path(output.name).read_text
            assert wait_until(lambda: all(said().count(name) == 1 for name in ids), 30)
            follower.send_signal(signal.SIGINT)
            assert follower.wait(timeout=20) == 0
            assert all(said().count(name) == 1 for name in ids)
        finally:
            follower.kill()
            follower.wait()


def test_a_collector_that_died_is_started_again(lab):
    os.kill(lab.servers()["collector"].pid, signal.SIGKILL)
    assert wait_until(lambda: "Collector has ended" in lab.said, 20)
    assert wait_until(lambda: "collector" in lab.servers(), 20)

    def is_there():
        trace_id = lab.ask(f"/items/{SAMPLE}")[1]["traceresponse"].split("-")[1]
        return wait_until(lambda: trace_id in lab.command("trace").stdout, 5)

    assert wait_until(is_there, 60)


def test_a_second_lab_says_that_one_runs(lab):
    second = lab.command()
    assert second.returncode == 1
    assert second.stderr == (
        f"lab: The lab is already running at http://127.0.0.1:{lab.port}; ./lab stop stops it.\n"
    )
    assert lab.health() == "ok"


def test_load_runs_locust_on_the_running_lab(lab):
    options = ("--users", "2", "--run-time", "8s", "--max-p95", "20000")
    done = lab.command("load", "--headless", "--only-summary", *options)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    # The lab's own Redis is stopped and started by the load test itself.
    assert said.count("redis stop: done") == said.count("redis start: done") == 1
    assert "/items/[id] hit" in said
    assert lab.health() == "ok"


def test_a_killed_worker_comes_back(lab):
    web = Web(lab.folder.path / "web", lab.port, {})
    before = set(web.workers)
    os.kill(min(before), signal.SIGKILL)
    assert wait_until(lambda: len(set(web.workers)) == 2 and set(web.workers) != before, 30)
    assert wait_until(lambda: lab.health() == "ok", 30)


def test_without_redis_it_goes_on_and_a_redis_started_again_is_used_again(lab):
    # From outside, as a person would: the lab is not told.
    os.kill(lab.redis.pid, signal.SIGKILL)
    assert wait_until(lambda: lab.health() == "degraded", 10)
    status, _, item = lab.ask("/items", TEA)
    assert status == 201
    assert lab.ask(f"/items/{item['id']}")[0] == 200
    assert wait_until(lambda: "Redis has died" in lab.said, 10)

    started = lab.command("redis", "start")
    assert started.stdout == "lab: Redis is running.\n", started.stderr
    assert wait_until(lambda: lab.health() == "ok", 30)
    path = f"/items/{item['id']}"
    assert wait_until(lambda: lab.ask(path)[1].get("X-Cache") == "HIT", 30)


def test_redis_can_be_stopped_by_a_command(lab):
    assert lab.command("redis", "stop").returncode == 0
    assert wait_until(lambda: "Redis is stopped" in lab.said, 10)
    assert lab.health() == "degraded"
    assert lab.command("redis", "start").returncode == 0
    assert wait_until(lambda: lab.health() == "ok", 30)


def test_redis_can_be_paused_for_a_while(lab):
    pause = subprocess.Popen(
        [sys.executable, "-m", "itemsite.lab", "redis", "pause", "600"],
        cwd=lab.root,
        env=lab.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert pause.stdout.readline() == "lab: Redis is paused for 600 s.\n"
    assert not lab.redis._answers()
    # The command that ends the pause wakes it.
    pause.send_signal(signal.SIGINT)
    assert pause.wait(timeout=30) == 128 + signal.SIGINT
    assert wait_until(lab.redis._answers, 30)
    assert wait_until(lambda: lab.health() == "ok", 30)


def test_a_stopped_redis_cannot_be_paused(lab):
    assert lab.command("redis", "stop").returncode == 0
    refused = lab.command("redis", "pause")
    assert lab.command("redis", "start").returncode == 0
    assert refused.returncode == 1
    assert refused.stderr == "lab: Redis is stopped; ./lab redis start starts it.\n"


def test_stop_and_start_keep_the_rows_and_leave_no_process(isolated_lab):
    isolated_lab.start(BACKGROUND_RATE="20")
    item = isolated_lab.ask("/items", TEA)[2]
    hits = isolated_lab.ask("/cache/stats")[2]["total_hits"]
    assert wait_until(lambda: isolated_lab.ask("/cache/stats")[2]["total_hits"] > hits, 30)
    ports = (isolated_lab.postgres.port, isolated_lab.redis.port)
    servers = isolated_lab.servers()
    assert set(servers) == {"background", "collector", "postgres", "redis", "repair", "web"}

    stopped = isolated_lab.command("stop")
    assert stopped.stdout == "lab: stopped.\n"
    assert isolated_lab.process.wait(timeout=5) == 0
    assert not [name for name, record in servers.items() if record.alive]
    assert isolated_lab.command("env").returncode == 1
    assert isolated_lab.command("stop").returncode == 0

    # A shell that has read ./lab env means the embedded servers, not somebody else's.
    isolated_lab.start(DATABASE_URL=isolated_lab.postgres.url, REDIS_URL=isolated_lab.redis.url)
    assert set(isolated_lab.servers()) == {"collector", "postgres", "redis", "repair", "web"}
    assert (isolated_lab.postgres.port, isolated_lab.redis.port) == ports
    assert isolated_lab.ask(f"/items/{item['id']}")[2] == item
    assert isolated_lab.ask("/items")[2]["count"] == 6
    assert isolated_lab.send(signal.SIGINT) == 0
    assert not isolated_lab.servers()


def test_a_killed_launcher_leaves_nothing_or_the_next_start_clears_it_up(isolated_lab):
    isolated_lab.start()
    item = isolated_lab.ask("/items", TEA)[2]
    first = isolated_lab.servers()
    isolated_lab.send(signal.SIGKILL)
    assert wait_until(lambda: not any(record.alive for record in first.values()), 40)

    isolated_lab.start()
    second = isolated_lab.servers()
    isolated_lab.kill_with_keeper()
    assert set(isolated_lab.servers()) == set(second)

    isolated_lab.start()
    assert "stopped 5 servers that an earlier lab had left" in isolated_lab.said
    assert not any(record.alive for record in second.values())
    assert isolated_lab.ask(f"/items/{item['id']}")[2] == item


def test_when_gunicorn_ends_the_lab_says_so_and_stops(isolated_lab):
    isolated_lab.start()
    os.kill(isolated_lab.servers()["web"].pid, signal.SIGKILL)
    assert isolated_lab.process.wait(timeout=60) == 1
    assert "Gunicorn ended by itself" in isolated_lab.said
    assert not isolated_lab.servers()


def test_a_broken_application_is_said_at_once(isolated_lab):
    (isolated_lab.root / "itemsite" / "urls.py").write_text("import no_such_module\n")
    isolated_lab.launch()
    assert isolated_lab.process.wait(timeout=60) == 1
    assert "No module named 'no_such_module'" in isolated_lab.said
    assert not isolated_lab.servers()


def test_a_taken_port_is_one_sentence(isolated_lab):
    with socket.socket() as other:
        other.bind(("127.0.0.1", isolated_lab.port))
        other.listen()
        done = isolated_lab.command()
    assert done.returncode == 1
    assert done.stderr == (
        f"lab: Port {isolated_lab.port} is taken by another program; "
        f"choose another one: PORT={isolated_lab.port + 1} ./lab\n"
    )
    assert not isolated_lab.servers()


def test_servers_from_the_environment_are_used_instead(isolated_lab):
    redis_url = os.environ["REDIS_URL"].rpartition("/")[0] + "/7"
    isolated_lab.start(DATABASE_URL=os.environ["DATABASE_URL"], REDIS_URL=redis_url)
    assert set(isolated_lab.servers()) == {"collector", "repair", "web"}
    assert isolated_lab.health() == "ok"
    assert f"REDIS_URL={redis_url}" in isolated_lab.command("env").stdout
    refused = isolated_lab.command("redis", "stop")
    assert refused.returncode == 1
    assert "REDIS_URL" in refused.stderr
    assert isolated_lab.send(signal.SIGTERM) == 0


def test_without_a_place_for_traces_the_lab_goes_without(isolated_lab):
    isolated_lab.start(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1")
    assert "collector" not in isolated_lab.servers()
    assert isolated_lab.ask("/items")[0] == 200
    refused = isolated_lab.command("trace")
    assert refused.returncode == 1
    assert "set TRACES_URL" in refused.stderr
    assert isolated_lab.command("stop").returncode == 0
    assert isolated_lab.command("trace").stderr == "lab: No lab is running; ./lab starts one.\n"
    isolated_lab.start(OTEL_SDK_DISABLED="true")
    assert "collector" not in isolated_lab.servers()
    assert "traceresponse" not in isolated_lab.ask("/items")[1]
