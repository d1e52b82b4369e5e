"""Command-line clients of the embedded servers, for people whose system has none."""

from pathlib import Path


def link(name: Path, program: Path) -> None:
    """Make *name* a symbolic link to *program*, in place of an older link."""
    if name.is_symlink() and name.readlink() == program:
        return
    # Replaced in one step: another ./lab may be doing the same.
    new = name.with_name(f".{name.name}.new")
    new.unlink(missing_ok=True)
    new.symlink_to(program)
    new.replace(name)
