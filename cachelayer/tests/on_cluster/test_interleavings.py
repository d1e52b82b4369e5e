"""The tests of ``test_interleavings.py`` on a Redis Cluster."""

from cachelayer.tests.test_interleavings import *  # noqa: F403  (pytest collects them)
