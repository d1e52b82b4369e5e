"""The epoch of each shard of a Redis Cluster; see ``shard_epochs.py``."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("cachelayer", "0004_shape")]

    operations = [
        migrations.RunSQL(
            "CREATE TABLE cachelayer_shard (shard integer PRIMARY KEY, epoch bigint NOT NULL)",
            "DROP TABLE cachelayer_shard",
        ),
    ]
