"""The console in a real browser, in front of a real lab: the whole tour, outage included."""

import re
from contextlib import closing, contextmanager

import pytest
from playwright.sync_api import expect
from redis import Redis as Client

from itemsite.lab.ports import free_port
from itemsite.lab.process import wait_until
from itemsite.lab.redis_server import Redis
from itemsite.lab.web import Web
from itemsite.tests.running_lab import RunningLab

PHONE, DESK = (390, 844), (1440, 900)
SAMPLE = "550e8400-e29b-41d4-a716-446655440001"
#: Milliseconds: other programs share the machine.
PATIENCE = 60_000

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

# A slow machine's late answer is not the outage that these tests are about.
PATIENT = """
CACHES["default"]["OPTIONS"] |= {"SOCKET_CONNECT_TIMEOUT": 5, "SOCKET_TIMEOUT": 5}
CACHELAYER |= {"REQUEST_BUDGET": 10.0}
"""


@contextmanager
def running(checkout):
    with RunningLab(checkout) as lab:
        with (lab.root / "itemsite" / "settings.py").open("a") as settings:
            settings.write(PATIENT)
        yield lab


@pytest.fixture(scope="module")
def lab(browser, tmp_path_factory):
    with running(tmp_path_factory.mktemp("console") / "checkout") as lab:
        yield lab.start()


@pytest.fixture
def console(lab, page):
    """The console, showing a healthy lab."""
    lab.redis.start()
    assert wait_until(lambda: lab.health() == "ok", 60)
    page.goto(f"http://127.0.0.1:{lab.port}/")
    expect(page.locator("#health")).to_have_text("healthy", timeout=PATIENCE)
    return page


def check(console, number):
    """The tour's check *number* of this step is met; its fact."""
    item = console.locator("#tour-checks > li").nth(number)
    expect(item).to_have_attribute("data-met", "true", timeout=PATIENCE)
    return item.locator(".fact").inner_text()


def by_mouse(console, selector):
    console.locator(selector).click()


def by_keyboard(console, selector):
    """Tab to it and press Enter."""
    for _ in range(120):
        if console.evaluate("selector => document.activeElement.matches(selector)", selector):
            break
        console.keyboard.press("Tab")
    else:
        raise AssertionError(f"{selector} cannot be reached with Tab")
    console.keyboard.press("Enter")


def expect_stamp(console, verdict, text=""):
    """What the drawing of the list's stamp says."""
    figure = console.locator("#stamp")
    expect(figure).to_have_attribute("data-verdict", verdict, timeout=PATIENCE)
    expect(figure.locator("figcaption")).to_contain_text(text, timeout=PATIENCE)


def follow_tour(console, press):
    """Do what each step says and see what it promises."""

    def do(*names):
        for name in names:
            press(console, f'[data-todo="{name}"]')
            expect(console.locator(f'[data-todo="{name}"]')).to_be_enabled(timeout=PATIENCE)

    def step(number, title):
        expect(console.locator("#tour-title")).to_have_text(f"The tour, step {number} of 9")
        expect(console.locator("#tour-step")).to_have_text(title)

    step(1, "A write goes to both")
    do("create")
    assert re.match(r"Postgres [\d.]+ ms, Redis [\d.]+ ms", check(console, 0))
    do("read")
    assert check(console, 1) == "X-Cache: HIT"
    press(console, "#tour-next")

    step(2, "A hit touches Redis only")
    do("read", "many")
    assert "postgres;dur=0.000" in check(console, 0)
    assert check(console, 1) == "100 of 100"
    press(console, "#tour-next")

    step(3, "A miss fills the cache")
    do("clear", "read", "read")
    assert check(console, 0).startswith("keys_deleted: ")
    assert check(console, 1).startswith("X-Cache: MISS")
    assert check(console, 2) == "X-Cache: HIT"
    press(console, "#tour-next")

    step(4, "An update is seen at once")
    do("update", "read")
    price = check(console, 0)
    assert check(console, 1) == f"{price}, X-Cache: HIT"
    press(console, "#tour-next")

    step(5, "A list follows its rows")
    do("list")
    expect_stamp(console, "valid")
    do("list")
    assert check(console, 0) == "X-Cache: MISS, then HIT"
    do("update")
    expect_stamp(console, "invalid", "The stamp is gone.")
    do("list")
    assert re.fullmatch(r"price [\d.]+, X-Cache: MISS", check(console, 1))
    expect_stamp(console, "valid")
    do("list")
    assert check(console, 2) == check(console, 1).replace("MISS", "HIT")
    press(console, "#tour-next")

    step(6, "Redis goes away")
    do("stop-redis", "update", "read")
    assert re.match(r"open in \d of 2 workers", check(console, 0))
    assert check(console, 1) == "status 200, repair log 2"
    price = check(console, 2)
    assert price.endswith("X-Cache: BYPASS")
    expect(console.locator("#health")).to_have_text("degraded: Redis away")
    expect(console.locator("#picture .switch")).to_have_class("switch open")
    expect(console.locator("#picture .log")).to_have_text("repair log: 2 keys")
    press(console, "#tour-next")

    step(7, "Redis comes back, with old rows")
    do("start-redis")
    assert check(console, 0) == "2 workers, 0 keys"
    do("read", "read")
    assert check(console, 1).partition(",")[0] == price.partition(",")[0]
    assert check(console, 2) == "X-Cache: HIT"
    expect(console.locator("#picture .switch")).to_have_class("switch")
    press(console, "#tour-next")

    step(8, "Beside a naive cache")
    do("race")
    assert re.match(r"\d+ stale of \d+ reads", check(console, 0))
    assert re.match(r"0 stale of [1-9]\d* reads", check(console, 1))
    expect(console.locator("#ours-stale")).to_have_text("0")
    press(console, "#tour-next")

    step(9, "That is all of it")


def fits(console):
    """Nothing is wider than the screen."""
    return console.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize(
    ("viewport", "color_scheme", "press"),
    [(DESK, "light", by_mouse), (PHONE, "dark", by_keyboard)],
    ids=["desk-light-mouse", "phone-dark-keyboard"],
)
def test_the_tour_shows_what_it_says(console, viewport, color_scheme, press):
    follow_tour(console, press)
    assert fits(console)


# Every request of the race and of its outage, as it begins and as it ends, in the order in
# which the page sees it. While Redis is stopped, Postgres takes no write at first, and answers
# come late: later than any fixed time that the race could wait.
SLOW_AND_NOTED = """() => {
    window.noted = [];
    let away = false;
    let refuse = 0;
    const real = window.fetch;
    window.fetch = async (path, options) => {
        const isRace = path.startsWith("/console/race/");
        const method = options.method ?? "GET";
        const what = `${method} ${path.replace(/^(.console.race|.items)\\/.*/, "$1")}`;
        const unheard = away && isRace;
        if (unheard && method === "PUT" && performance.now() < refuse)
            return new Response(null, { status: 503 });
        window.noted.push({ what, ended: false });
        const answer = await real(path, options);
        if (unheard) await new Promise((done) => setTimeout(done, 4000));
        if (answer.ok && path.endsWith("/stop-redis")) {
            away = true;
            refuse = performance.now() + 3000;
        }
        if (answer.ok && path.endsWith("/start-redis")) away = false;
        const { price } = isRace && answer.status === 200 ? await answer.clone().json() : {};
        const cache = answer.headers.get("X-Cache");
        window.noted.push({ what, ended: true, unheard, price, cache });
        return answer;
    };
}"""


def test_every_outage_in_a_race_leaves_the_naive_cache_stale(console):
    console.evaluate(SLOW_AND_NOTED)
    by_mouse(console, "#race-start")
    expect(console.locator("#race-said")).to_contain_text("Naive: ", timeout=3 * PATIENCE)
    noted = console.evaluate("window.noted")
    write, naive, ours = "PUT /console/race", "GET /console/race", "GET /items"

    def of(what, requests, **wanted):
        return [x for x in requests if x["what"] == what and wanted.items() <= x.items()]

    starting, started = (i for i, x in enumerate(noted) if x["what"].endswith("/start-redis"))
    before, meanwhile, after = noted[:starting], noted[starting:started], noted[started:]
    # A row that was written without Redis, and nothing that could still SET it.
    written = of(write, before, ended=True, unheard=True)
    assert written
    for what in (write, naive):
        assert len(of(what, before, ended=False)) == len(of(what, before, ended=True))
        assert not of(what, meanwhile)
    # The real cache is read all along.
    assert len(of(ours, before + meanwhile, ended=False)) > len(of(ours, before, ended=True))
    # Until somebody writes again, every read of the naive one is stale.
    again = next(i for i, x in enumerate(after) if x["what"] == write)
    stale = of(naive, after[:again], ended=True)
    assert stale
    assert {x["cache"] for x in stale} == {"HIT"}
    assert max(x["price"] for x in stale) < max(x["price"] for x in written)
    expect(console.locator("#ours-stale")).to_have_text("0")


def test_each_button_shows_its_request_and_its_answer(console):
    for name, line, status in [
        ("create", "-X POST http://127.0.0.1:", "201"),
        ("read", "curl -i http://127.0.0.1:", "200"),
        ("update", "-X PATCH http://127.0.0.1:", "200"),
        ("list", "/items?limit=10", "200"),
        ("remove", "-X DELETE http://127.0.0.1:", "204"),
        ("clear", "-X POST http://127.0.0.1:", "200"),
    ]:
        by_mouse(console, f'[data-do="{name}"]')
        expect(console.locator("#exchange pre").first).to_contain_text(line, timeout=PATIENCE)
        expect(console.locator("#exchange dd").first).to_have_text(status)
    by_mouse(console, '[data-do="many"]')
    expect(console.locator("#exchange")).to_contain_text("100 of these", timeout=PATIENCE)


def test_the_curl_line_does_what_the_button_did(console, lab):
    by_mouse(console, '[data-do="read"]')
    expect(console.locator("#exchange pre").first).to_have_text(
        f"curl -i http://127.0.0.1:{lab.port}/items/{SAMPLE}", timeout=PATIENCE
    )


def test_the_sample_rows_cannot_be_deleted_from_here(console):
    expect(console.locator('[data-do="remove"]')).to_be_disabled()
    by_mouse(console, '[data-do="create"]')
    expect(console.locator('[data-do="remove"]')).to_be_enabled(timeout=PATIENCE)


def test_the_picture_lights_the_way_that_was_taken(console):
    by_mouse(console, '[data-do="clear"]')
    expect(console.locator("#caption")).to_contain_text("Redis drop", timeout=PATIENCE)
    by_mouse(console, '[data-do="read"]')
    expect(console.locator("#caption")).to_contain_text("Miss:", timeout=PATIENCE)
    expect(console.locator("#picture .node.postgres")).to_have_class(re.compile("lit"))
    by_mouse(console, '[data-do="read"]')
    expect(console.locator("#caption")).to_contain_text("Hit:", timeout=PATIENCE)
    expect(console.locator("#picture .node.redis")).to_have_class(re.compile("lit"))
    expect(console.locator("#picture .node.postgres")).not_to_have_class(re.compile("lit"))


def test_somebody_elses_request_is_drawn_too(console, lab):
    lab.ask(f"/items/{SAMPLE}")
    # What was there before the page is not played.
    expect(console.locator("#requests .row").first).to_be_visible(timeout=PATIENCE)
    console.wait_for_timeout(2500)
    lab.ask(f"/items/{SAMPLE}")
    expect(console.locator("#caption")).to_contain_text("Somebody else", timeout=PATIENCE)
    expect(console.locator("#picture .node.client")).to_contain_text("somebody else")
    expect(console.locator("#latency")).to_contain_text(" ms", timeout=PATIENCE)


def test_a_request_opens_into_its_spans(console):
    by_mouse(console, '[data-do="update"]')
    # The answer is there at once, the spans come when they have been collected.
    expect(console.locator("#caption")).to_contain_text(
        re.compile(r"UPDATE [\d.]+ ms → Redis mark [\d.]+ ms → Postgres COMMIT [\d.]+ ms → "),
        timeout=PATIENCE,
    )
    by_mouse(console, "#requests .row >> nth=0")
    spans = console.locator("#requests .waterfall")
    for name in ("PATCH", "transaction", "UPDATE", "cache.mark", "COMMIT", "cache.push"):
        expect(spans).to_contain_text(name, timeout=PATIENCE)
    link = spans.locator("a")
    expect(link).to_have_attribute("href", re.compile(r"/trace/[0-9a-f]{32}$"), timeout=PATIENCE)
    by_mouse(console, "#requests .row >> nth=0")
    expect(spans).to_have_count(0)


def test_a_hit_opens_into_its_two_spans(console):
    for _ in range(2):
        by_mouse(console, '[data-do="read"]')
        expect(console.locator('[data-do="read"]')).to_be_enabled(timeout=PATIENCE)
    expect(console.locator("#requests-note")).to_contain_text(
        "Each process traces up to 10 requests a second. A request that is missing was not sampled",
        timeout=PATIENCE,
    )
    by_mouse(console, "#requests .row >> nth=0")
    picture = console.locator("#requests .waterfall svg")
    expect(picture).to_have_attribute(
        "aria-label",
        re.compile(r"^GET items/<any-case-uuid:pk> [\d.]+ m?s, cache\.get [\d.]+ m?s$"),
        timeout=PATIENCE,
    )
    expect(console.locator("#caption")).to_contain_text(re.compile(r"Hit: .*get [\d.]+ ms"))


def test_a_request_that_was_not_sampled_says_so(browser, page, tmp_path):
    with running(tmp_path / "checkout") as lab:
        lab.start(OTEL_TRACES_SAMPLER="always_off")
        page.goto(f"http://127.0.0.1:{lab.port}/")
        by_mouse(page, '[data-do="read"]')
        expect(page.locator("#caption")).to_contain_text("Hit:", timeout=PATIENCE)
        by_mouse(page, "#requests .row >> nth=0")
        expect(page.locator("#requests .waterfall")).to_contain_text(
            "It was not sampled, so it has no spans. OTEL_TRACES_SAMPLER=always_off chooses",
            timeout=PATIENCE,
        )
        shown = lab.command("trace").stdout
        assert shown.startswith("No traces yet.")
        assert "or unset OTEL_TRACES_SAMPLER and start again." in shown


#: Of a transaction that Postgres has not begun yet, so it has not ended.
MARK = "w:0123456789abcdef:99999999999999"


def test_the_stamp_is_drawn_as_redis_has_it(console, lab):
    picture = console.locator("#stamp svg")
    stamp = "v:[0-9a-f]{5}… [0-9:]{8}"

    def drawn(made, now):
        words = f"The page was made under: {made}\\. In Redis now: {now}\\."
        expect(picture).to_have_attribute("aria-label", re.compile(words), timeout=PATIENCE)

    for _ in range(4):
        by_mouse(console, "#tour-next")
    # Of what it has drawn before, it draws what is there now: nobody presses anything.
    lab.ask("/items?limit=10")
    expect_stamp(console, "valid", "The next read is a hit.")
    drawn(f"({stamp})", r"\1")
    with closing(Client.from_url(lab.redis.url)) as redis:
        redis.set("@items:*", MARK)
        expect_stamp(console, "invalid", "A writer is at work.")
        drawn(stamp, "a mark of a writer")
        redis.append("@items:*", f" {MARK}")
        drawn(stamp, "2 marks of writers")
        redis.delete("@items:*")
    expect_stamp(console, "invalid", "The stamp is gone.")
    drawn(stamp, "none")
    lab.ask("/items?limit=3")
    expect_stamp(console, "invalid", "There is a new stamp, made for another page.")
    drawn(f"({stamp})", rf"(?!\1){stamp}")
    by_mouse(console, '[data-todo="list"]')
    expect_stamp(console, "valid")
    by_mouse(console, '[data-do="clear"]')
    expect_stamp(console, "none", "The next reader makes one.")


def test_the_list_is_right_also_where_the_changed_item_is_on_a_later_page(console, lab):
    for number in range(10):
        lab.ask("/items", {"name": f"Newer {number}", "price": number})
    for _ in range(4):
        by_mouse(console, "#tour-next")
    for name in ("update", "list"):
        by_mouse(console, f'[data-todo="{name}"]')
        expect(console.locator(f'[data-todo="{name}"]')).to_be_enabled(timeout=PATIENCE)
    assert check(console, 1) == "the item is on a later page, X-Cache: MISS"


def test_a_stamp_of_which_redis_says_nothing(console):
    nothing = {"redis": "down", "stored": False, "valid": False, "stamps": []}
    console.route("**/console/list", lambda route: route.fulfill(json=nothing))
    for _ in range(4):
        by_mouse(console, "#tour-next")
    expect_stamp(console, "unknown", "Redis does not answer.")


def test_links_say_which_answer(console):
    traces = console.locator("#links li", has_text="Traces")
    expect(traces.locator(".led")).to_have_class("led on", timeout=PATIENCE)


def test_without_motion_the_way_is_shown_at_once(console):
    console.emulate_media(reduced_motion="reduce")
    by_mouse(console, '[data-do="update"]')
    expect(console.locator("#picture .edge.lit")).to_have_count(3, timeout=PATIENCE)
    expect(console.locator("#picture .dot")).to_be_hidden()


def test_a_killed_worker_is_replaced(console, lab):
    web = Web(lab.folder.path / "web", lab.port, {})
    before = set(web.workers)
    by_mouse(console, '[data-fault="kill-worker"]')
    expect(console.locator("#said")).to_contain_text("is killed (SIGKILL)", timeout=PATIENCE)
    assert wait_until(lambda: len(set(web.workers)) == 2 and set(web.workers) != before, 60)


def test_a_pause_ends_by_itself(console, lab):
    by_mouse(console, '[data-fault="pause-redis"]')
    expect(console.locator("#said")).to_have_text("Redis is paused for 5 s.", timeout=PATIENCE)
    assert wait_until(lambda: lab.health() == "ok", 60)
    expect(console.locator("#health")).to_have_text("healthy", timeout=PATIENCE)


def test_without_postgres_hits_are_served_and_a_write_is_refused(console, lab, expected_statuses):
    expected_statuses.add(503)
    by_mouse(console, '[data-do="read"]')
    expect(console.locator("#exchange dl")).to_be_visible(timeout=PATIENCE)
    assert lab.command("postgres", "stop").returncode == 0
    try:
        expect(console.locator("#health")).to_have_text("degraded: Postgres away", timeout=PATIENCE)
        by_mouse(console, '[data-do="read"]')
        expect(console.locator("#caption")).to_contain_text("Hit:", timeout=PATIENCE)
        by_mouse(console, '[data-do="update"]')
        expect(console.locator("#caption")).to_contain_text(
            "In vain: status 503. ", timeout=PATIENCE
        )
    finally:
        assert lab.command("postgres", "start").returncode == 0
    expect(console.locator("#health")).to_have_text("healthy", timeout=PATIENCE)


def test_the_theme_is_remembered(console):
    root = console.locator("html")
    by_mouse(console, "#theme")
    expect(root).to_have_attribute("data-theme", "dark")
    console.reload()
    expect(root).to_have_attribute("data-theme", "dark")
    by_mouse(console, "#theme")
    expect(root).to_have_attribute("data-theme", "light")
    by_mouse(console, "#theme")
    expect(root).not_to_have_attribute("data-theme", re.compile(".*"))


def test_an_api_that_does_not_answer_is_said(console, expected_statuses):
    expected_statuses.add(500)
    console.route("**/console/live*", lambda route: route.fulfill(status=500))
    expect(console.locator("#away")).to_be_visible(timeout=PATIENCE)
    console.unroute("**/console/live*")
    expect(console.locator("#away")).to_be_hidden(timeout=PATIENCE)


HIDE = """hidden => {
    Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
}"""


def test_nobody_asks_while_nobody_looks(console):
    asked = []
    console.on("request", lambda request: asked.append(request.url))
    console.evaluate(HIDE, True)
    console.wait_for_timeout(1500)  # What was under way has ended.
    asked.clear()
    console.wait_for_timeout(3500)
    assert asked == []
    with console.expect_request("**/console/live*", timeout=PATIENCE):
        console.evaluate(HIDE, False)


def test_a_race_that_nobody_looks_at_ends_and_breaks_nothing(console):
    faults = []
    console.on("request", lambda request: "/faults/" in request.url and faults.append(request))
    by_mouse(console, "#race-start")
    expect(console.locator("#race-said")).to_contain_text("writes so far", timeout=PATIENCE)
    console.evaluate(HIDE, True)
    expect(console.locator("#race-start")).to_be_enabled(timeout=PATIENCE)
    console.wait_for_timeout(1500)  # It would have been stopped by now.
    assert faults == []


@pytest.mark.parametrize("viewport", [PHONE, DESK])
@pytest.mark.parametrize("color_scheme", ["light", "dark"])
def test_nothing_is_wider_than_the_screen(console, viewport, color_scheme):
    by_mouse(console, '[data-do="create"]')
    expect(console.locator("#exchange dl")).to_be_visible(timeout=PATIENCE)
    assert fits(console)


@pytest.fixture
def redis(tmp_path):
    """A Redis that is not the lab's own."""
    redis = Redis(tmp_path / "redis", free_port())
    redis.start()
    yield redis
    redis.stop()


def test_where_redis_is_somebody_elses_the_tour_says_what_to_do(page, redis, tmp_path):
    checkout = tmp_path / "lab" / "checkout"
    checkout.parent.mkdir()
    with running(checkout) as lab:
        lab.start(REDIS_URL=redis.url)
        late = []
        page.route("**/console/live", lambda route: late.append(route))
        page.goto(f"http://127.0.0.1:{lab.port}/")
        for _ in range(5):
            by_mouse(page, "#tour-next")
        # The page learns whose Redis it is when the step is drawn already.
        [route] = late
        route.continue_()
        page.unroute("**/console/live")
        expect(page.locator("#tour .yours")).to_have_text(
            "Stop the Redis of your REDIS_URL.", timeout=PATIENCE
        )
        expect(page.locator('[data-fault="stop-redis"]')).to_have_count(0)
        redis.stop()
        for name in ("update", "read"):
            by_mouse(page, f'[data-todo="{name}"]')
            expect(page.locator(f'[data-todo="{name}"]')).to_be_enabled(timeout=PATIENCE)
        for number in range(3):
            check(page, number)
        by_mouse(page, "#tour-next")
        expect(page.locator("#tour .yours")).to_have_text(
            "Start the Redis of your REDIS_URL again.", timeout=PATIENCE
        )
        redis.start()
        check(page, 0)
        expect(page.locator("#race-outage")).to_be_disabled()
