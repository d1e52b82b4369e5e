"""Redis: the only way to it, whether it is trusted, and the keys in it."""
