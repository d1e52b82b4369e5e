"""Types the tutorial of several hosts, with ``--compose``; without, holds what can be held."""

import re

import pytest
import yaml

from itemsite.lab.bootstrap import ROOT
from itemsite.tests.compose_stack import Stack, skip_unless_possible
from itemsite.tests.documented import DOCS, blocks

FILE = "docker-compose.scale.yml"
COMPOSE = yaml.safe_load((ROOT / FILE).read_text())
SERVICES = COMPOSE["services"]
#: What has done its work when the stack is up.
ONCE = {"migrate", "redis-cluster"}
RUNNING = sorted(set(SERVICES) - ONCE)
NODES = [f"redis-{n}" for n in range(1, 7)]
OURS = [name for name in SERVICES if SERVICES[name]["image"] == "cache-lab:local"]
HOSTS = ["api-1", "api-2", "api-3"]
TUTORIAL = DOCS / "tutorial" / "scale.md"
PORTS = {"8000", "8404", "9090", "8089"}


def config(path):
    return (ROOT / "docker" / path).read_text()


def test_there_is_every_service():
    assert set(RUNNING) == {
        *HOSTS,
        *("haproxy", "pgbouncer", "postgres", "prometheus", "repair-1", "repair-2"),
        *NODES,
        *("locust", "locust-worker-1", "locust-worker-2"),
    }


def test_only_what_compose_1_29_reads_too():
    wanted = {"services", "networks", "volumes"}
    assert {key for key in COMPOSE if not key.startswith("x-")} == wanted


def test_ports_are_on_this_machine_only():
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    found = [re.fullmatch(r"127\.0\.0\.1:\$\{[A-Z]+_PORT:-(\d+)\}:\d+", port) for port in published]
    assert {match[1] for match in found} == PORTS


@pytest.mark.parametrize("name", RUNNING)
def test_what_runs_is_watched_started_again_and_bounded_in_its_log(name):
    service = SERVICES[name]
    assert service["healthcheck"]["test"]
    assert service["restart"] == "unless-stopped"
    assert service["logging"]["options"] == {"max-size": "10m", "max-file": "3"}


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_images_are_pinned_by_a_whole_version_or_built_here(name):
    image = SERVICES[name]["image"]
    built = image.endswith(":local") and "build" in SERVICES[name]
    assert built or re.search(r":v?\d+\.\d+(\.\d+)?(-[a-z]+)?$", image)


def test_images_are_those_of_the_other_stack():
    """One version of each to keep up to date."""
    other = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    theirs = {service["image"] for service in other.values()}
    ours = {service["image"] for service in SERVICES.values()}
    assert {image.partition(":")[0] for image in ours - theirs} == {
        "cache-lab-pgbouncer",
        "haproxy",
    }


@pytest.mark.parametrize("name", [*OURS, "pgbouncer"])
def test_our_own_code_can_write_nothing_and_become_nobody(name):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_every_file_that_is_mounted_exists():
    mounted = [v for service in SERVICES.values() for v in service.get("volumes", [])]
    paths = {volume.partition(":")[0] for volume in mounted if volume.startswith("./")}
    assert paths
    assert [path for path in paths if not (ROOT / path).is_dir()] == []


def test_haproxy_and_prometheus_know_every_host():
    haproxy = config("haproxy/haproxy.cfg")
    for backend in ("well", "alive"):
        [section] = re.findall(rf"^backend {backend}\n(.*?)(?=^\S|\Z)", haproxy, re.M | re.S)
        named = dict(re.findall(r"^ +server (\S+) (\S+)", section, re.M))
        assert named == {name: f"{name}:8000" for name in HOSTS}
    jobs = yaml.safe_load(config("prometheus/scale.yml"))["scrape_configs"]
    targets = {job["job_name"]: job["static_configs"][0]["targets"] for job in jobs}
    assert targets == {"api": [f"{name}:8000" for name in HOSTS], "haproxy": ["haproxy:8404"]}


def test_every_name_by_which_a_host_is_asked_is_allowed():
    for name in HOSTS:
        allowed = SERVICES[name]["environment"]["ALLOWED_HOSTS"].split(",")
        assert {"localhost", "127.0.0.1", "haproxy", *HOSTS} <= set(allowed)


def test_the_nodes_of_the_cluster_are_where_they_are_looked_for():
    addresses = [SERVICES[name]["networks"]["default"]["ipv4_address"] for name in NODES]
    assert addresses == [f"172.31.250.{last}" for last in range(201, 207)]
    environment = SERVICES["api-1"]["environment"]
    others = environment["REDIS_CLUSTER"].split(",")
    named = [environment["REDIS_URL"].removeprefix("redis://").removesuffix("/0"), *others]
    assert named == [f"{address}:6379" for address in addresses[:3]]
    [lasts] = re.findall(r"^for last in (.*); do$", config("redis-cluster/create.sh"), re.M)
    assert lasts.split() == [address.rpartition(".")[2] for address in addresses]
    assert {*SERVICES["redis-cluster"]["depends_on"]} == {*NODES}


def test_every_host_reaches_postgres_through_a_pooler_of_transactions_and_migrations_do_not():
    for name in [*HOSTS, "repair-1", "repair-2"]:
        assert "@pgbouncer:6432/" in SERVICES[name]["environment"]["DATABASE_URL"]
        assert SERVICES[name]["environment"]["PGBOUNCER"] == "1"
    assert "@postgres:5432/" in SERVICES["migrate"]["environment"]["DATABASE_URL"]
    pooler = dict(re.findall(r"^(\w+) = (\S+)$", config("pgbouncer/pgbouncer.ini"), re.M))
    assert (pooler["pool_mode"], pooler["listen_port"]) == ("transaction", "6432")
    # The hosts' own time limits do not pass.
    assert "statement_timeout=15s" in SERVICES["postgres"]["command"]


def test_the_tutorial_names_services_and_ports_that_there_are():
    scripts = "\n".join(block.script for block in blocks(TUTORIAL, "bash"))
    named = re.findall(r"docker compose (?:kill|start|stop|exec(?: -T)?) (\S+)", scripts)
    assert len(named) > 8
    assert set(named) <= set(SERVICES)
    assert set(re.findall(r"127\.0\.0\.1:(\d+)", scripts)) == PORTS
    assert f"COMPOSE_FILE={FILE}" in scripts


@pytest.fixture(scope="module")
def stack(request):
    skip_unless_possible(request)
    stack = Stack(FILE)
    try:
        yield stack
    finally:
        stack.type("docker compose down -v --remove-orphans")


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("block", blocks(TUTORIAL, "bash"), ids=str)
def test_the_tutorial_shows_what_it_says(stack, block):
    assert block.sentence.startswith("You should see "), block
    # The tests' own name, so that nobody's stack is taken away.
    script = re.sub(r" COMPOSE_PROJECT_NAME=\S+", "", block.script)
    stack.see(f"set -e\n{script}", *block.shows, timeout=1700)
