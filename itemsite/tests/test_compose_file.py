"""docker-compose.yml keeps to what both Composes read, to this machine and to its bounds."""

import re

import pytest
import yaml

from itemsite.lab.bootstrap import ROOT

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
#: They end by themselves: a step of the start, and what is only run when asked for.
ONCE = {"migrate", "k6", "test"}
RUNNING = sorted(set(SERVICES) - ONCE)
APP = [name for name in SERVICES if SERVICES[name]["image"] == "cache-lab:local"]
PORTS = {
    "api": "8000",
    "postgres": "5432",
    "redis": "6379",
    "jaeger": "16686",
    "prometheus": "9090",
    "grafana": "3001",
    "locust": "8089",
}


def test_there_is_every_service():
    assert set(RUNNING) == {*PORTS, "repair", "traffic"}


def test_only_what_compose_1_29_reads_too():
    assert {key for key in COMPOSE if not key.startswith("x-")} == {"services", "volumes"}
    assert "!reset" not in (ROOT / "docker-compose.yml").read_text()


def test_ports_are_the_documented_ones_and_on_this_machine_only():
    for name, service in SERVICES.items():
        for port in service.get("ports", []):
            host, default = re.fullmatch(r"([\d.]+):\$\{[A-Z]+_PORT:-(\d+)\}:\d+", port).groups()
            assert (host, default) == ("127.0.0.1", PORTS[name])
    assert {name for name in SERVICES if SERVICES[name].get("ports")} == set(PORTS)


@pytest.mark.parametrize("name", RUNNING)
def test_what_runs_is_watched_started_again_and_bounded_in_its_log(name):
    service = SERVICES[name]
    assert service["healthcheck"]["test"]
    assert service["restart"] == "unless-stopped"
    assert service["logging"]["options"] == {"max-size": "10m", "max-file": "3"}


@pytest.mark.parametrize("name", sorted(set(SERVICES) - set(APP) - {"test"}))
def test_images_are_pinned_by_a_whole_version(name):
    assert re.search(r":v?\d+\.\d+(\.\d+)?(-[a-z]+)?$", SERVICES[name]["image"])


@pytest.mark.parametrize("name", APP)
def test_our_own_code_can_write_nothing_and_become_nobody(name):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_what_is_only_run_when_asked_for_is_not_started_by_up():
    assert {name for name in SERVICES if SERVICES[name].get("profiles")} == {"k6", "test"}


def test_both_stages_of_the_image_have_the_same_pinned_python():
    dockerfile = (ROOT / "docker" / "Dockerfile").read_text()
    bases = set(re.findall(r"^FROM (\S+:\S+)", dockerfile, re.M))
    assert len(bases) == 1
    assert re.search(r":\d+\.\d+\.\d+-", bases.pop())
    assert re.search(r"^USER [1-9]\d*", dockerfile, re.M)
