"""The shape that owns the plain keys of each prefix; see ``variants.py``."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("cachelayer", "0003_witness")]

    operations = [
        migrations.RunSQL(
            "CREATE TABLE cachelayer_shape (prefix text PRIMARY KEY, fingerprint text NOT NULL)",
            "DROP TABLE cachelayer_shape",
        ),
    ]
