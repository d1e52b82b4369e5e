"""A second project's models, to try the cache layer on: every kind of column and relation."""
