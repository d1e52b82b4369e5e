"""The README says what is so: every name in it exists, every option is listed with its default."""

import re
from dataclasses import fields
from pathlib import Path

import pytest
from django.core.management import get_commands
from django.urls import resolve

from cachelayer.management.commands import cache_settings
from itemsite.environment import Environment

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def test_the_table_of_options_is_the_one_that_the_code_makes():
    """Mend it with ``./lab manage cache_settings --markdown``."""
    assert cache_settings.markdown() in README


def test_every_command_that_is_named_exists():
    named = set(re.findall(r"(?:manage\.py|lab manage) ([a-z_]+)", README))
    assert named
    assert named - set(get_commands()) == set()


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`[A-Z, ]*GET (/[a-z/]*)", README))))
def test_every_address_that_is_named_is_served(path):
    assert resolve(path)


def test_every_environment_variable_that_is_named_is_read():
    [paragraph] = re.findall(r"^Environment: (.*?)\n\n", README, re.MULTILINE | re.DOTALL)
    named = {name.lower() for name in re.findall(r"`([A-Z_]+)(?:=1)?`", paragraph)}
    read = {field.name for field in fields(Environment)}
    assert named <= read


def test_every_file_that_is_linked_exists():
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_check_that_is_named_exists():
    checks = "".join(path.read_text() for path in (ROOT / "cachelayer").glob("checks*.py"))
    assert [
        check for check in re.findall(r"cachelayer\.[EW]\d{3}", README) if check not in checks
    ] == []


def test_every_alert_is_in_the_table_and_no_other():
    [table] = re.findall(r"^\| alert \| says \|\n(.*?)\n\n", README, re.MULTILINE | re.DOTALL)
    rules = (ROOT / "docker" / "prometheus" / "alerts.yml").read_text()
    listed = re.findall(r"`([A-Za-z]+)`", "".join(re.findall(r"^\|[^|]+\|", table, re.MULTILINE)))
    assert sorted(listed) == sorted(re.findall(r"- alert: (\w+)", rules))
