"""For REST framework: views that read through the cache, and their responses."""

from cachelayer.contrib.rest.mixin import CachedViewMixin, PreconditionFailed
from cachelayer.contrib.rest.responses import Row, RowRenderer, RowResponse

__all__ = ["CachedViewMixin", "PreconditionFailed", "Row", "RowRenderer", "RowResponse"]
