"""Brings the database up to date: ``python -m itemsite.lab.prepare``.

A separate process, so that the launcher stays small and holds no connection. The
admin's password comes on standard input, where no process list shows it.
"""

import os
import sys
from contextlib import suppress
from io import StringIO

import django

ADMIN = "admin"


def main(admin_password: str, *, ours: bool) -> str:
    """Migrate, load the sample rows, make the admin user; says what became of that user."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "itemsite.settings")
    django.setup()
    from django.core.management import CommandError, call_command

    call_command("migrate", interactive=False, verbosity=0)
    # A Redis that has just started is trusted only after a reconcile; done here,
    # the first read through the API is a hit. Without Redis the lab starts too.
    with suppress(CommandError):
        call_command("cache_repair", once=True, timeout=10, stdout=StringIO())
    call_command("load_samples", verbosity=0)
    return _make_admin(admin_password, ours=ours)


def _make_admin(password: str, *, ours: bool) -> str:
    from django.contrib.auth.models import User

    user = User.objects.filter(username=ADMIN).first()
    if user and user.is_superuser and user.check_password(password):
        return "ready"
    if user and not ours:
        # Somebody's own database: its admin keeps the password.
        return "kept"
    user = user or User(username=ADMIN)
    user.is_staff = user.is_superuser = user.is_active = True
    user.set_password(password)
    user.save()
    return "ready"


if __name__ == "__main__":
    from django.db import Error

    try:
        sys.stdout.write(main(sys.stdin.read(), ours="--ours" in sys.argv))
    except Error as error:
        sys.exit(" ".join(str(error).split()))
