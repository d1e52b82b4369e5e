"""The tests of ``test_clear.py`` on a Redis Cluster."""

from cachelayer.tests.test_clear import *  # noqa: F403  (pytest collects them)
