"""``python -m itemsite.lab``: what ./lab becomes once .venv is there."""

from itemsite.lab.cli import run

run()
