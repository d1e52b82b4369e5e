"""Tests that do not hold on a Redis Cluster, and why."""

LEFT_OUT: dict[str, str] = {}
