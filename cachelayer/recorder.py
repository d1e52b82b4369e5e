"""The former home of ``UndeclaredRead``, for one release."""

import warnings

from cachelayer.exceptions import UndeclaredRead as UndeclaredRead

warnings.warn(
    "cachelayer.recorder is gone. Import UndeclaredRead from cachelayer.exceptions.",
    DeprecationWarning,
    stacklevel=2,
)
