"""The system's own Chromium, for the tests of the pages and for their pictures."""

import shutil
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Playwright

NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
NO_CHROMIUM: Final = (
    "There is no Chromium on PATH. Install it to look at the pages "
    "(on Debian and Ubuntu: apt install chromium)."
)
_FLAGS: Final = (
    # Root, as in a container, has no sandbox.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # A small /dev/shm, as in a container, crashes pages.
    "--disable-dev-shm-usage",
)


def find() -> str | None:
    """Where it is; None if there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def launch(playwright: "Playwright") -> "Browser":
    """Start it, without a window."""
    return playwright.chromium.launch(executable_path=find(), args=list(_FLAGS))
