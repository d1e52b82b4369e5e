"""What Locust is told beside its own options, on the command line or in the browser."""

from typing import Any

from locust.argument_parser import LocustArgumentParser


def add(parser: LocustArgumentParser, **_: Any) -> None:
    """Listener of ``events.init_command_line_parser``."""
    # A request that is cut off could leave a row behind that nobody deletes.
    parser.set_defaults(class_picker=True, stop_timeout="15")
    parser.add_argument(
        "--plain",
        action="store_true",
        include_in_web_ui=False,
        help="only load, no Redis outage (in the browser: shape Default)",
    )
    parser.add_argument(
        "--max-fail-ratio",
        type=float,
        default=0.01,
        help="exit code 1 when a larger share of the requests failed (0.01)",
    )
    parser.add_argument(
        "--max-p95",
        type=float,
        default=500.0,
        help="exit code 1 when 95 %% of the answers took up to more milliseconds (500)",
    )
    parser.add_argument(
        "--api-token",
        default="",
        env_var="API_TOKEN",
        is_secret=True,
        help="a token for writing; the lab needs none",
    )
    # Not in the browser: people who reach that page must not run commands on this machine.
    parser.add_argument(
        "--outage-command",
        default="",
        include_in_web_ui=False,
        help="stops Redis when the outage begins, such as './lab redis stop'; without it, "
        "you are asked to",
    )
    parser.add_argument(
        "--recovery-command",
        default="",
        include_in_web_ui=False,
        help="starts Redis again, such as './lab redis start'",
    )
