"""A hit below Django's handler is Django's answer: status, headers, bytes; or it is Django's."""

import io
import re
from decimal import Decimal

import pytest
from django.core.handlers.wsgi import WSGIHandler

import cachelayer
from cachelayer import conf
from cachelayer.contrib import metrics_page
from cachelayer.contrib.wsgi import fast_hits
from cachelayer.operations import live_check
from cachelayer.protocol import key_states, partition
from cachelayer.redis import loop_transport, transport
from cachelayer.redis.gate import Mode, gate
from cachelayer.telemetry import counters
from cachelayer.tests.fresh import empty_redis
from cachelayer.tests.loop import running_loop
from items.models import Item
from items.tests.sites import ID, PATH, LoopSite, Site

pytestmark = pytest.mark.django_db(transaction=True)

OTHER = "/items/550e8400-e29b-41d4-a716-44665544ffff"


@pytest.fixture
def item(db):
    return Item.objects.create(id=ID, name="Tea", description="Grün, ☕.", price=Decimal("4.50"))


@pytest.fixture(params=["wsgi", "asgi"])
def site(item, request):
    if request.param == "wsgi":
        yield Site()
        return
    with running_loop() as loop:
        site = LoopSite(loop)
        yield site
        site.close()


def tag(item):
    return cachelayer.etag(cachelayer.render(item))


FAST = {
    "plain": {},
    "any Accept": {"HTTP_ACCEPT": "*/*"},
    "JSON": {"HTTP_ACCEPT": "application/json"},
    "odd Accept": {"HTTP_ACCEPT": "image/png;q=0.2, nonsense"},
    "HEAD": {"method": "HEAD"},
    "upper case": {"path": PATH.upper().replace("/ITEMS", "/items")},
    "percent-encoded": {"path": PATH.replace("5", "%35")},
    "no body": {"CONTENT_LENGTH": "0"},
    "another tag": {"HTTP_IF_NONE_MATCH": '"abc"'},
    "malformed tag": {"HTTP_IF_NONE_MATCH": "abc"},
    "since": {"HTTP_IF_MODIFIED_SINCE": "Wed, 21 Oct 2065 07:28:00 GMT"},
    "range": {"HTTP_RANGE": "bytes=0-3"},
    "languages": {"HTTP_ACCEPT_LANGUAGE": "de", "HTTP_ACCEPT_ENCODING": "gzip, br"},
    "behind a proxy": {"HTTP_X_FORWARDED_FOR": "1.2.3.4", "HTTP_X_FORWARDED_PROTO": "https"},
    "script prefix": {"SCRIPT_NAME": "/shop"},
    "https": {"wsgi.url_scheme": "https"},
    "list": {"path": "/items"},
    "page of the list": {"path": "/items?limit=5"},
}
HANDED_OVER = {
    "query string": {"path": f"{PATH}?a=1"},
    "format": {"path": f"{PATH}?format=json"},
    "cookie": {"HTTP_COOKIE": "sessionid=abc"},
    "token": {"HTTP_AUTHORIZATION": "Token abc"},
    "user of the server": {"REMOTE_USER": "root"},
    "body": {"CONTENT_LENGTH": "2", "wsgi.input": io.BytesIO(b"{}")},
    "slash": {"path": f"{PATH}/"},
    "no id": {"path": "/items/abc"},
    "absent": {"path": OTHER},
    "list by what decides nothing": {"path": "/items?a=1"},
    "elsewhere": {"path": "/health"},
    "UTF-8": {"path": f"{PATH}%C3%BC"},
    "foreign host": {"HTTP_HOST": "evil.example"},
    "malformed host": {"HTTP_HOST": "a b"},
    "no host": {"HTTP_HOST": None},
    "delete": {"method": "DELETE", "path": OTHER},
    "options": {"method": "OPTIONS"},
    "put": {"method": "PUT", "path": OTHER},
}


@pytest.mark.parametrize("request_", FAST.values(), ids=FAST)
def test_a_hit_is_djangos_answer(site, request_):
    assert site.is_fast(**request_)
    django, layer = site.ask_both(**request_)
    assert layer == django
    assert ("X-Cache", "HIT") in layer[1]


@pytest.mark.parametrize("request_", HANDED_OVER.values(), ids=HANDED_OVER)
def test_everything_else_is_handed_to_django(site, request_):
    if "REMOTE_USER" in request_ and isinstance(site, LoopSite):
        pytest.skip("An ASGI server has no user for an application.")
    site.is_fast()
    assert not site.is_fast(**request_)
    if request_.get("path") != "/health":
        django, layer = site.ask_both(**request_)
        assert layer == django


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("form", ["{}", "W/{}", '"x", {}', "*"])
def test_a_conditional_hit_is_djangos_304(site, item, form, method):
    request = {"method": method, "HTTP_IF_NONE_MATCH": form.format(tag(item))}
    assert site.is_fast(**request)
    django, layer = site.ask_both(**request)
    assert layer == django
    assert layer[0].startswith("304")
    assert layer[2] == b""


def test_each_row_has_its_own_bytes_and_headers(site, item):
    site.ask()
    other = Item.objects.create(name="A longer name", description="x" * 300, price=Decimal(1))
    path = f"/items/{other.pk}"
    assert site.is_fast(path=path)
    _, headers, body = site.ask(path=path)
    assert body == cachelayer.render(other)
    assert dict(headers)["ETag"] == tag(other)
    assert dict(headers)["Content-Length"] == str(len(body))


def test_a_write_is_seen_by_the_next_hit(site, item):
    assert site.is_fast()
    item.name = "Coffee"
    item.save()
    assert site.ask()[2] == cachelayer.render(item)
    item.delete()
    assert site.ask()[0].startswith("404")


def test_a_miss_reads_redis_once_and_fills(site, item, monkeypatch):
    site.is_fast()
    empty_redis()
    asked = []
    get = transport._get
    monkeypatch.setattr(transport, "_get", lambda keys: asked.extend(keys) or get(keys))
    assert ("X-Cache", "MISS") in site.ask()[1]
    # On a loop it was read there, and the thread did not read it again.
    assert asked == ([] if isinstance(site, LoopSite) else [f"item:{ID}"])
    assert ("X-Cache", "HIT") in site.ask()[1]


def test_a_mark_is_never_taken_for_a_row(site, item):
    site.is_fast()
    key_states.mark([f"item:{ID}"], b"w:somebody")
    _, headers, body = site.ask()
    assert ("X-Cache", "BYPASS") in headers
    assert body == cachelayer.render(item)


def test_it_asks_redis_only_while_the_gate_is_closed(site, item, monkeypatch):
    site.is_fast()
    monkeypatch.setattr(gate, "reconcile", lambda gate: None)
    for mode, change in (
        (Mode.SETTLING, gate.settle),
        (Mode.OPEN, lambda why: gate.open(OSError(why))),
    ):
        change("A test says so.")
        assert gate.mode is mode
        monkeypatch.setattr(transport, "_get", lambda keys: pytest.fail("Redis was asked"))
        monkeypatch.setattr(loop_transport.Line, "ask", lambda *args: pytest.fail("As well"))
        assert ("X-Cache", "BYPASS") in site.ask()[1]


def test_strict_processes_without_trust_serve_no_hit(site, settings, monkeypatch):
    site.is_fast()
    settings.CACHELAYER = {**settings.CACHELAYER, "PARTITION": "strict"}
    for name in ("wake_now", "wake"):
        monkeypatch.setattr(partition.task, name, lambda: None)
    partition.trust.start_afresh()
    site.is_fast()
    assert ("X-Cache", "BYPASS") in site.ask()[1]
    partition.trust.ask()
    assert site.is_fast()
    assert ("X-Cache", "HIT") in site.ask()[1]


def test_hits_are_counted_checked_and_timed(site, settings):
    settings.CACHELAYER = {**settings.CACHELAYER, "CHECK_SHARE": 1.0}
    site.is_fast()
    before = counters.totals()["hit"]
    live_check._waiting.clear()
    timing = dict(site.ask()[1])["Server-Timing"]
    assert counters.totals()["hit"] == before + 1
    assert len(live_check._waiting) == 1
    assert re.fullmatch(r"redis;dur=\d+\.\d{3}, postgres;dur=0\.000", timing)
    assert not timing.startswith("redis;dur=0.000")
    live_check._waiting.clear()
    assert b'cachelayer_reads_total{kind="row",outcome="hit"}' in metrics_page.page()


def test_a_redirect_to_https_stays_djangos(item, settings):
    settings.SECURE_SSL_REDIRECT = True
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    settings.SECURE_HSTS_SECONDS = 60
    site = Site()
    assert not site.is_fast()
    assert site.ask()[0].startswith("301")
    assert site.is_fast(HTTP_X_FORWARDED_PROTO="https")
    django, layer = site.ask_both(HTTP_X_FORWARDED_PROTO="https")
    assert layer == django
    assert "Strict-Transport-Security" in dict(layer[1])
    assert site.ask()[0].startswith("301")


def test_a_refused_user_agent_stays_djangos(site, settings):
    settings.DISALLOWED_USER_AGENTS = [re.compile("Bot")]
    assert site.is_fast(HTTP_USER_AGENT="curl")
    assert site.ask(HTTP_USER_AGENT="Bot")[0].startswith("403")


@pytest.mark.parametrize(
    "middleware",
    ["django.middleware.gzip.GZipMiddleware", "django.middleware.locale.LocaleMiddleware"],
)
def test_a_middleware_that_is_not_known_ends_it(site, settings, middleware, caplog):
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, middleware]
    assert not site.is_fast()
    assert middleware in caplog.text


def test_one_setting_turns_it_off(settings):
    django = WSGIHandler()
    assert fast_hits(django) is not django
    settings.CACHELAYER = {"FAST_HITS": False}
    conf.get.cache_clear()
    assert fast_hits(django) is django


def test_answers_are_remembered_for_so_many_kinds_of_requests(site, monkeypatch):
    monkeypatch.setattr("cachelayer.contrib.hits._KINDS", 3)
    for number in range(10):
        assert site.is_fast(HTTP_ACCEPT=f"*/*;q=0.{number}")
    assert len(site.layer._hits._known.templates) <= 3
