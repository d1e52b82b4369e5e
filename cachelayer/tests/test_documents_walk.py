"""A walk of random writes over all that documents show; after each, they are as Postgres has it."""

import os
import random
from collections import Counter

import pytest
from django.db import transaction
from django.urls import path
from rest_framework.exceptions import NotFound

from cachelayer.contrib.rest import pages
from cachelayer.protocol import drain, key_values
from cachelayer.protocol.reads import read_one
from cachelayer.redis import transport
from cachelayer.representation import registry
from cachelayer.representation.loading import read_rows
from cachelayer.tests.bookshop.documents import titles_of
from cachelayer.tests.bookshop.models import Agency, Novel, Person, Review, Topic, Writer
from cachelayer.tests.test_pages import Cards, Novels
from cachelayer.tests.truth import logged, outside

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("quick")]

VIEWS = {"cards": Cards, "novels": Novels}
STEPS = int(os.environ.get("DOCUMENT_STEPS", "50"))


class Walk:
    """Random writes; *chance* decides what, and of which rows."""

    def __init__(self, seed):
        self.chance = random.Random(seed)
        self.number = 0
        for _ in range(2):
            self.agency(), self.person(), self.writer(), self.topic()
        for _ in range(3):
            self.novel()

    def text(self):
        self.number += 1
        return f"{self.number}"

    def any(self, model):
        return self.chance.choice([None, *model.objects.order_by("pk")])

    def agency(self):
        Agency.objects.create(name=self.text())

    def person(self):
        Person.objects.create(name=self.text())

    def writer(self):
        Writer.objects.create(name=self.text(), agency=self.any(Agency))

    def topic(self):
        Topic.objects.create(slug=f"t{self.text()}", label=self.text())

    def novel(self):
        Novel.objects.create(
            title=self.text(),
            isbn=self.chance.choice([None, self.text()]),
            writer=self.any(Writer),
            main_topic=self.any(Topic),
        )

    def renumber(self):
        """Also to what another had before."""
        isbn = self.chance.choice([None, *map(str, range(1, 12))])
        if not Novel.objects.filter(isbn=isbn).exists():
            Novel.objects.filter(pk=self.pk(Novel)).update(isbn=isbn)

    def review(self):
        if novel := self.any(Novel):
            Review.objects.create(novel=novel, stars=self.number, critic=self.any(Person))

    def save(self):
        if row := self.any(self.chance.choice([Agency, Person, Writer, Topic, Novel, Review])):
            for name in ("name", "label", "title"):
                if hasattr(row, name):
                    setattr(row, name, self.text())
            row.save()

    def repoint(self):
        Novel.objects.filter(pk=self.pk(Novel)).update(writer=self.any(Writer))

    def repoint_topic(self):
        Novel.objects.filter(pk=self.pk(Novel)).update(main_topic=self.any(Topic))

    def rename_topic(self):
        """The key that novels refer by is no primary key."""
        used = Novel.objects.exclude(main_topic=None).values("main_topic")
        Topic.objects.filter(pk=self.pk(Topic)).exclude(slug__in=used).update(
            slug=f"t{self.text()}"
        )

    def move_review(self):
        if novel := self.any(Novel):
            Review.objects.filter(pk=self.pk(Review)).update(novel=novel)

    def critic(self):
        Review.objects.filter(pk=self.pk(Review)).update(critic=self.any(Person))

    def link(self):
        novel, topic = self.any(Novel), self.any(Topic)
        if novel and topic:
            self.chance.choice([novel.topics.add, novel.topics.remove])(topic)

    def relink(self):
        if novel := self.any(Novel):
            novel.topics.set(
                self.chance.sample([*Topic.objects.all()], k=min(2, Topic.objects.count()))
            )

    def delete(self):
        row = self.any(self.chance.choice([Agency, Person, Topic, Novel, Review]))
        if row:
            row.delete()

    def many(self):
        Review.objects.update(stars=self.number)

    def pk(self, model):
        row = self.any(model)
        return row and row.pk

    def psql(self):
        sql = self.chance.choice(
            [
                "UPDATE bookshop_review SET stars = stars + 1",
                "UPDATE bookshop_person SET name = name || '!' WHERE id % 2 = 0",
                "DELETE FROM bookshop_novel_topics WHERE id % 3 = 0",
                "TRUNCATE bookshop_review",
                "UPDATE bookshop_novel SET isbn = NULL WHERE id % 3 = 0",
                "INSERT INTO bookshop_novel (title) VALUES ('SQL')",
            ]
        )
        with outside() as other:
            other.execute(sql)
        drain.drain()

    def evict(self):
        keys = [
            key
            for start in ("@", "novel", "titles_of")
            for key in transport.client().keys(f"{start}*")
        ]
        if keys:
            transport.client().delete(*self.chance.sample(keys, k=min(3, len(keys))))

    def step(self):
        kinds = [
            *(
                self.agency,
                self.person,
                self.writer,
                self.topic,
                self.novel,
                self.review,
                self.save,
            ),
            *(self.repoint, self.repoint_topic, self.rename_topic, self.move_review, self.critic),
            *(self.link, self.relink, self.delete, self.many, self.psql, self.evict),
            self.renumber,
        ]
        how = self.chance.random()
        if how < 0.5:
            self.chance.choice(kinds)()
        elif how < 0.8:
            within = [kind for kind in kinds if kind != self.psql]
            with transaction.atomic():
                for _ in range(self.chance.randint(1, 3)):
                    self.chance.choice(within)()
                if self.chance.random() < 0.3:
                    transaction.set_rollback(True)
        else:
            with transaction.atomic():
                self.save()
                with transaction.atomic():
                    self.repoint()
                    transaction.set_rollback(self.chance.random() < 0.5)
                self.review()


def reads():
    """What can be read of all that there is: by registration, and what its keys have."""
    pks = list(Novel.objects.values_list("pk", flat=True))
    isbns = [
        *map(str, range(1, 12)),
        *Novel.objects.exclude(isbn=None).values_list("isbn", flat=True),
    ]
    for cached in registry.of_model(Novel):
        yield cached, isbns if cached.by else pks
    writers = Writer.objects.values_list("pk", flat=True)
    yield titles_of.cached, [(writer,) for writer in writers]
    for name in ("cards", "novels"):
        for query in ("", "?page=2"):
            view = pages.view_of("http://testserver", f"/{name}{query}")
            found = pages.find(registry.get(Novel, type(view).serializer_class))
            yield found, [("http://testserver", f"/{name}{query}", pages.code_of(view))]


@pytest.mark.parametrize("seed", range(4))
def test_all_that_is_cached_is_as_postgres_has_it(seed, settings):
    patterns = [path(name, view.as_view({"get": "list"})) for name, view in VIEWS.items()]
    settings.ROOT_URLCONF = type("Urls", (), {"urlpatterns": patterns})
    walk = Walk(seed)
    outcomes = Counter()
    for number in range(STEPS):
        walk.step()
        for cached, keys in reads():
            for key, there in read_rows(None, cached, keys).items():
                try:
                    read = read_one(cached, key)
                except NotFound:  # There is no such page.
                    assert there == key_values.NULL
                    continue
                shown = key_values.NULL if read.row is None else read.row
                assert shown == there.removeprefix(b"="), f"step {number}: {cached.label} {key}"
                outcomes[cached.prefix, read.outcome] += 1
        assert logged() == set(), f"step {number}"
    for prefix in {prefix for prefix, _ in outcomes}:
        counts = {name: outcomes[prefix, name] for name in ("hit", "miss", "bypass")}
        assert counts["hit"] > sum(counts.values()) / 8, f"else it shows nothing: {prefix} {counts}"
        assert not counts["bypass"], f"{prefix} {counts}"
