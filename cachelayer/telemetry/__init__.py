"""Listens to the protocol's events. The protocol does not import it."""
