"""The protocol's model: no interleaving gives a stale read; without any part of it, one does."""

import pytest

from cachelayer.model import check
from cachelayer.model.variants import CONFIGURATIONS, MUTANTS

pytestmark = pytest.mark.timeout(600)


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


@pytest.mark.parametrize("name", [m.name for m in MUTANTS])
def test_without_it_there_is_a_stale_read(name):
    result = check.check(*check.named([name]))
    assert result.as_expected, result
