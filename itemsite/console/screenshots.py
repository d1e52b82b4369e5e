"""Makes the README's pictures of the console, from a lab that runs.

    ./lab                                              # in one terminal
    .venv/bin/python -m itemsite.console.screenshots   # in another, after ./lab test has
                                                       # installed Playwright

What they show has happened: a write in the light one, an outage in the dark one, a race in
the third. Redis is stopped and started meanwhile.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from itemsite.console.chromium import NO_CHROMIUM, find, launch

if TYPE_CHECKING:
    from playwright.sync_api import Page

PICTURES: Final = Path(__file__).parent / "pictures"
#: Milliseconds for whatever the lab does.
_PATIENCE: Final = 120_000
#: Until the trace of a request is there and the dot has come to rest.
_SETTLE: Final = 3_500
#: So that one request after the other is seen in the picture.
_STEP: Final = 700
_SIZE: Final = (1280, 730)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Help)
    parser.add_argument("--url", default="http://127.0.0.1:8000/", help="where the lab answers")
    parser.add_argument("--out", type=Path, default=PICTURES, help="the folder for the pictures")
    options = parser.parse_args()
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return _give_up("Playwright is not installed. ./lab test installs it into .venv.")
    if find() is None:
        return _give_up(NO_CHROMIUM)
    options.out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = launch(playwright)
        for scheme, scene in (("light", _write), ("dark", _outage), ("light", _race)):
            width, height = _SIZE
            page = browser.new_page(
                viewport={"width": width, "height": height},
                color_scheme=scheme,  # type: ignore[arg-type]
            )
            page.set_default_timeout(_PATIENCE)
            page.goto(options.url)
            page.locator("#health.good").wait_for()
            sys.stdout.write(f"{scene(page, options.out)}\n")
            page.close()
        browser.close()
    return 0


def _write(page: "Page", out: Path) -> Path:
    """An update, and the read that sees it."""
    for _ in range(3):
        page.click("#tour-next")
    _press(page, "many")
    _follow(page, "update", "read", "update")
    page.wait_for_timeout(_SETTLE)
    return _save(page, out / "console.png")


def _outage(page: "Page", out: Path) -> Path:
    """Redis is stopped, and a write goes into the repair log; it is started again after."""
    for _ in range(5):
        page.click("#tour-next")
    _press(page, "read", "read", "update")
    page.click('[data-todo="stop-redis"]')
    page.locator("#health.bad").wait_for()
    _follow(page, "update", "read", "update")
    page.wait_for_timeout(_SETTLE)
    path = _save(page, out / "outage.png")
    page.click('[data-fault="start-redis"]')
    page.locator("#health.good").wait_for()
    return path


def _race(page: "Page", out: Path) -> Path:
    page.click("#race-start")
    page.locator("#race-start:disabled").wait_for()
    page.locator("#race-start:not(:disabled)").wait_for()
    path = out / "race.png"
    page.locator("section.race").screenshot(path=path)
    return path


def _follow(page: "Page", *names: str) -> None:
    """Press the tour's buttons, one after the other's answer."""
    for name in names:
        page.click(f'[data-todo="{name}"]')
        page.locator(f'[data-todo="{name}"]:not(:disabled)').wait_for()
        page.wait_for_timeout(_STEP)


def _press(page: "Page", *names: str) -> None:
    for name in names:
        page.click(f'[data-do="{name}"]')
        page.locator(f'[data-do="{name}"]:not([aria-busy])').wait_for()
        page.wait_for_timeout(_STEP)


def _save(page: "Page", path: Path) -> Path:
    # The button that was pressed last would be drawn as pressed.
    page.mouse.move(0, 0)
    page.evaluate("scrollTo(0, 0)")
    page.screenshot(path=path)
    return path


def _give_up(sentence: str) -> int:
    sys.stderr.write(f"{sentence}\n")
    return 1


class _Help(argparse.RawDescriptionHelpFormatter):
    """Keeps the line breaks of the text above."""


if __name__ == "__main__":
    sys.exit(main())
