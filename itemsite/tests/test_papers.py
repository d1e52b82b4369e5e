"""What contributors read names files, commands and modules that exist."""

import re
from importlib.util import find_spec

import pytest

from cachelayer import conf
from itemsite.lab import cli
from itemsite.lab.bootstrap import ROOT

PAPERS = {name: (ROOT / f"{name}.md").read_text() for name in ("CONTRIBUTING", "SECURITY")}
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
EVERYTHING = "\n".join([*PAPERS.values(), CHANGELOG])


def test_every_file_that_is_linked_exists():
    links = re.findall(r"\]\((?!http)([^)#]+)\)", EVERYTHING)
    assert len(links) >= 5
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_path_that_is_named_exists():
    """Those of CONTRIBUTING; the changelog also names what is gone."""
    named = re.findall(r"`((?:cachelayer|docs|itemsite)/[\w./-]+)`", PAPERS["CONTRIBUTING"])
    assert len(named) > 5
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_command_of_the_lab_exists():
    named = set(re.findall(r"\./lab ([a-z]+)", EVERYTHING))
    assert {"test", "servers", "imports"} <= named
    assert named <= set(cli._COMMANDS)


def test_every_module_that_is_run_exists():
    named = set(re.findall(r"python -m ([\w.]+)", EVERYTHING))
    assert named
    assert [name for name in named if not find_spec(name)] == []


def test_every_former_name_of_a_module_is_in_the_changelog():
    """A module that warns when it is imported is an alias, for one release."""
    aliases = [
        path.stem
        for path in (ROOT / "cachelayer").glob("*.py")
        if "DeprecationWarning" in path.read_text()
    ]
    assert "rest" in aliases
    assert [name for name in aliases if f"- `cachelayer.{name}`:" not in CHANGELOG] == []


def test_every_former_name_of_an_option_is_in_the_changelog():
    assert conf.RENAMED
    for former, name in conf.RENAMED.items():
        assert f"`{former}` is called `{name}`" in CHANGELOG


@pytest.mark.parametrize("name", ["LICENSE", "cachelayer/py.typed", ".editorconfig"])
def test_what_tools_look_for_is_there(name):
    assert (ROOT / name).is_file()
