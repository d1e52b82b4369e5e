from django.db import migrations


class Migration(migrations.Migration):
    """Nothing: the triggers that were made here are ``migrate``'s own now.

    Where this has run before, cachelayer's 0003_witness takes the old ones away.
    """

    dependencies = [("items", "0001_initial")]

    operations = []
