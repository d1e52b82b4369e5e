"""Listens to what the protocol announces; nothing in the protocol imports it."""
