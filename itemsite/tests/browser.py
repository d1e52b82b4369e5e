"""A real browser for tests: Playwright drives the Chromium that the system has.

``page`` fails its test on an error in the console and on a request that would leave
this machine. A test asks for another size or theme by parametrizing ``viewport``
(width, height) and ``color_scheme`` (``"light"``, ``"dark"``), and names the HTTP
errors that it provokes, which Chromium reports too, in ``expected_statuses``.
"""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from itemsite.console import chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page, Request, Route

_HERE = {"127.0.0.1", "localhost", "::1"}
#: Milliseconds; a machine that runs other things too is slow, not broken.
_PATIENCE = 30_000


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """Chromium, for the tests of one module."""
    if chromium.find() is None:
        pytest.skip(chromium.NO_CHROMIUM)
    from playwright.sync_api import sync_playwright

    with pytest.MonkeyPatch.context() as patch:
        # Playwright's synchronous interface runs an event loop under the test, and
        # Django would take the test for asynchronous code.
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        with sync_playwright() as playwright:
            browser = chromium.launch(playwright)
            yield browser
            browser.close()


@pytest.fixture
def viewport() -> tuple[int, int]:
    """Width and height of the page."""
    return (1440, 900)


@pytest.fixture
def color_scheme() -> str:
    """What the system prefers: light or dark."""
    return "light"


@pytest.fixture
def expected_statuses() -> set[int]:
    """HTTP errors that the test provokes; it adds to this set."""
    return set()


@pytest.fixture
def page(
    browser: "Browser",
    viewport: tuple[int, int],
    color_scheme: Any,
    expected_statuses: set[int],
) -> "Iterator[Page]":
    """An empty tab with separate storage."""
    width, height = viewport
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=color_scheme
    )
    context.set_default_timeout(_PATIENCE)
    wrong: list[str] = []

    def keep_here(route: "Route", request: "Request") -> None:
        if urlsplit(request.url).hostname in _HERE:
            route.continue_()
        else:
            wrong.append(f"a request to {request.url}")
            route.abort()

    def hear(message: "ConsoleMessage") -> None:
        status = re.search(r"responded with a status of (\d+)", message.text)
        expected = status and int(status[1]) in expected_statuses
        if message.type == "error" and not expected:
            wrong.append(f"console: {message.text} ({message.location.get('url', '')})")

    # blob: and data: have no host and never leave the page.
    context.route(re.compile("^(https?|wss?):"), keep_here)
    page = context.new_page()
    page.on("console", hear)
    page.on("pageerror", lambda error: wrong.append(f"uncaught: {error}"))
    yield page
    context.close()
    assert not wrong, "\n".join(wrong)
