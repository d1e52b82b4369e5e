"""``./lab docs``: builds the documentation with Sphinx, without the network."""

import subprocess
import sys
from pathlib import Path

from itemsite.lab.bootstrap import ROOT
from itemsite.lab.errors import LabError


def build(source: Path, out: Path) -> None:
    """Build the pages of *source* as HTML into *out*.

    Strict: raises ``LabError`` on any warning, after Sphinx has printed all of them.
    """
    options = ["-W", "--keep-going", "-n", "-q", "-b", "html"]
    command = [sys.executable, "-m", "sphinx", *options, str(source), str(out)]
    if subprocess.run(command, cwd=ROOT).returncode:
        raise LabError("The documentation has the faults above; mend them, then run ./lab docs.")
