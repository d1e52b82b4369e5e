"""The changelog says how to follow: every former name that still works is in it."""

import pytest

from cachelayer import conf
from itemsite.lab.bootstrap import ROOT
from itemsite.tests.documented import CHANGELOG

TEXT = CHANGELOG.read_text()


def test_every_module_that_is_an_alias_is_in_it():
    """A module that warns when it is imported is an alias, for one release."""
    aliases = [
        path.stem
        for path in (ROOT / "cachelayer").glob("*.py")
        if "DeprecationWarning" in path.read_text()
    ]
    assert "rest" in aliases
    assert [name for name in aliases if f"- `cachelayer.{name}`:" not in TEXT] == []


def test_every_former_name_of_an_option_is_in_it():
    assert conf.RENAMED
    for former, name in conf.RENAMED.items():
        assert f"`{former}` is called `{name}`" in TEXT


@pytest.mark.parametrize("name", ["LICENSE", "cachelayer/py.typed", ".editorconfig"])
def test_what_tools_look_for_is_there(name):
    assert (ROOT / name).is_file()
