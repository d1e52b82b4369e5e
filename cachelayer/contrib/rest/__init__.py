"""For REST framework: views that read through the cache, and their responses."""

from importlib.util import find_spec

if not find_spec("rest_framework"):
    raise ImportError(
        "This part of cachelayer needs Django REST framework. Install it with the extra: "
        'pip install "cachelayer[rest]".'
    )

from cachelayer.contrib.rest.mixin import CachedViewMixin, PreconditionFailed
from cachelayer.contrib.rest.responses import Row, RowRenderer, RowResponse

__all__ = ["CachedViewMixin", "PreconditionFailed", "Row", "RowRenderer", "RowResponse"]
