"""A project without drf-spectacular has the cache layer all the same."""

import os
import subprocess
import sys

from itemsite.environment import for_child
from itemsite.lab.bootstrap import ROOT

SETTINGS = """
from itemsite.settings_test import *
INSTALLED_APPS = [a for a in INSTALLED_APPS if not a.startswith("drf_") and a != "items"]
REST_FRAMEWORK = {"DEFAULT_RENDERER_CLASSES": ["cachelayer.contrib.rest.RowRenderer"]}
ROOT_URLCONF = "cachelayer.urls"
"""
PROGRAM = """
import sys
sys.modules["drf_spectacular"] = None  # Importing it raises ImportError.
import django
django.setup()
import cachelayer.contrib.rest, cachelayer.urls
from django.core.management import call_command
call_command("check")
print(sorted(m for m in sys.modules if m.startswith("drf_spectacular.")))
"""


def test_without_drf_spectacular(tmp_path):
    (tmp_path / "bare.py").write_text(SETTINGS)
    environment = for_child(
        {"DJANGO_SETTINGS_MODULE": "bare", "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    )
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
