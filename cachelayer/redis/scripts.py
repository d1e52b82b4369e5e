"""The Lua scripts. Each is read once and sent by its hash, or as text if Redis does not know it."""

import hashlib
from collections.abc import Sequence
from importlib import resources
from typing import Any

from cachelayer.redis import keyspace

#: A command and its arguments, or a ``Script`` with its keys and arguments.
Command = tuple[Any, ...]


class Script:
    """A Lua script: sent by its hash, or as text if Redis does not know it."""

    def __init__(self, name: str, *parts: str) -> None:
        self.name = name
        folder = resources.files("cachelayer.redis").joinpath("lua")
        texts = (folder.joinpath(f"{part}.lua").read_bytes() for part in (*parts, name))
        self.text = b"\n".join(texts)
        self.sha = hashlib.sha1(self.text, usedforsecurity=False).hexdigest()

    def __call__(self, keys: Sequence[str], *args: Any, shard: int | None = None) -> Command:
        """The command to run the script on *keys*; raises ``CacheUnavailable`` as ``keyspace``.

        On Redis Cluster, all of them are keys of one *shard*.
        """
        return ("EVALSHA", self.sha, len(keys), *keyspace.all_of(keys, shard), *args)


_loaded: dict[str, Script] = {}


def load(name: str, *parts: str) -> Script:
    """The script in ``lua/<name>.lua``, after the scripts in *parts*; read once."""
    script = Script(name, *parts)
    return _loaded.setdefault(script.sha, script)


def every() -> list[Script]:
    """All scripts that have been read."""
    return list(_loaded.values())


def name(command: Command) -> str:
    """The name of the command, or of the script that it runs."""
    return _loaded[command[1]].name if command[0] == "EVALSHA" else str(command[0])


def with_text(command: Command) -> Command:
    _, sha, *rest = command
    return ("EVAL", _loaded[sha].text, *rest)
