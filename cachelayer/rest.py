"""The former name of ``cachelayer.contrib.rest``, for one release."""

import warnings

from cachelayer.contrib.rest import *  # noqa: F403

warnings.warn(
    "cachelayer.rest is cachelayer.contrib.rest now. Import it from there.",
    DeprecationWarning,
    stacklevel=2,
)
