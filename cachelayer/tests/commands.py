"""Running the commands: in this process, or as one of their own on this test's servers."""

import os
import re
import subprocess
import sys
from io import StringIO

from django.conf import settings as django_settings
from django.core.management import call_command
from django.db import connection


def run(name, *arguments):
    """What the command writes to standard output."""
    out = StringIO()
    call_command(name, *arguments, stdout=out)
    return out.getvalue()


def environment_here():
    """That of a process on this test's servers."""
    url = f"/{connection.settings_dict['NAME']}"
    return {
        **os.environ,
        # Settings that a test has changed have no name.
        "DJANGO_SETTINGS_MODULE": django_settings.SETTINGS_MODULE
        or os.environ["DJANGO_SETTINGS_MODULE"],
        "DATABASE_URL": re.sub(r"(?<=[^/])/[^/?]*(?=\?|$)", url, os.environ["DATABASE_URL"]),
    }


def run_in_a_pipe(name, *arguments, **environment):
    """The command as a process of its own, on this test's servers."""
    return subprocess.run(
        [sys.executable, "-m", "django", name, *arguments],
        capture_output=True,
        text=True,
        env={**environment_here(), **environment},
        cwd=django_settings.BASE_DIR,
        input="",
        timeout=60,
    )
