"""Runs Postgres as somebody else when root starts the lab: it refuses to run as root.

No account is made and no permission of the caller's folders is changed. Where the
account cannot get into the checkout (say, under /root), the process keeps the one
capability that lets it look past the folders on the way.
"""

import os
import pwd
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from itemsite.lab.errors import LabError

_INSTEAD = "run ./lab as an ordinary user, or set DATABASE_URL to a Postgres of your own"


@dataclass(frozen=True, slots=True)
class Account:
    """An ordinary user, by number."""

    uid: int
    gid: int

    @classmethod
    def for_directory(cls, directory: Path) -> Self | None:
        """Who is to run a Postgres with its data in *directory*; ``None``: the caller."""
        owner = directory.stat() if directory.exists() else None
        if os.geteuid() != 0:
            if owner and owner.st_uid != os.geteuid():
                raise LabError(
                    f"{directory} belongs to another user; run ./lab as that user, "
                    "or work in a clone of your own."
                )
            return None
        if owner and owner.st_uid != 0:
            return cls(owner.st_uid, owner.st_gid)
        for name in ("postgres", "nobody"):
            try:
                entry = pwd.getpwnam(name)
            except KeyError:
                continue
            return cls(entry.pw_uid, entry.pw_gid)
        raise LabError(f"Postgres refuses to run as root and there is no user nobody; {_INSTEAD}.")

    def own(self, directory: Path) -> None:
        os.chown(directory, self.uid, self.gid)

    def call(self, command: Sequence[str], directory: Path) -> tuple[list[str], dict[str, Any]]:
        """The command line and ``Popen`` arguments that run *command* in *directory*."""
        plain: dict[str, Any] = {"user": self.uid, "group": self.gid, "extra_groups": []}
        try:
            reached = subprocess.run(
                ["/bin/sh", "-c", 'cd "$1" && "$2" --version', "sh", str(directory), command[0]],
                capture_output=True,
                cwd="/",
                **plain,
            )
        except (OSError, ValueError, subprocess.SubprocessError):
            raise LabError(
                f"Postgres refuses to run as root and this root may not become another user; "
                f"{_INSTEAD}."
            ) from None
        if reached.returncode == 0:
            return list(command), plain
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            raise LabError(
                "Postgres refuses to run as root and other users cannot enter this folder; "
                "install setpriv (package util-linux), move the checkout to where everybody may "
                f"enter, or {_INSTEAD}."
            )
        return [
            setpriv,
            f"--reuid={self.uid}",
            f"--regid={self.gid}",
            "--clear-groups",
            "--inh-caps=+dac_override",
            "--ambient-caps=+dac_override",
            # access(2) would leave the capability out of account without it.
            "--securebits=+no_setuid_fixup",
            "--",
            *command,
        ], {}
