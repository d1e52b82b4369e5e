"""The tests of ``test_write.py`` on a Redis Cluster."""

from cachelayer.tests.test_write import *  # noqa: F403  (pytest collects them)
