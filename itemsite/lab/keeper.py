"""Stops the servers when the process that started them is gone, however it went.

The starter holds the other end of standard input; a pipe is closed even when its
owner is killed. On a clean stop there is nothing left to do here.
"""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from itemsite.lab.process import stop_recorded


class Keeper:
    """Hold on to it for as long as the servers under *folder* are wanted."""

    def __init__(self, folder: Path, *, remove: bool = False, pass_fds: Sequence[int] = ()) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "itemsite.lab.keeper", str(folder), *["--remove"] * remove],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            # A lock that is passed on is held until both are gone.
            pass_fds=pass_fds,
        )

    def release(self) -> None:
        """Let it clean up what is left, and wait for it."""
        self._process.communicate()


def main(folder: Path, remove: bool) -> None:
    sys.stdin.buffer.read()
    stop_recorded(folder)
    if remove:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), "--remove" in sys.argv[2:])
