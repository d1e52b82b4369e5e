"""The protocol: how a key is read, written, invalidated, repaired and reconciled."""
