"""The lab behind ``./lab``: real servers from Python packages, started and stopped together."""
