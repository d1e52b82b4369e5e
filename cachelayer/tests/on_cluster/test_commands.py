"""The tests of ``test_commands.py`` on a Redis Cluster."""

from cachelayer.tests.test_commands import *  # noqa: F403
