"""A view answers with ``CachedViewMixin`` as it does without: the same to the same people.

Every viewset of ``twins`` is asked the same requests twice, made with the mixin and without.
What may differ stands in ``DIFFER`` and in ``without_noise``; any other difference fails.
"""

import difflib
import json
import random
import re
from dataclasses import dataclass, field
from itertools import product

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from rest_framework.utils.encoders import JSONEncoder

from cachelayer.contrib.rest import CachedViewMixin
from cachelayer.operations import clear
from cachelayer.tests.twins.models import Loose, Page, Reader, Report, Upload
from cachelayer.tests.twins.urls import Urls
from cachelayer.tests.twins.views import TWINS

pytestmark = pytest.mark.django_db(transaction=True)

#: Headers that the mixin adds, as the README says.
DIFFER = {"X-Cache", "ETag", "Cache-Control", "Server-Timing"}
#: Views of public rows, which ask nobody's session; so their answers do not vary with it.
NO_SESSION = {"said_public", "said_public_with_search", "public_pages", "said_public_by_slug"}
#: Views whose pages are cached.
PAGED = {"listed_whole", "by_action", *(name for name in TWINS if "paged_" in name)}
NO_SESSION |= PAGED
#: Views whose rows show URLs.
LINKING = {"uploads", *(name for name in TWINS if "pages" in name)}
USERS = ("anonymous", "owner", "stranger", "staff")
#: Public and not, of the owner and of the stranger; none. And what is no id, or oddly written.
ROWS = ("1", "2", "3", "4", "99")
ODD_ROWS = ("abc", "99999999999999999999", "01", "%00")
BY_SLUG = ("slugs", "said_public_by_slug", "said_public_by_title")
SLUGS = {"1": "one", "2": "two", "3": "three", "4": "four", "01": "One"}
#: What is random in a page, and the headers that are shown in it.
NOISE = (
    rb'"csrfToken": "\w+"',
    rb'name="csrfmiddlewaretoken" value="\w+"',
    rb"<b>(X-Cache|ETag|Cache-Control|Server-Timing):</b>.*\n",
)
BROWSER = "text/html,application/xhtml+xml,*/*;q=0.8"


@dataclass(frozen=True)
class Asked:
    """A request; ``suffix`` follows the row's id in the path."""

    user: str = "anonymous"
    row: str = "1"
    method: str = "GET"
    suffix: str = "/"
    headers: dict = field(default_factory=dict)
    body: object = None
    checks_csrf: bool = False

    def path(self, view):
        row = SLUGS.get(self.row, self.row) if view in BY_SLUG else self.row
        prefix = "of_owner/11" if view == "of_owner" else view
        return f"/{prefix}{self.suffix}" if row == "" else f"/{prefix}/{row}{self.suffix}"


REPORTS = ((11, "one", True), (11, "two", False), (12, "three", True), (12, "four", False))
WRITTEN = {"title": "written", "slug": "written", "salary": "1.50", "is_public": True}
#: Each for some user and row.
SOMEWHERE = [
    {"method": "HEAD"},
    {"method": "OPTIONS"},
    {"suffix": ".json"},
    {"suffix": ".api"},
    {"suffix": ".txt"},
    {"suffix": ".xml"},
    {"suffix": ""},
    {"suffix": "/?format=json"},
    {"suffix": "/?format=api"},
    {"suffix": "/?format=xml"},
    {"suffix": "/?search=one&title=one&owner=11"},
    {"suffix": "/?version=2"},
    {"suffix": "/?version=9"},
    {"headers": {"accept": BROWSER}},
    {"headers": {"accept": "application/json; indent=4"}},
    {"headers": {"accept": "image/png"}},
    {"headers": {"accept": "text/plain"}},
    {"headers": {"x-slow": "1"}},
    {"headers": {"authorization": "Token nonsense"}},
    {"headers": {"authorization": "Basic b3duZXI6d3Jvbmc="}},
    {"headers": {"if-none-match": '"abc"'}},
    {"headers": {"accept-language": "de"}},
    {"headers": {"host": "localhost"}},
    {"headers": {"host": "testserver:8080"}},
    {"headers": {"host": "elsewhere.example"}},
    {"method": "PUT", "body": WRITTEN},
    {"method": "PUT", "body": {"title": ""}},
    {"method": "PATCH", "body": {"title": "patched"}},
    {"method": "PATCH", "body": {"is_public": False}},
    {"method": "PATCH", "body": b"{"},
    {"method": "PATCH", "body": {"title": "patched"}, "checks_csrf": True},
    {"method": "DELETE"},
    {"method": "DELETE", "checks_csrf": True},
    {"method": "POST", "body": WRITTEN},
    {"row": "", "method": "POST", "body": WRITTEN},
    {"row": "", "method": "POST", "body": WRITTEN, "checks_csrf": True},
    {"row": "", "method": "POST", "body": {}},
    {"row": ""},
    {"row": "", "headers": {"accept": BROWSER}},
    {"row": "", "suffix": "/?search=one&ordering=-title"},
    {"row": "", "method": "OPTIONS"},
]
#: Of lists.
PAGES = [
    *({"suffix": f"/?{query}"} for query in (
        "page=1", "page=2", "page=9", "page=x", "size=3", "page=2&size=1", "limit=1", "offset=1",
        "offset=9", "limit=x", "cursor=cD1vbmU%3D", "cursor=x", "search=o", "search=none",
        "ordering=title", "ordering=-title&page=2", "search=o&ordering=-id", "unknown=1", "page=",
    )),
    *({}, {}, {"method": "HEAD"}, {"suffix": ".json"}, {"headers": {"accept": BROWSER}}),
    {"headers": {"accept": "application/json; indent=4"}},
    {"headers": {"host": "localhost"}},
    {"headers": {"host": "elsewhere.example"}},
    {"headers": {"if-none-match": '"abc"'}},
    {"suffix": "/?format=api"},
    {"suffix": "/?format=json&page=2"},
]  # fmt: skip
READS = ("GET", "HEAD", "OPTIONS")


def requests_of(view):
    """Some dozen, always the same: all that is plain, and of the rest what falls to this view."""
    choose = random.Random(view)
    made = [Asked(user, row) for user, row in product(USERS, ROWS)]
    made += [Asked(choose.choice(USERS), row) for row in ODD_ROWS]
    # Rows that a search leaves out.
    made += [Asked(user, "3", suffix="/?search=one&title=one") for user in USERS[:2]]
    # What a URL begins and ends with depends on all of them.
    made += [Asked(choose.choice(USERS), "", **each) for each in PAGES if view in PAGED]
    for more in SOMEWHERE if view in LINKING else choose.sample(SOMEWHERE, 20):
        made.append(Asked(**{"user": choose.choice(USERS), "row": choose.choice(ROWS), **more}))
    return made


def fill_users():
    names = ["nobody", *USERS[1:]]
    for pk, name in zip((1, 11, 12, 13), names, strict=True):
        User.objects.create(pk=pk, username=name, is_staff=name == "staff")


def fill_database():
    for model in (Reader, Report, Upload, Page, Loose):
        model.objects.all().delete()
    Report.objects.bulk_create(
        Report(pk=pk, owner_id=owner, title=slug, slug=slug, is_public=is_public, salary=pk)
        for pk, (owner, slug, is_public) in enumerate(REPORTS, 1)
    )
    Reader.objects.bulk_create(
        Reader(report_id=report, user_id=user) for report, user in ((1, 12), (1, 13), (3, 11))
    )
    Upload.objects.create(pk=1, file="a.txt")
    Page.objects.bulk_create(
        Page(pk=pk, title=str(pk), parent_id=parent, picture=picture)
        for pk, parent, picture in ((1, None, "a b.png"), (2, 1, ""), (3, 2, "ü.png"), (4, 1, ""))
    )
    Loose.objects.create(pk=1, title="loose")
    with connection.cursor() as cursor:
        for model in (Report, Upload, Page, Loose):
            table = model._meta.db_table
            cursor.execute(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), 1000)")


def state():
    return [list(model.objects.order_by("pk").values()) for model in (Report, Upload, Page, Loose)]


def without_noise(answer, view):
    """All of it that must be the same."""
    content = answer.content
    for noise in NOISE:
        content = re.sub(noise, b"", content)
    headers = {name: value for name, value in answer.headers.items() if name not in DIFFER}
    if view in NO_SESSION:
        varies = headers.pop("Vary", "").split(", ")
        headers["Vary"] = ", ".join(each for each in varies if each != "Cookie")
        content = re.sub(rb"(<b>Vary:</b>.*), Cookie", rb"\1", content)
    if content != answer.content:
        headers.pop("Content-Length", None)
    cookies = sorted(answer.cookies)
    # Read from the bytes, it has no more than JSON has.
    data = json.loads(json.dumps(getattr(answer, "data", None), cls=JSONEncoder))
    return answer.status_code, content, headers, cookies, data


class Twin:
    """One of the two: its answers, and where the rows came from."""

    def __init__(self, view):
        self.view = view
        self.answers = {}
        self.outcomes = set()
        self.clients = {}
        fill_database()
        self.before = state()

    def ask(self, number, asked):
        body = asked.body if isinstance(asked.body, bytes) else json.dumps(asked.body)
        sent = b"" if asked.body is None else body
        answer = self.client(asked).generic(
            asked.method, asked.path(self.view), sent, "application/json", headers=asked.headers
        )
        self.outcomes.add(answer.headers.get("X-Cache"))
        after = state() if asked.method not in READS else self.before
        self.answers.setdefault(number, []).append((without_noise(answer, self.view), after))
        if after != self.before:
            fill_database()

    def client(self, asked):
        """Logged in, as it is at first: a page gives it no cookie."""
        key = asked.user, asked.checks_csrf
        if key not in self.clients:
            client = Client(raise_request_exception=False, enforce_csrf_checks=asked.checks_csrf)
            if asked.user != "anonymous":
                client.force_login(User.objects.get(username=asked.user))
            self.clients[key] = client
        client = self.clients[key]
        client.cookies.pop("csrftoken", None)
        return client


@pytest.fixture
def differences(settings):
    """The requests of a view that its twins answer differently, with both answers."""
    settings.ALLOWED_HOSTS = ["testserver", "localhost"]

    def find(view, requests):
        fill_users()
        plain, cached = Twin(view), Twin(view)
        for twin, bases in ((plain, ()), (cached, (CachedViewMixin,))):
            settings.ROOT_URLCONF = Urls(*bases)
            for number, asked in enumerate(requests):
                twin.ask(number, asked)
                if twin is cached and asked.method in READS:
                    # Then as a miss, and as a hit of what that has filled.
                    list(clear.clear_all())
                    twin.ask(number, asked)
                    twin.ask(number, asked)
        found = [
            (asked, plain.answers[number][0], answer)
            for number, asked in enumerate(requests)
            for answer in cached.answers[number]
            if answer != plain.answers[number][0]
        ]
        return found, cached.outcomes

    return find


def described(view, found):
    lines = [f"{view}: {len(found)} differences"]
    for asked, *answers in found[:5]:
        lines.append(str(asked))
        without, with_ = ([*answer, rows] for answer, rows in answers)
        for one, other in zip(without, with_, strict=True):
            if one != other:
                texts = [str(each).replace("\\n", "\n").splitlines() for each in (one, other)]
                lines += list(difflib.unified_diff(*texts, n=0, lineterm=""))
    return "\n".join(lines)


@pytest.mark.parametrize("view", TWINS)
def test_the_answers_are_those_without_the_mixin(differences, view):
    found, outcomes = differences(view, requests_of(view))
    assert not found, described(view, found)
    # And it is no test of views that are never cached.
    assert ("HIT" in outcomes) is TWINS[view][1]
