"""Says what the benchmark is doing, on standard error; standard output has the table alone."""

import sys


def say(sentence: str) -> None:
    sys.stderr.write(f"bench: {sentence}\n")
    sys.stderr.flush()
