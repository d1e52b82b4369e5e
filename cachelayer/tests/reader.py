"""A second process that reads: a line of its input is a list of rows, its answer what it is told.

python -m cachelayer.tests.reader NAME_OF_THE_DATABASE
"""

import json
import sys

import django
from django.conf import settings


def main() -> None:
    settings.DATABASES["default"]["NAME"] = sys.argv[1]
    django.setup()
    import cachelayer
    from cachelayer.representation import registry

    for line in sys.stdin:
        answers = []
        for prefix, pk in json.loads(line):
            cached = registry.model_of_prefix(prefix)
            assert cached is not None
            row = cachelayer.read(cached.model, pk).row
            answers.append("null" if row is None else row.decode())
        sys.stdout.write(json.dumps(answers) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
