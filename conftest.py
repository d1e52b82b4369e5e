"""Every test starts with an empty Redis, a closed gate and no counts."""

from collections.abc import Iterator

import pytest

from cachelayer import conf, counters, link
from cachelayer.gate import gate


@pytest.fixture(autouse=True)
def _fresh_cache() -> Iterator[None]:
    conf.get.cache_clear()
    gate.reset()
    counters.flush()
    link.client().flushdb()
    yield
    gate.reset()
