"""The shape of the load test: a Redis outage in the middle of a steady load."""

import logging
from collections import Counter
from collections.abc import Callable
from typing import Any

import gevent
from gevent import subprocess
from locust import LoadTestShape
from locust.env import Environment

from loadtest.stages import OUTAGE, RECOVERY, Stage, Tally, stage_at, users_in

_COMMAND_TIMEOUT = 60.0

logger = logging.getLogger("loadtest")


class RedisOutage(LoadTestShape):
    """Warm up, steady, Redis outage, recovery; says at the end of each how it went.

    ``--users`` are there from the end of the warm-up on, and ``--run-time`` is divided
    among the stages. Redis is stopped and started by ``--outage-command`` and
    ``--recovery-command``, and by the person who reads the log when there are none.
    """

    use_common_options = True

    def __init__(self) -> None:
        super().__init__()
        self._stage: Stage | None = None
        self._before = _nothing()
        self._is_out = False
        #: The command that runs, or the last one that did.
        self._doing: gevent.Greenlet | None = None
        #: What went wrong with the run itself.
        self.failed: list[str] = []

    def tick(self) -> tuple[int, float] | None:
        options = self._options()
        stage = stage_at(self.get_run_time(), options.run_time)
        if stage is not self._stage:
            self._turn_to(stage)
        return users_in(stage, options.num_users, options.run_time) if stage else None

    def reset_time(self) -> None:
        super().reset_time()
        self._stage, self._before, self.failed = None, _nothing(), []

    def end(self) -> None:
        """Start Redis again if the test stops in the middle of the outage."""
        if self._doing:
            self._doing.join()
        if self._is_out:
            self._recover()

    def _turn_to(self, stage: Stage | None) -> None:
        if self._stage and self.runner:
            now = _count(self.runner.environment)
            logger.info("%s: %s", self._stage.name, now.since(self._before).sentence())
            self._before = now
        self._stage = stage
        if stage is None:
            return
        logger.info("%s begins", stage.name)
        # A command may take its time; the users go on meanwhile.
        if stage is OUTAGE:
            self._do(self._cut)
        elif stage is RECOVERY:
            self._do(self._recover)

    def _do(self, what: Callable[[], None]) -> None:
        before = self._doing

        def in_turn() -> None:
            if before:
                before.join()
            what()

        self._doing = gevent.spawn(in_turn)

    def _cut(self) -> None:
        command = self._options().outage_command
        if not command:
            logger.warning(
                "Stop Redis now: ./lab redis stop, or docker compose stop redis "
                "(--outage-command does it for you)"
            )
            return
        self._is_out = True
        self._run(command)

    def _recover(self) -> None:
        command = self._options().recovery_command
        self._is_out = False
        if command:
            self._run(command)
            return
        logger.warning(
            "Start Redis again: ./lab redis start, or docker compose start redis "
            "(--recovery-command does it for you)"
        )

    def _run(self, command: str) -> None:
        try:
            done = subprocess.run(
                command, shell=True, capture_output=True, text=True, timeout=_COMMAND_TIMEOUT
            )
        except subprocess.TimeoutExpired:
            self._went_wrong(f"{command!r} did not end in {_COMMAND_TIMEOUT:.0f} s.")
            return
        if done.returncode:
            self._went_wrong(
                f"{command!r} ended with {done.returncode}: {done.stderr.strip()[-300:]}"
            )
        else:
            logger.info("%s: done", command)

    def _went_wrong(self, sentence: str) -> None:
        logger.error(sentence)
        self.failed.append(sentence)

    def _options(self) -> Any:
        assert self.runner is not None
        return self.runner.environment.parsed_options


def _nothing() -> Tally:
    return Tally(0, 0, {}, {})


def _count(environment: Environment) -> Tally:
    total = environment.stats.total
    outcomes: Counter[str] = Counter()
    for (name, _), entry in environment.stats.entries.items():
        if name.endswith((" hit", " miss", " bypass")):
            outcomes[name.rpartition(" ")[2]] += entry.num_requests
    return Tally(
        total.num_requests,
        total.num_failures,
        {int(time): count for time, count in total.response_times.items()},
        outcomes,
    )
