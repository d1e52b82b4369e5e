"""The cache page in a real browser: by keyboard, live, on a phone, in the dark, in an outage."""

import re

import pytest

import cachelayer
from cachelayer.redis import transport
from cachelayer.tests.bookshop.models import Note
from cachelayer.tests.outages import write_unseen

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True), pytest.mark.timeout(300)]

PAGE = "/admin/cachelayer/cache/"
SIZES = [(1440, 900), (390, 844)]


@pytest.fixture
def notes():
    return Note.objects.bulk_create(Note(text=f"Note {n}") for n in range(12))


@pytest.fixture
def cache_page(page, live_server, admin_client, settings):
    """The page, opened by somebody who may do everything."""
    cookie = admin_client.cookies[settings.SESSION_COOKIE_NAME]
    page.context.add_cookies([{"name": cookie.key, "value": cookie.value, "url": live_server.url}])
    page.goto(live_server.url + PAGE)
    return page


def width_of_content(page):
    return page.evaluate("document.documentElement.scrollWidth")


def focus_by_tab(page, selector):
    """Press Tab until *selector* has the focus, as somebody without a mouse does."""
    for _ in range(80):
        page.keyboard.press("Tab")
        if page.evaluate("s => document.activeElement.matches(s)", selector):
            return
    raise AssertionError(f"{selector} is not reached by Tab")


def contrast(page, selector):
    """The contrast of the text in *selector* with what is behind it (WCAG 2.2)."""
    return page.eval_on_selector(
        selector,
        """element => {
          const parts = color => color.match(/[\\d.]+/g).map(Number);
          const shine = ([r, g, b]) => [r, g, b].map(c => c / 255)
            .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
            .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
          let behind = element, color;
          do {
            color = parts(getComputedStyle(behind).backgroundColor);
            behind = behind.parentElement;
          } while (color.length === 4 && color[3] === 0 && behind);
          const [a, b] = [shine(parts(getComputedStyle(element).color)), shine(color)];
          return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        }""",
    )


@pytest.mark.parametrize("viewport", SIZES)
@pytest.mark.parametrize("color_scheme", ["light", "dark"])
def test_it_fits_and_can_be_read(cache_page, notes, viewport):
    cachelayer.read(Note, notes[0].pk)
    cache_page.fill("#cache-key", f"note:{notes[0].pk}")
    cache_page.press("#cache-key", "Enter")
    cache_page.wait_for_selector(".cache-look")
    # The styles, too, on a busy machine.
    cache_page.wait_for_load_state()
    assert width_of_content(cache_page) <= viewport[0]
    for selector in (
        ".cache-verdict",
        ".cache-numbers dd",
        ".cache-numbers dd.more",
        ".cache-look td code",
    ):
        assert contrast(cache_page, selector) >= 4.5, selector


@pytest.mark.parametrize("color_scheme", ["light", "dark"])
def test_the_charts_follow_the_theme(cache_page, color_scheme):
    link_color = cache_page.eval_on_selector(
        ".breadcrumbs ~ *, .cache-page", "e => getComputedStyle(e).getPropertyValue('--link-fg')"
    )
    assert link_color.strip() == {"light": "#417893", "dark": "#81d4fa"}[color_scheme]
    fill = cache_page.eval_on_selector(".cache-chart .hit", "e => getComputedStyle(e).fill")
    wanted = tuple(int(link_color.strip()[i : i + 2], 16) for i in (1, 3, 5))
    assert tuple(map(int, re.findall(r"\d+", fill))) == wanted


def test_it_is_brought_up_to_date_and_leaves_the_focus_where_it_is(cache_page):
    assert cache_page.inner_text(".cache-numbers div:last-child dd") == "0"
    cache_page.focus("#cache-key")
    cache_page.keyboard.type("note:")
    Note.objects.create()
    cache_page.wait_for_function(
        "document.querySelector('.cache-numbers div:last-child dd').textContent === '1'"
    )
    assert cache_page.evaluate("document.activeElement.id") == "cache-key"
    assert cache_page.input_value("#cache-key") == "note:"


def test_live_can_be_turned_off(cache_page):
    cache_page.uncheck("[data-live]")
    asked = []
    cache_page.on("request", lambda request: asked.append(request.url))
    cache_page.wait_for_timeout(3000)
    assert asked == []
    cache_page.check("[data-live]")
    with cache_page.expect_response("**/stats.json"):
        pass


def test_the_keyboard_alone_clears_the_cache(cache_page, notes):
    focus_by_tab(cache_page, "form[action$='/clear/'] button")
    cache_page.keyboard.press("Enter")
    cache_page.wait_for_selector("text=This deletes")
    assert "12 keys" in cache_page.inner_text("#content")
    focus_by_tab(cache_page, "[type=submit][value='Yes, clear']")
    cache_page.keyboard.press("Enter")
    cache_page.wait_for_selector(".cache-job-result:has-text('Done')")
    assert "12 deleted" in cache_page.inner_text(".cache-job-result")
    assert transport.client().keys("note:*") == []
    assert not cache_page.is_visible("text=Stop")
    focus_by_tab(cache_page, ".cache-page a[href$='/cache/']")
    cache_page.keyboard.press("Enter")
    cache_page.wait_for_selector("text=Clear everything: done")


def test_a_row_that_differs_is_found_looked_up_and_cleared(cache_page, notes):
    write_unseen("UPDATE bookshop_note SET text = 'other' WHERE id = %s", [notes[0].pk])
    cache_page.click("button[value=verify]")
    cache_page.click(f".cache-listed a:has-text('{notes[0].pk}')")
    assert "text differs" in " ".join(cache_page.inner_text("tr.differs").split())
    cache_page.click("text=Clear this key")
    cache_page.wait_for_selector("text=was deleted")
    assert "absent" in cache_page.inner_text(".cache-look")


def test_a_job_that_is_loaded_again_does_not_begin_anew(cache_page, notes):
    cache_page.click("button[value=warm]")
    cache_page.wait_for_selector(".cache-job-result:has-text('Done')")
    cache_page.reload()
    assert "Done" in cache_page.inner_text(".cache-job-result")
    cache_page.go_back()
    cache_page.wait_for_selector("text=Warm everything: done")
    assert cache_page.locator("text=Warm everything: started").count() == 1


class TestRedisStopped:
    @pytest.fixture(autouse=True)
    def _expected(self, own_redis, expected_statuses):
        expected_statuses.add(503)

    def test_the_page_turns_red_and_back(self, own_redis, cache_page):
        cache_page.wait_for_selector(".cache-verdict.ok, .cache-verdict.warning")
        own_redis.stop()
        cache_page.wait_for_selector(".cache-verdict.error")
        assert "Redis does not answer this process" in cache_page.inner_text(".cache-verdict")
        assert contrast(cache_page, ".cache-verdict") >= 4.5
        said = cache_page.text_content("[role=status][data-said]")
        assert said.startswith("Trouble. Redis does not answer this process")
        own_redis.start()
        cache_page.wait_for_selector(".cache-verdict.ok", timeout=60_000)

    def test_a_job_waits_and_goes_on(self, own_redis, cache_page):
        own_redis.stop()
        cache_page.click("button[value=verify]")
        cache_page.wait_for_selector("[data-job-said]:has-text('Trying again')")
        own_redis.start()
        cache_page.wait_for_selector(".cache-job-result:has-text('Done')", timeout=60_000)

    def test_a_job_that_waits_can_be_stopped(self, own_redis, cache_page):
        own_redis.stop()
        cache_page.click("button[value=verify]")
        cache_page.wait_for_selector("[data-job-said]:has-text('Trying again')")
        cache_page.click("text=Stop")
        cache_page.wait_for_selector("text=Verify everything was stopped")


def test_somebody_who_was_logged_out_is_told(cache_page):
    cache_page.context.clear_cookies()
    cache_page.wait_for_selector("[data-live-error]:has-text('not logged in any more')")
    assert not cache_page.is_checked("[data-live]")
