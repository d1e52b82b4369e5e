"""The how-to guides, followed in a new project: "Adopt it in your project", then their examples."""

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
import uuid
from contextlib import contextmanager

import psycopg
import pytest

from itemsite.lab.bootstrap import ROOT
from itemsite.lab.ports import free_port
from itemsite.lab.redis_server import Redis
from itemsite.tests.documented import DOCS, PAGES, README, blocks

pytestmark = pytest.mark.timeout(300)

HOW_TO = DOCS / "how-to"
METRICS = DOCS / "reference" / "metrics.md"
#: What the project of the guides has already: other models, a serializer, and the imports.
HAD = {
    "models.py": """
from django.db import models


class Author(models.Model):
    name = models.CharField(max_length=50)


class Publisher(models.Model):
    name = models.CharField(max_length=50)


class Tag(models.Model):
    name = models.CharField(max_length=50)


class Book(models.Model):
    title = models.CharField(max_length=100)
    author = models.ForeignKey(Author, on_delete=models.CASCADE)
    publisher = models.ForeignKey(Publisher, null=True, on_delete=models.SET_NULL)
    tags = models.ManyToManyField(Tag)
    isbn = models.CharField(max_length=20, unique=True, null=True)


class Review(models.Model):
    book = models.ForeignKey(Book, on_delete=models.CASCADE, related_name="reviews")
    user = models.ForeignKey("auth.User", null=True, on_delete=models.SET_NULL)
""",
    "serializers.py": """
from rest_framework import serializers
from shop.models import Book


class BookSerializer(serializers.ModelSerializer):
    class Meta:
        model = Book
        fields = ["id", "title", "author", "publisher"]
""",
    "apps.py": "from django.apps import AppConfig\n",
    "views.py": """
from cachelayer.contrib.rest import CachedViewMixin
from rest_framework import viewsets
from shop.models import Book
from shop.serializers import BookSerializer
""",
    "admin.py": """
from cachelayer.admin import CachedRowPanel
from django.contrib import admin
from shop.models import Book
""",
}
URLS = """
from django.contrib import admin
from django.urls import include, path
from rest_framework.routers import SimpleRouter
from shop.views import BookViewSet

router = SimpleRouter(trailing_slash=False)
router.register("books", BookViewSet)
urlpatterns = [path("", include(router.urls)), path("admin/", admin.site.urls)]
"""
REGISTER = "cachelayer.register(Book, BookSerializer)\n"
#: What every script of a test begins with.
PRELUDE = """
import json
import django
django.setup()
import cachelayer
from cachelayer.redis import transport
from django.test import Client
from shop.models import Author, Book, Publisher

def cached(pk):
    value = transport.client().get(f"book:{pk}")
    return value and json.loads(value)

def titles(*pks):
    rows = [cached(pk) for pk in pks]
    return [row and row["title"] for row in rows]
"""


class Project:
    """A new project, made by django-admin and the guide."""

    def __init__(self, folder, database, redis, venv=None):
        self.folder = folder
        #: Where cachelayer is: installed there, else a copy beside manage.py.
        self.home = venv or folder
        self.python = str(venv / "bin" / "python") if venv else sys.executable
        self.database = database
        self.redis = redis

    def run(self, *arguments):
        """Run Python in it; what it writes to standard output."""
        return self._run(arguments, 0).stdout

    def _run(self, arguments, code):
        ran = subprocess.run(
            [self.python, *arguments],
            cwd=self.folder,
            env={
                "PATH": os.environ["PATH"],
                "DJANGO_SETTINGS_MODULE": "mysite.settings",
                # What stands beside manage.py, and not this checkout.
                "PYTHONPATH": str(self.folder),
            },
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert ran.returncode == code, ran.stdout + ran.stderr
        return ran

    def run_failing(self, *arguments):
        """As ``run``, of what ends with 1; what it writes to standard error."""
        return self._run(arguments, 1).stderr

    def script(self, text):
        """Run a script in it; what it prints, which is JSON."""
        return json.loads(self.run("-c", PRELUDE + text))

    @contextmanager
    def changed(self, **modules):
        """With other modules of its shop, and after a ``migrate``."""
        before = {}
        for name, text in modules.items():
            path = self.folder / "shop" / f"{name}.py"
            before[path] = path.read_text() if path.exists() else None
            path.write_text(text)
        self.run("manage.py", "migrate")
        try:
            yield
        finally:
            for path, text in before.items():
                path.unlink() if text is None else path.write_text(text)
            self.run("manage.py", "migrate")

    def sql(self, statement):
        """As psql or another program would."""
        with psycopg.connect(self.database, autocommit=True) as other:
            other.execute(statement)


def examples(guide):
    """The python blocks of one of the how-to guides."""
    return [block.script for block in blocks(HOW_TO / f"{guide}.md", "python")]


def steps():
    """The guide's python block, by file, and the commands of its sh block."""
    [python] = examples("adopt")
    [shell] = blocks(HOW_TO / "adopt.md", "sh")
    parts = re.split(r"^# (\w+\.py)\n", python, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True)), shell.script.splitlines()


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    with new_project(tmp_path_factory) as project:
        yield project


@contextmanager
def new_project(tmp_path_factory, venv=None):
    """A project on servers that it has alone; with *venv*, it has what is installed there."""
    folder = tmp_path_factory.mktemp("adoption") / "mysite"
    redis = Redis(tmp_path_factory.mktemp("adoption-redis"), free_port(), persistent=False)
    name = f"adoption_{uuid.uuid4().hex[:8]}"
    server = os.environ["DATABASE_URL"]
    database = re.sub(r"(?<=[^/])/[^/?]*(?=\?|$)", f"/{name}", server)
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
        redis.start()
        try:
            yield make(Project(folder, database, redis, venv))
        finally:
            redis.kill()
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def make(project):
    """What django-admin makes, what the project has, and what the guide adds."""
    folder = project.folder
    folder.mkdir()
    django_admin = [project.python, "-m", "django", "startproject", "mysite", "."]
    environment = {name: v for name, v in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    subprocess.run(django_admin, cwd=folder, env=environment, check=True)
    if project.home == folder:
        leave_out = shutil.ignore_patterns("tests", "spec", "__pycache__")
        shutil.copytree(ROOT / "cachelayer", folder / "cachelayer", ignore=leave_out)
    shop = folder / "shop"
    (shop / "migrations").mkdir(parents=True)
    (shop / "__init__.py").touch()
    (shop / "migrations" / "__init__.py").touch()
    added, _ = steps()
    with (folder / "mysite" / "settings.py").open("a") as settings:
        settings.write(f"\nINSTALLED_APPS += ['shop']\nDATABASES = {in_settings(project)}\n")
        url = f"redis://127.0.0.1:{project.redis.port}/0"
        settings.write(added.pop("settings.py").replace("redis://127.0.0.1:6379/0", url))
        # This machine is busy: a timeout of the guide's would only be a bypass.
        settings.write("for name in CACHES['default']['OPTIONS']:\n")
        settings.write("    CACHES['default']['OPTIONS'][name] = 5\n")
        settings.write("CACHELAYER = {'REQUEST_BUDGET': 10.0}\n")
    (folder / "mysite" / "urls.py").write_text(URLS)
    for name, text in HAD.items():
        (shop / name).write_text(text + "\n\n" + added.pop(name, ""))
    assert not added, "the guide adds to files that this project does not have"
    project.run("manage.py", "makemigrations", "shop")  # As the project has had before.
    follow_commands(project)
    return project


def in_settings(project):
    parts = psycopg.conninfo.conninfo_to_dict(project.database)
    names = {"dbname": "NAME", "user": "USER", "password": "PASSWORD", "host": "HOST"}
    found = {names[name]: value for name, value in parts.items() if name in names}
    return {
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "PORT": parts.get("port", ""),
            **found,
        }
    }


def follow_commands(project):
    for command in steps()[1]:
        _, manage, *arguments = command.split()
        # It would not end.
        once = ["--once"] if arguments == ["cache_repair"] else []
        project.run(manage, *arguments, *once)


def test_every_example_is_followed_by_a_test():
    """Here; the settings for Sentinel and clusters by ``behind_sentinel``, ``redis_cluster``."""
    followed = ("adopt", "cluster", "documents", "pages", "representations", "sentinel")
    with_examples = {page for page in (README, *PAGES) if blocks(page, "python", "py", "console")}
    assert with_examples == {*(HOW_TO / f"{name}.md" for name in followed), METRICS}


def test_the_metrics_are_on_a_page_of_the_project(project):
    [example] = blocks(METRICS, "python")
    page = project.script(f"{example.script}\nprint(json.dumps(metrics(None).content.decode()))")
    assert "cachelayer_repair_backlog 0.0" in page
    assert "cachelayer_reads_total" in page


def test_the_checks_pass_and_no_migration_is_left_to_make(project):
    project.run("manage.py", "check", "--database", "default", "--fail-level", "WARNING")
    project.run("manage.py", "makemigrations", "--check")


def test_the_project_knows_nothing_of_the_lab(project):
    found = project.script(
        "import sys; print(json.dumps([cachelayer.__file__, sorted(sys.modules)]))"
    )
    assert found[0].startswith(str(project.home))
    assert not {"items", "itemsite"} & set(found[1])


def test_every_way_to_write_is_followed(project):
    found = project.script("""
author, publisher = Author.objects.create(name="Ann"), Publisher.objects.create(name="Faber")
book = Book.objects.create(title="one", author=author, publisher=publisher)
seen = {"created": cached(book.pk)}
book.title = "two"
book.save()
seen["saved"] = titles(book.pk)
Book.objects.filter(pk=book.pk).update(title="three")
seen["updated"] = titles(book.pk)
more = Book.objects.bulk_create(Book(title=f"more {n}", author=author) for n in range(3))
pks = [each.pk for each in more]
seen["bulk created"] = titles(*pks)
for each in more:
    each.title = "changed"
Book.objects.bulk_update(more, ["title"])
seen["bulk updated"] = titles(*pks)
publisher.delete()
seen["publisher set null"] = cached(book.pk)["publisher"]
more[0].delete()
Book.objects.filter(pk=pks[1]).delete()
seen["deleted"] = [transport.client().get(f"book:{pk}").decode() for pk in pks[:2]]
author.delete()
seen["cascade"] = transport.client().get(f"book:{book.pk}").decode()
seen["foreign keys"] = [author.pk or seen["created"]["author"], seen["created"]["publisher"]]
print(json.dumps(seen))
""")
    assert found["created"]["title"] == "one"
    assert isinstance(found["created"]["id"], int)
    assert found["foreign keys"] == [found["created"]["author"], found["created"]["publisher"]]
    assert found["saved"] == ["two"]
    assert found["updated"] == ["three"]
    assert found["bulk created"] == ["more 0", "more 1", "more 2"]
    assert found["bulk updated"] == ["changed"] * 3
    assert found["publisher set null"] is None
    assert found["deleted"] == ["null", "null"]
    assert found["cascade"] == "null"


def test_the_view_answers_from_the_cache(project):
    found = project.script("""
book = Book.objects.create(title="Emma", author=Author.objects.create(name="Jane"))
client = Client(SERVER_NAME="localhost")
url = f"/books/{book.pk}"
def ask(**headers):
    answer = client.get(url, headers=headers)
    return answer.status_code, answer.headers.get("X-Cache"), answer.content.decode()
tag = client.get(url)["ETag"]
seen = {"hit": ask(), "not modified": ask(**{"If-None-Match": tag})}
transport.client().delete(f"book:{book.pk}")
seen["miss"] = ask()
body = {"title": "Persuasion", "author": book.author_id}
seen["put"] = client.put(url, body, "application/json").status_code
seen["changed"] = ask(**{"If-None-Match": tag})
seen["person"] = client.get(url, headers={"Accept": "text/html"}).status_code
seen["wrong id"] = client.get("/books/emma").status_code
seen["deleted"] = [client.delete(url).status_code, client.get(url).status_code]
print(json.dumps(seen))
""")
    status, outcome, body = found["hit"]
    assert (status, outcome) == (200, "HIT")
    assert json.loads(body)["title"] == "Emma"
    assert found["not modified"] == [304, "HIT", ""]
    assert found["miss"] == [200, "MISS", body]
    assert found["put"] == 200
    status, outcome, body = found["changed"]
    assert (status, outcome, json.loads(body)["title"]) == (200, "HIT", "Persuasion")
    assert found["person"] == 200
    assert found["wrong id"] == 404
    assert found["deleted"] == [204, 404]


def ready(*lines):
    """An apps.py that registers what a guide's lines say."""
    body = textwrap.indent("".join(lines), " " * 8)
    return f"""
from django.apps import AppConfig


class ShopConfig(AppConfig):
    name = "shop"

    def ready(self):
        import cachelayer
        from shop.models import Book
        from shop import serializers
        globals().update(vars(serializers))

{body}
"""


def test_rows_that_show_other_rows_are_followed(project):
    """The guide's book, with its author's name, its tags and the number of its reviews."""
    example, declared, _ = examples("documents")
    serializer = f"from rest_framework import serializers\nfrom shop.models import Book\n{example}"
    script = """
from shop.models import Review, Tag
author, tag = Author.objects.create(name="Jane"), Tag.objects.create(name="sea")
book = Book.objects.create(title="Waves", author=author)
seen = []
def look():
    reads = [cachelayer.read(Book, book.pk) for _ in range(2)]
    seen.append([reads[1].outcome, *list(json.loads(reads[1].row).values())[2:]])
look()
book.tags.add(tag)
look()
Review.objects.create(book=book)
look()
Author.objects.update(name="Ann")
Tag.objects.filter(pk=tag.pk).update(name="war")
look()
print(json.dumps(seen))
"""
    with project.changed(serializers=serializer, apps=ready(REGISTER)):
        assert project.script(script) == [
            ["hit", "Jane", [], 0],
            ["hit", "Jane", ["sea"], 0],
            ["hit", "Jane", ["sea"], 1],
            ["hit", "Ann", ["war"], 1],
        ]
    with project.changed(serializers=serializer, apps=ready(declared)):
        paths = project.script("""
from cachelayer.representation import registry
print(json.dumps(list(registry.get(Book).shown.paths())))
""")
        assert {*paths} >= {"author", "reviews", "reviews__user"}


CARD = """

class BookCardSerializer(serializers.ModelSerializer):
    class Meta:
        model = Book
        fields = ["id", "title"]
"""


def test_other_serializers_and_columns(project):
    [register] = examples("representations")
    with project.changed(serializers=HAD["serializers.py"] + CARD, apps=ready(register)):
        found = project.script("""
from shop.serializers import BookCardSerializer
book = Book.objects.create(title="Emma", isbn="1", author=Author.objects.create(name="Jane"))
mine = Book.objects.filter(pk=book.pk)
def look(isbn):
    reads = [cachelayer.read_by(Book, isbn=isbn) for _ in range(2)]
    return [reads[1].outcome, reads[1].row and json.loads(reads[1].row)["title"]]
def card():
    return json.loads(cachelayer.read(Book, book.pk, serializer=BookCardSerializer).row)
seen = [look("1"), look("2"), card()]
mine.update(isbn="2", title="Persuasion")
seen += [look("1"), look("2"), card(), transport.client().ttl(f"book:{book.pk}") > 3000]
del seen[2]["id"], seen[5]["id"]
print(json.dumps(seen))
""")
    emma, persuasion = {"title": "Emma"}, {"title": "Persuasion"}
    assert found == [
        *(["hit", "Emma"], ["hit", None], emma),
        *(["hit", None], ["hit", "Persuasion"], persuasion, True),
    ]


def test_pages_and_any_bytes(project):
    register, view = examples("pages")
    _, _, shelf = examples("documents")
    views = f"""
from cachelayer.contrib.rest import CachedViewMixin
from django_filters.rest_framework import DjangoFilterBackend
from rest_framework import viewsets
from rest_framework.filters import SearchFilter
from rest_framework.pagination import PageNumberPagination as Numbers
from shop.models import Book
from shop.serializers import BookSerializer

class PageNumberPagination(Numbers):
    page_size = 2

{view}
"""
    documents = f"import json\nimport cachelayer\nfrom shop.models import Book\n\n{shelf}"
    apps = ready(register, "from shop import documents  # noqa: F401\n")
    with project.changed(views=views, apps=apps, documents=documents):
        project.run("manage.py", "check", "--database", "default", "--fail-level", "WARNING")
        found = project.script("""
from shop.documents import shelf
author = Author.objects.create(name="Jane")
Book.objects.all().delete()
Book.objects.bulk_create(Book(title=title, author=author) for title in "ABC")
client = Client(SERVER_NAME="localhost")
def page(query=""):
    for _ in range(2):
        answer = client.get(f"/books{query}")
    return [answer["X-Cache"], *(book["title"] for book in answer.json()["results"])]
def read():
    return [[found.outcome, json.loads(found.row)] for found in map(shelf.read, [author.pk] * 2)]
seen = [page(), page(f"?author={author.pk}&page=2"), page("?x=1"), read()]
Book.objects.create(title="0", author=author)
seen += [page(), page(f"?author={author.pk}&page=2"), read()]
print(json.dumps(seen))
""")
    assert found == [
        ["HIT", "A", "B"],
        ["HIT", "C"],
        ["BYPASS", "A", "B"],
        [["miss", ["A", "B", "C"]], ["hit", ["A", "B", "C"]]],
        ["HIT", "0", "A"],
        ["HIT", "B", "C"],
        [["miss", ["0", "A", "B", "C"]], ["hit", ["0", "A", "B", "C"]]],
    ]


def test_sql_from_another_program_is_followed(project):
    pk = project.script("""
book = Book.objects.create(title="before", author=Author.objects.create(name="Jane"))
print(book.pk)
""")
    project.sql(f"UPDATE shop_book SET title = 'after' WHERE id = {pk}")
    project.run("manage.py", "cache_repair", "--once")
    read = f"print(cachelayer.read(Book, {pk}).row.decode())"
    assert project.script(read)["title"] == "after"


def test_a_trigger_that_was_dropped_is_named_with_what_mends_it(project):
    project.sql("DROP TRIGGER cachelayer_update ON shop_book")
    check = ["manage.py", "check", "--database", "default", "--fail-level", "WARNING"]
    said = project.run_failing(*check)
    assert "shop_book lacks the trigger for UPDATE" in said
    assert "manage.py migrate" in said
    project.run("manage.py", "migrate")
    project.run(*check)


def test_a_model_of_another_app_is_cached_without_a_migration_of_its_own(project):
    register = """
from django.contrib.auth.models import Group
cachelayer.register(Group, lambda group: {"id": group.pk, "name": group.name})
"""
    with project.changed(apps=ready(REGISTER, register)):
        found = project.script("""
from django.contrib.auth.models import Group
group = Group.objects.create(name="one")
seen = [cachelayer.read(Group, group.pk) for _ in range(2)]
Group.objects.filter(pk=group.pk).update(name="two")
seen += [cachelayer.read(Group, group.pk) for _ in range(2)]
print(json.dumps([[read.outcome, json.loads(read.row)["name"]] for read in seen]))
""")
        # A function may show a group's permissions: a row of two tables, which is not pushed.
        assert found == [["miss", "one"], ["hit", "one"], ["miss", "two"], ["hit", "two"]]
        project.run("manage.py", "makemigrations", "--check")


def test_the_admin_has_the_cache_page_and_the_panel(project):
    found = project.script("""
from django.contrib.auth.models import User
client = Client(SERVER_NAME="localhost")
client.force_login(User.objects.create_superuser("admin"))
book = Book.objects.create(title="Emma", author=Author.objects.create(name="Jane"))
page = client.get("/admin/cachelayer/cache/", {"key": f"book:{book.pk}"})
panel = client.get(f"/admin/shop/book/{book.pk}/change/").content.decode()
add = client.get("/admin/shop/book/add/")
print(json.dumps([page.status_code, page.content.decode(), panel, add.status_code, book.pk]))
""")
    status, page, panel, add, pk = found
    assert (status, add) == (200, 200)
    assert "The cached bytes match the database row." in page
    assert f"book:{pk}" in panel
    assert "the same bytes as the database row" in panel


def test_nothing_differs_in_the_end(project):
    assert re.fullmatch(
        r"Compared \d+ cached rows: 0 differences\.\n", project.run("manage.py", "cache_verify")
    )
