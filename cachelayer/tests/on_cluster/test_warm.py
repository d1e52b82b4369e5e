"""The tests of ``test_warm.py`` on a Redis Cluster."""

from cachelayer.tests.test_warm import *  # noqa: F403  (pytest collects them)
