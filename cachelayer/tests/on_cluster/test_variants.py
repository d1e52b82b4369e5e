"""The tests of ``test_variants.py`` on a Redis Cluster."""

from cachelayer.tests.test_variants import *  # noqa: F403  (pytest collects them)
