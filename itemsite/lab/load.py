"""``./lab load``: Locust, pointed at the running lab."""

import os
import shlex
import sys
from collections.abc import Sequence

from itemsite.environment import for_child
from itemsite.lab.bootstrap import ROOT
from itemsite.lab.folder import State


def run(arguments: Sequence[str], state: State) -> int:
    """Become Locust; its page is on 127.0.0.1:8089 unless *arguments* say otherwise."""
    command = [sys.executable, "-m", "locust", "-f", str(ROOT / "loadtest" / "locustfile.py")]
    command += ["--host", state.url, "--web-host", "127.0.0.1"]
    if "redis" in state.embedded:
        # So that the Redis outage happens without anybody at a terminal.
        redis = (
            f"cd {shlex.quote(str(ROOT))} && {shlex.quote(sys.executable)} -m itemsite.lab redis"
        )
        command += ["--outage-command", f"{redis} stop", "--recovery-command", f"{redis} start"]
    # The last word is the caller's.
    os.execve(sys.executable, [*command, *arguments], for_child({}))
