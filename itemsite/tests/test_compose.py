"""Types what people type at the docker compose stack, and sees what is written beside it.

Only with ``--compose``: it starts the whole stack on its real ports.
"""

import json
import re
import time
from http.client import HTTPConnection

import pytest

from itemsite.tests.compose_stack import Stack, skip_unless_possible
from itemsite.tests.running_site import until
from itemsite.tests.test_compose_file import RUNNING

SAMPLE = "localhost:8000/items/550e8400-e29b-41d4-a716-446655440001"
POST = (
    "curl -s -i -X POST localhost:8000/items -H 'Content-Type: application/json' "
    """-d '{"name": "Typed", "price": 1}'"""
)
#: 20 s of clients in the background: seven of ten read lists, three write.
LOOP = r"""
lost=$(mktemp); end=$((SECONDS + 20)); sent=0; wrote=0
while [ $SECONDS -lt $end ]; do
  sent=$((sent + 1))
  if [ $((sent % 10)) -lt 7 ]; then
    curl -s --fail -o /dev/null localhost:8000/items || echo lost >> $lost &
  else
    wrote=$((wrote + 1))
    curl -s --fail -o /dev/null -X POST localhost:8000/items \
      -H 'Content-Type: application/json' -d '{"name": "Looped", "price": 1}' \
      || echo lost >> $lost &
  fi
  sleep 0.05
done
wait
echo "sent $sent wrote $wrote lost $(wc -l < $lost)"
"""
COUNT = (
    "docker compose exec postgres psql -U labuser -d items_db -tAc "
    """"SELECT 'rows=' || count(*) FROM items WHERE name = 'Looped'" """
)

pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module")
def stack(request):
    skip_unless_possible(request)
    stack = Stack()
    try:
        stack.see("docker compose up --build -d", timeout=1100)
        until(lambda: set(states(stack).values()) == {"healthy"}, seconds=120)
        yield stack
    finally:
        stack.type("docker compose down -v --remove-orphans")


@pytest.fixture(autouse=True)
def _well(stack):
    if set(states(stack)) != set(RUNNING):
        # A test that failed has left something stopped.
        stack.type("docker compose start")
    until(lambda: health()["status"] == "ok", seconds=60)
    # Of every worker: a gate that is not closed cannot be without Postgres.
    until(lambda: "\ncachelayer_gate_open 0.0\n" in ask(8000, "/metrics")[1], seconds=60)


def states(stack):
    """What Docker says of the health of every running service."""
    listed = stack.see(
        "docker ps --filter label=com.docker.compose.project=$COMPOSE_PROJECT_NAME "
        """--format '{{.Label "com.docker.compose.service"}} {{.Status}}'"""
    )
    found = re.findall(r"^(\S+) Up .*?(?:\((?:health: )?(\w+)\))?$", listed, re.M)
    return dict(found)


def ask(port, path):
    connection = HTTPConnection("127.0.0.1", port, timeout=15)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def health():
    try:
        return json.loads(ask(8000, "/health")[1])
    except (OSError, ValueError):
        return {"status": "away", "cache": {"gate": {"state": "unknown"}}}


def test_every_service_is_healthy(stack):
    assert states(stack) == dict.fromkeys(RUNNING, "healthy")
    stack.see("docker compose ps", "healthy", "127.0.0.1:8000->8000/tcp")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("docker compose exec redis redis-cli ping", ["PONG"]),
        ('docker compose exec redis redis-cli keys "item:*"', ["item:550e8400-e29b-41d4-a716-"]),
        (
            "docker compose exec postgres pg_isready -U labuser -d items_db",
            ["accepting connections"],
        ),
        (
            "docker compose exec postgres psql -U labuser -d items_db "
            '-c "SELECT id, name, price FROM items LIMIT 10;"',
            ["name", "price", "rows)"],
        ),
        ("docker compose logs api --tail=50", ["Booting worker"]),
        ("docker compose exec api python manage.py cache_verify", ["0 differences"]),
        ("docker compose exec api python manage.py check --database default", ["no issues"]),
    ],
)
def test_it_shows_what_it_should_as_typed(stack, command, words):
    if "cache_verify" not in command:
        stack.see(f"curl -s {SAMPLE}", "Espresso machine")
    stack.see(command, *words)


def test_every_address_answers(stack):
    for port, path in [
        (8000, "/items"),
        (8000, "/metrics"),
        (3001, "/api/health"),
        (9090, "/-/healthy"),
        (16686, "/api/services"),
        (8089, "/"),
    ]:
        assert ask(port, path)[0] == 200, (port, path)


def test_prometheus_scrapes_the_api_and_has_the_alerts(stack):
    def up():
        result = json.loads(ask(9090, "/api/v1/query?query=up")[1])["data"]["result"]
        return [sample["value"][1] for sample in result] == ["1"]

    until(up, seconds=60)
    groups = json.loads(ask(9090, "/api/v1/rules")[1])["data"]["groups"]
    assert [group["name"] for group in groups] == ["cache", "service"]


def test_the_api_is_nobody_and_cannot_write(stack):
    stack.see("docker compose exec api id -u", "10001")
    typed = stack.type("docker compose exec api touch /app/x")
    assert typed.code != 0
    assert "Read-only file system" in typed.shown


def test_without_redis_it_is_degraded_and_goes_on(stack):
    stack.see(
        f"curl -s -X PATCH {SAMPLE} -H 'Content-Type: application/json' -d '{{\"price\": 1}}'"
    )
    stack.see("docker compose stop redis")
    answer = stack.see("curl -s localhost:8000/health", '"status": "degraded"')
    assert json.loads(answer)["dependencies"] == {"redis": "down", "postgres": "ok"}
    stack.see(f"curl -s -i {SAMPLE}", "200 OK", "X-Cache: BYPASS", '"price":1')
    stack.see(POST, "201 Created")
    stack.see(
        f"curl -s -X PATCH {SAMPLE} -H 'Content-Type: application/json' -d '{{\"price\": 2}}'"
    )
    stack.see("docker compose start redis")
    started = time.monotonic()
    until(lambda: health()["status"] == "ok", seconds=30)
    took = time.monotonic() - started
    stack.see(f"curl -s {SAMPLE}", '"price":2')
    assert took < 5, f"ok only {took:.1f} s after the start"


def test_without_postgres_hits_are_served_and_it_comes_back(stack):
    stack.see(f"curl -s {SAMPLE}")
    stack.see("docker compose stop postgres")
    stack.see(f"curl -s -i {SAMPLE}", "200 OK", "X-Cache: HIT")
    stack.see(POST, "503", "Retry-After")
    stack.see("curl -s -i localhost:8000/health", "503", '"postgres": "down"')
    stack.see("docker compose start postgres")
    until(lambda: health()["status"] == "ok", seconds=60)
    stack.see(POST, "201 Created")


def test_a_loop_of_curls_loses_no_request(stack):
    before = int(stack.see(COUNT).partition("rows=")[2])
    shown = stack.see(LOOP, "lost 0")
    wrote = int(re.search(r"wrote (\d+)", shown)[1])
    assert wrote > 20
    assert int(stack.see(COUNT).partition("rows=")[2]) == before + wrote


def test_a_stopped_api_answers_what_is_in_flight(stack):
    """A PATCH that waits for a lock when SIGTERM comes is carried out and answered."""
    row = "550e8400-e29b-41d4-a716-446655440003"
    shown = stack.see(
        f"""
        docker compose exec -T postgres psql -U labuser -d items_db -c "BEGIN" \
          -c "SELECT 1 FROM items WHERE id = '{row}' FOR UPDATE" \
          -c "SELECT pg_sleep(6)" -c "ROLLBACK" > /dev/null &
        sleep 3
        curl -s -o /dev/null -w 'answer %{{http_code}} after %{{time_total}}\n' -X PATCH \
          localhost:8000/items/{row} -H 'Content-Type: application/json' -d '{{"price": 5}}' &
        sleep 1
        docker compose stop api
        wait
        docker inspect --format 'exit {{{{.State.ExitCode}}}}' $(docker compose ps -aq api)
        """,
        "answer 200",
        "exit 0",
    )
    waited = float(re.search(r"after ([\d.]+)", shown)[1])
    assert waited > 1, "it was in flight when the stop came"
    stack.see("docker compose start api")


def test_everything_survives_a_restart(stack):
    stack.see(
        f"curl -s -X PATCH {SAMPLE} -H 'Content-Type: application/json' -d '{{\"price\": 7}}'"
    )
    stack.see("docker compose restart", timeout=300)
    until(lambda: health()["status"] == "ok", seconds=120)
    until(lambda: set(states(stack).values()) == {"healthy"}, seconds=120)
    stack.see(f"curl -s {SAMPLE}", '"price":7')
    stack.see("docker compose exec api python manage.py cache_verify", "0 differences")


def test_the_tests_run_in_a_container(stack):
    stack.see(
        "docker compose run --rm test ./lab test items/tests/test_samples.py -q",
        "passed",
        timeout=1100,
    )


def test_down_takes_the_data_along(stack):
    """The last: it ends the stack, and starts it anew."""
    stack.see("docker compose down -v", timeout=300)
    left = stack.see(
        "docker volume ls -q --filter name=$COMPOSE_PROJECT_NAME; docker ps -aq "
        "--filter label=com.docker.compose.project=$COMPOSE_PROJECT_NAME"
    )
    assert left.split() == []
    stack.see("docker compose up -d", timeout=600)
    until(lambda: health()["status"] == "ok", seconds=120)
    stack.see(f"curl -s {SAMPLE}", '"price":1249.0')
