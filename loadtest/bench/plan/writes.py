"""What a write costs that changes what 0, 1, 5 or 50 stamps stand for."""

import statistics
from typing import Any, Final

from loadtest.bench import orm
from loadtest.bench.testbed import Testbed

STAMPS: Final = (0, 1, 5, 50)
#: Writes of a turn; turns of each in one repeat.
_COUNT: Final = 30
_TURNS: Final = 5


def measure(testbed: Testbed, repeats: int) -> list[dict[str, Any]]:
    """Milliseconds of ``update()`` of one row in autocommit, by the number of its stamps."""
    turns: dict[int, list[float]] = {stamps: [] for stamps in STAMPS}
    with orm.project(testbed, "cached") as project:
        for stamps in STAMPS:
            project.seconds(f"update_{stamps}_stamps", _COUNT)  # Plans and scripts are cold.
        for _ in range(repeats * _TURNS):
            for stamps, found in turns.items():
                found.append(project.seconds(f"update_{stamps}_stamps", _COUNT) * 1000)
    return [
        {"stamps": stamps, "ms": round(statistics.median(found), 3)}
        for stamps, found in turns.items()
    ]
