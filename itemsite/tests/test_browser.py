"""The browser fixture notices what it must notice."""

import pytest

from itemsite.lab.bootstrap import ROOT

pytestmark = pytest.mark.slow

SERVED = """
    import threading
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
    import pytest

    pytest_plugins = ["itemsite.tests.browser"]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(404 if self.path == "/missing" else 200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<link rel=icon href=data:,><p>here</p>")

        def log_message(self, *arguments):
            pass

    @pytest.fixture(scope="session")
    def url():
        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield f"http://127.0.0.1:{server.server_port}"
            server.shutdown()
"""
TESTS = """
    import pytest

    def test_well(page, url):
        page.goto(url)
        assert page.inner_text("p") == "here"

    def test_logs_an_error(page, url):
        page.goto(url)
        page.evaluate("console.error('oh')")

    def test_throws(page, url):
        page.goto(url)
        with page.expect_event("pageerror"):
            page.evaluate("setTimeout(() => { throw new Error('uncaught one') }, 0)")

    def test_leaves_the_host(page, url):
        page.goto(url)
        page.evaluate("fetch('http://elsewhere.example/x').catch(() => 0)")

    def test_is_refused(page, url):
        page.goto(url)
        page.evaluate("fetch('/missing')")

    def test_is_refused_as_expected(page, url, expected_statuses):
        expected_statuses.add(404)
        page.goto(url)
        page.evaluate("fetch('/missing')")

    @pytest.mark.parametrize("viewport", [(390, 844)])
    @pytest.mark.parametrize("color_scheme", ["dark"])
    def test_size_and_theme(page, url):
        page.goto(url)
        assert page.evaluate("innerWidth") == 390
        assert page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
"""


@pytest.mark.usefixtures("browser")
def test_what_goes_wrong_on_a_page_fails_its_test(pytester, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)
    pytester.makeconftest(SERVED)
    pytester.makepyfile(TESTS)
    ran = pytester.runpytest_subprocess("-p", "no:django", "-p", "no:cacheprovider", timeout=100)
    ran.assert_outcomes(passed=7, errors=4)
    ran.stdout.fnmatch_lines_random(
        ["*console: oh*", "*uncaught: *uncaught one*", "*elsewhere.example/x*", "*status of 404*"]
    )


def test_without_a_browser_the_sentence_says_what_to_install(pytester, monkeypatch):
    monkeypatch.setattr("itemsite.console.chromium.NAMES", ())
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)
    pytester.makeconftest('pytest_plugins = ["itemsite.tests.browser"]')
    pytester.makepyfile("def test_page(page): ...")
    ran = pytester.runpytest_inprocess("-rs", "-p", "no:django", "-p", "no:cacheprovider")
    ran.assert_outcomes(skipped=1)
    ran.stdout.fnmatch_lines(["*apt install chromium*"])
