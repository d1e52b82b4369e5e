"""Postgres tells what was written: triggers, their notices, and the repair log."""
