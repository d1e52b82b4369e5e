"""The former name of ``cachelayer.contrib.wsgi``, for one release."""

import warnings

from cachelayer.contrib.wsgi import fast_hits as fast_hits

warnings.warn(
    "cachelayer.wsgi is cachelayer.contrib.wsgi now. Import fast_hits from there.",
    DeprecationWarning,
    stacklevel=2,
)
