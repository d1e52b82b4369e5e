"""Tables whose rows are shown together: a novel with its writer, its topics and its reviews."""

from django.db import models


class Agency(models.Model):
    name = models.CharField(max_length=50)


class Person(models.Model):
    name = models.CharField(max_length=50)


class Writer(Person):
    """A row of two tables."""

    agency = models.ForeignKey(Agency, null=True, on_delete=models.SET_NULL)


class Topic(models.Model):
    slug = models.CharField(max_length=20, unique=True)
    label = models.CharField(max_length=50, default="")


class Novel(models.Model):
    title = models.CharField(max_length=100)
    isbn = models.CharField(max_length=20, unique=True, null=True)
    writer = models.ForeignKey(Writer, null=True, on_delete=models.CASCADE, related_name="novels")
    main_topic = models.ForeignKey(
        Topic, null=True, on_delete=models.SET_NULL, to_field="slug", related_name="+"
    )
    topics = models.ManyToManyField(Topic, related_name="novels")


class Review(models.Model):
    novel = models.ForeignKey(Novel, on_delete=models.CASCADE, related_name="reviews")
    critic = models.ForeignKey(Person, null=True, on_delete=models.SET_NULL)
    stars = models.IntegerField(default=0)
