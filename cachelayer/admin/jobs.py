"""Long operations of the admin page, a bounded slice for each request.

A job is nothing but its state, which the page carries from one request to the next,
signed. So no worker is blocked, any worker may go on, one that is killed costs a
slice that is simply sent again, and to cancel is to send no more.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from django.core import signing

from cachelayer.operations import verify, warm
from cachelayer.protocol import drain, key_states, scan
from cachelayer.redis import transport
from cachelayer.redis.batches import PIPELINE
from cachelayer.representation import registry
from cachelayer.representation.registration import CachedModel
from cachelayer.representation.registry import Cached
from cachelayer.tracking import repair_log

#: Seconds that one request works, at most, but for the batch that is running.
SLICE: Final = 0.5
#: Seconds for which a state may be gone on with.
LIFETIME: Final = 3600
#: The differing keys that a verify lists; ``cache_verify`` lists more.
LISTED: Final = 50

_SALT: Final = "cachelayer.admin.jobs"


class Expired(ValueError):  # noqa: N818  (as CacheUnavailable)
    """The state is no state of this user's, or too old."""


@dataclass(slots=True)
class Job:
    """What a job has done so far.

    ``prefixes`` are the key prefixes still to do, the first of them under way, from
    ``cursor`` on; in a repair, database aliases.
    """

    kind: str
    user: str
    scope: list[str]
    prefixes: list[str]
    cursor: str = scan.START
    #: Batches of the first prefix, and of how many there may be.
    batches: int = 0
    total: int = 0
    #: Keys or rows looked at; deleted, filled, differing or repaired.
    seen: int = 0
    changed: int = 0
    listed: list[str] = field(default_factory=list)
    #: A walk that ends where Redis grows may look at more than ``total``.
    finished: bool = False

    @property
    def share(self) -> float:
        """Of the work, from 0 to 1, as well as one can know."""
        if self.finished:
            return 1.0
        parts = max(1, len(self.scope))
        done = parts - len(self.prefixes)
        within = min(1.0, self.batches * PIPELINE / max(self.total, PIPELINE))
        return min(0.99, (done + within) / parts)

    def dump(self) -> str:
        return signing.dumps(asdict(self), salt=_SALT, compress=True)

    def run(self, seconds: float = SLICE) -> None:
        """Go on for *seconds*. Raises ``CacheUnavailable`` and ``DatabaseError``."""
        deadline = time.monotonic() + seconds
        while not self.finished:
            if not self.prefixes:
                self.finished = True
            elif _BATCHES[self.kind](self, self.prefixes[0]):
                self.batches += 1
            else:
                self.prefixes.pop(0)
                self.cursor, self.batches, self.total = scan.START, 0, 0
            if time.monotonic() > deadline:
                return


def start(kind: str, user: Any, scope: Sequence[str] | None = None) -> Job:
    """A job at its beginning, over the prefixes *scope*, all of them if None."""
    if kind not in _BATCHES:
        raise ValueError(f"There is no job {kind!r}.")
    if kind == "repair":
        parts = sorted(registry.databases())
    else:
        parts = prefixes(kind)
        if scope is not None:
            parts = [prefix for prefix in parts if prefix in scope]
    return Job(kind, str(user.pk), scope=parts, prefixes=list(parts))


def prefixes(kind: str) -> list[str]:
    """All that a job of this *kind* is for."""
    # What a function computes for all arguments that there might be, nobody can warm.
    found = registry.all_cached() if kind == "warm" else registry.every()
    return [cached.prefix for cached in found]


def load(text: str, user: Any) -> Job:
    """The job whose state is *text*; ``Expired`` unless it is a state of *user*'s."""
    try:
        job = Job(**signing.loads(text, salt=_SALT, max_age=LIFETIME))
    except (signing.BadSignature, TypeError) as error:
        raise Expired("This job is too old, or was changed on its way.") from error
    if job.user != str(user.pk):
        raise Expired("Somebody else has started this job.")
    return job


def _clear(job: Job, prefix: str) -> bool:
    keys = _scan(job, prefix)
    if keys:
        job.changed += key_states.drop(keys)
        job.seen += len(keys)
    return job.cursor != scan.START


def _verify(job: Job, prefix: str) -> bool:
    keys = _scan(job, prefix)
    compared, found = verify.compare(_cached(prefix), keys)
    job.seen += compared
    job.changed += len(found)
    job.listed += [difference.key for difference in found][: LISTED - len(job.listed)]
    return job.cursor != scan.START


def _warm(job: Job, prefix: str) -> bool:
    cached = _cached(prefix)
    assert isinstance(cached, CachedModel)
    name = cached.lookup
    rows = cached.rows().exclude(**{f"{name}__isnull": True}).order_by(name)
    if not job.batches:
        job.total = rows.count()
    else:
        rows = rows.filter(**{f"{name}__gt": cached.to_python(job.cursor)})
    pks = list(rows.values_list(name, flat=True)[:PIPELINE])
    if pks:
        job.changed += warm.fill(cached, pks)
        job.seen += len(pks)
        job.cursor = str(pks[-1])
    return len(pks) == PIPELINE


def _repair(job: Job, using: str) -> bool:
    if not job.batches:
        job.total = repair_log.backlog().keys
        # Finds out whether this Redis is trusted; if not, the gate's own thread reconciles.
        transport.ping()
    repaired = drain.drain_batch(using)
    job.seen += repaired
    job.changed += repaired
    return repaired > 0


def _scan(job: Job, prefix: str) -> list[str]:
    if not job.batches:
        [job.total] = transport.round_trip(("DBSIZE",))
    job.cursor, keys = scan.scan(_cached(prefix).start, job.cursor)
    return list(dict.fromkeys(keys))


def _cached(prefix: str) -> Cached:
    return registry.of_key(f"{prefix}:")


#: One batch of each kind; answers whether there are more under the same prefix.
_BATCHES: Final[dict[str, Callable[[Job, str], bool]]] = {
    "clear": _clear,
    "warm": _warm,
    "verify": _verify,
    "repair": _repair,
}
