"""The protocol as a model, and the command that checks it exhaustively."""
