"""What the benchmark is doing, to whoever waits; the table alone goes to standard output."""

import sys


def say(sentence: str) -> None:
    sys.stderr.write(f"bench: {sentence}\n")
    sys.stderr.flush()
