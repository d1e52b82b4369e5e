"""The protocol's model: no interleaving gives a stale read; without any part of it, one does."""

from pathlib import Path

import pytest

from cachelayer.spec import check
from cachelayer.spec.configurations import CONFIGURATIONS
from cachelayer.spec.mutants import MUTANTS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(autouse=True)
def _tools():
    sentence = check.missing_tools()
    if sentence and check.may_skip():
        pytest.skip(sentence)
    assert not sentence, sentence


@pytest.mark.parametrize("name", [c.name for c in CONFIGURATIONS if not c.long])
def test_no_interleaving_gives_a_stale_read(name):
    result = check.check(*check.named([name]))
    assert result.as_expected, result


@pytest.mark.parametrize("name", [m.name for m in MUTANTS if not m.long])
def test_without_it_there_is_a_stale_read(name):
    result = check.check(*check.named([name]))
    assert result.as_expected, result


def test_the_readme_names_everything_that_is_checked():
    readme = Path(check.__file__).with_name("README.md").read_text()
    for variant in (*CONFIGURATIONS, *MUTANTS):
        assert f"| `{variant.name}`" in readme


def test_without_the_tools_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setenv("PATH", "")
    assert check.main([]) == 2
    assert "install spin and gcc" in capsys.readouterr().err


def test_an_unknown_name_is_refused(capsys):
    assert check.main(["no-such-thing"]) == 2
    assert "--list" in capsys.readouterr().err
