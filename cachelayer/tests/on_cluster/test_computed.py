"""The tests of ``test_computed.py`` on a Redis Cluster."""

from cachelayer.tests.test_computed import *  # noqa: F403  (pytest collects them)
