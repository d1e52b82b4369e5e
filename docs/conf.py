"""How Sphinx builds these pages: ``./lab docs``. Nothing is fetched from the network."""

import sys
from pathlib import Path

import django
from django.conf import settings

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

# The reference imports cachelayer for its docstrings; no server is asked for that.
settings.configure(INSTALLED_APPS=["cachelayer"], CACHELAYER={"ENABLED": False})
django.setup()

project = "cachelayer"
html_title = "cachelayer"
extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]

myst_heading_anchors = 4
# A link to a file of the repository works there, and as a download in the built pages.
myst_enable_extensions = ["colon_fence"]

autodoc_member_order = "bysource"
autodoc_typehints = "description"
nitpicky = True
# Types that other projects describe, or that nobody needs to name.
nitpick_ignore_regex = [
    ("py:class", r"(collections\.abc|django)\..*|AnyModel|Model"),
    ("py:class", r"cachelayer\.\w+\..*"),
]

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["tables.css"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
pygments_style = "friendly"
pygments_dark_style = "monokai"
