"""When a load test has failed: one sentence for each threshold that was crossed."""

from dataclasses import dataclass
from typing import Final

#: How the failure of a read begins that is older than an acknowledged write.
STALE: Final = "stale read"


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The limits of a run."""

    #: Of all requests, 0 to 1.
    fail_ratio: float
    #: Milliseconds.
    p95: float

    def broken(self, *, requests: int, fail_ratio: float, p95: float, stale: int) -> list[str]:
        """A sentence for each threshold that was crossed."""
        if not requests:
            return ["No request was made: is the API at the host that was given?"]
        found = []
        if stale:
            found.append(f"{stale} reads were older than their own writer's last write.")
        if fail_ratio > self.fail_ratio:
            found.append(f"{fail_ratio:.2%} of the requests failed; {self.fail_ratio:.2%} may.")
        if p95 > self.p95:
            found.append(f"95 % of the answers took up to {p95:.0f} ms; {self.p95:.0f} ms may.")
        return found
