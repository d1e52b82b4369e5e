"""The documentation as its tests read it: the files, and their blocks of code."""

import re
from dataclasses import dataclass
from pathlib import Path

from itemsite.lab.bootstrap import ROOT

DOCS = ROOT / "docs"
README = ROOT / "README.md"
RUNBOOK = ROOT / "RUNBOOK.md"
PAGES = sorted(DOCS.rglob("*.md"))
#: What else describes the code as it is. The changelog does not: it also says what was.
PAPERS = [ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]
CHANGELOG = ROOT / "CHANGELOG.md"
#: All that people read, but for the runbook, which has a test of its blocks.
EVERYTHING = "\n".join(path.read_text() for path in (README, *PAGES, *PAPERS))

#: With the paragraph after it, which may be the next block.
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```\n(?=\n?(.*?)(?:\n\n|\Z))", re.M | re.S)


@dataclass(frozen=True)
class Block:
    """A block of code, and the paragraph after it."""

    file: str
    number: int
    language: str
    script: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.file}-{self.number}"

    @property
    def shows(self) -> list[str]:
        """What must be in the output: the words in backticks after "You should see"."""
        return re.findall(r"`([^`]+)`", self.sentence)


def blocks(path: Path, *languages: str) -> list[Block]:
    """The blocks in one of the *languages*, in the order of the page."""
    found = [match for match in _BLOCK.findall(path.read_text()) if match[0] in languages]
    return [Block(path.stem, number, *match) for number, match in enumerate(found)]
