"""Whether Redis takes marks to make room, and whether it has room: what a server says of itself.

Marks have no TTL. ``noeviction`` and every ``volatile-*`` policy spare them; ``allkeys-*`` takes
them like rows once the limit is reached. INFO says both, or CONFIG GET where a managed service
hides them there. What neither says is not trusted.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

#: What to ask where INFO does not say; one at a time, as every version takes them.
QUESTIONS: Final = (("CONFIG", "GET", "maxmemory"), ("CONFIG", "GET", "maxmemory-policy"))
SPARING: Final = "volatile-lru, volatile-lfu, volatile-ttl, volatile-random or noeviction"
FULL: Final = (
    "Redis is full and refuses to be written to. Raise its maxmemory, or set its "
    "maxmemory-policy to volatile-lru, so that it makes room by itself."
)


@dataclass(frozen=True, slots=True)
class Memory:
    """The server's limit ("0": none) and its policy; None is what it does not say."""

    limit: str | None
    policy: str | None

    @property
    def is_known(self) -> bool:
        return self.is_safe or None not in (self.limit, self.policy)

    @property
    def is_safe(self) -> bool:
        """Whether no mark is ever evicted."""
        return self.limit == "0" or _spares_marks(self.policy or "")

    @property
    def danger(self) -> str:
        """Why a mark may be lost, and what to do; empty where none is."""
        if self.is_safe:
            return ""
        if self.is_known:
            return (
                f"This Redis may evict marks: its maxmemory-policy is {self.policy}. "
                f"Set it to {SPARING}."
            )
        hidden = "maxmemory_policy" if self.policy is None else "maxmemory"
        return (
            f"This Redis does not say whether it may evict marks: INFO shows no {hidden}, and "
            "CONFIG GET was refused or shows none either. Allow its user CONFIG GET (ACL SETUSER "
            "<user> +config|get), or use a Redis that says it."
        )


def said(info: Any) -> Memory:
    """What INFO says."""
    return Memory(field(info, "maxmemory"), field(info, "maxmemory_policy"))


def memory(info: Any, ask: Callable[..., list[Any]]) -> Memory:
    """What INFO says, completed by what *ask* is answered to ``QUESTIONS`` (or a refusal)."""
    found = said(info)
    if found.is_known:
        return found
    limit, policy = map(_value, ask(*QUESTIONS))
    return replace(found, limit=found.limit or limit, policy=found.policy or policy)


def field(info: Any, name: str) -> str | None:
    """The value of *name* in what INFO answered; None where it has none."""
    for line in text(info).splitlines():
        if line.startswith(f"{name}:"):
            return line.removeprefix(f"{name}:").strip() or None
    return None


def text(answer: Any) -> str:
    # A path in INFO may be in another encoding, and a key hold anything.
    return answer.decode(errors="replace") if isinstance(answer, bytes) else str(answer)


def means_full(error: BaseException) -> bool:
    # A class of redis-py's own, or (Redis 6, in a script) a text within a text.
    return "used memory > 'maxmemory'" in str(error)


def _spares_marks(policy: str) -> bool:
    return policy == "noeviction" or policy.startswith("volatile-")


def _value(answer: Any) -> str | None:
    """Of an answer to CONFIG GET: a list (RESP2), a map (RESP3), or a refusal."""
    pair = list(*answer.items()) if isinstance(answer, dict) and len(answer) == 1 else answer
    return text(pair[1]) if isinstance(pair, list) and len(pair) == 2 else None
