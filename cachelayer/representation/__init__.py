"""Rows as bytes: what is registered, how it is rendered, and what else it shows."""
