"""Redis: one way to it, whether it may be believed, and under which keys."""
