"""Tables for people: drawn by rich if it is installed (the extra ``cli``), else plain lines."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

#: Columns of a table that goes into a pipe or a file.
_PIPE_WIDTH: Final = 160


def write(
    stdout: Any,
    headers: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    is_bold: Sequence[bool] = (),
    lines: bool = False,
) -> None:
    """Write *rows* under *headers* to a command's *stdout*; *lines* draws lines between rows."""
    try:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        for row in (headers, *rows):
            stdout.write("  ".join(row).rstrip())
        return
    table = Table(*headers, show_lines=lines)
    for i, row in enumerate(rows):
        style = "bold" if i < len(is_bold) and is_bold[i] else None
        table.add_row(*(Text(cell, overflow="fold") for cell in row), style=style)
    width = None if stdout.isatty() else _PIPE_WIDTH
    with Console(file=stdout._out, width=width) as console:
        console.print(table)
