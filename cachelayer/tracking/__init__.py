"""How Postgres reports writes: triggers, their notices, and the repair log."""
