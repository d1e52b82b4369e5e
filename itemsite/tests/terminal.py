"""Runs shell commands as if somebody had typed them: on a terminal, not in a pipe."""

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

#: Rows and columns; on a terminal that says 0, psql asks for a key.
_SIZE = (50, 200)
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True)
class Typed:
    """What came of a command: its exit code and what the terminal showed, without colours."""

    code: int
    shown: str


def type_in(command: str, *, cwd: Path, env: Mapping[str, str], timeout: float = 120.0) -> Typed:
    """Run *command* in bash on a separate terminal, to its end or until *timeout*."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", *_SIZE, 0, 0))
    process = subprocess.Popen(
        ["bash", "-c", command],
        cwd=cwd,
        env={**env, "TERM": "dumb"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    pieces: list[bytes] = []
    reader = threading.Thread(target=_read, args=(ours, pieces), daemon=True)
    reader.start()
    try:
        code = process.wait(timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        pieces.append(f"\n(not over after {timeout:.0f} s)".encode())
        code = -signal.SIGKILL
    reader.join(5)
    os.close(ours)
    shown = b"".join(pieces).decode(errors="replace").replace("\r\n", "\n")
    return Typed(code, _COLOURS.sub("", shown))


def _read(terminal: int, pieces: list[bytes]) -> None:
    """Until the last process that has the terminal open is gone: then it is an OSError."""
    try:
        while piece := os.read(terminal, 65536):
            pieces.append(piece)
    except OSError:
        return
