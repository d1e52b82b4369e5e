#!/usr/bin/env python
"""Django's command line for the lab's settings."""

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "itemsite.settings")
    try:
        execute_from_command_line(sys.argv)
    except KeyboardInterrupt:
        # While it was starting: nothing was begun.
        sys.exit(130)
