"""This process's copy of the epochs of the shards."""

import pytest

from cachelayer.redis import epoch, shard_epochs
from cachelayer.tests.interleaving import start, stopped

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("quick")]


def test_the_answer_to_an_earlier_question_does_not_replace_a_later_one():
    with stopped(shard_epochs, "_read", after=True) as read:
        early = start(shard_epochs.ask)
        read.reached()
        latest = shard_epochs.advance([5])
        read.release()
        assert early.result().version == latest.version
    assert shard_epochs.known(5) == latest.version
    assert epoch.known() == latest.version
