"""The tests of ``test_retire_variants.py`` on a Redis Cluster."""

from cachelayer.tests.test_retire_variants import *  # noqa: F403  (pytest collects them)
