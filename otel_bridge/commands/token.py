"""``otel-bridge token``: makes a bearer token and its line for ``MONITORING_TOKENS_FILE``."""

from __future__ import annotations

import argparse
import hashlib
import re
import secrets
import sys
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from otel_bridge.errors import ConfigurationError

__all__ = ["days", "run"]


def days(text: str) -> int:
    """
    Read the value of ``--days``, a whole number from 1 to 3650.

    Raises:
        argparse.ArgumentTypeError: The number is outside of these bounds.
        ValueError: The text is not a whole number. argparse reports both as a wrong argument.
    """
    number = int(text)
    if not 1 <= number <= 3650:
        raise argparse.ArgumentTypeError(f"{number} is not between 1 and 3650")
    return number


def run(options: argparse.Namespace) -> int:
    """
    Print a new bearer token to standard output, and its line for the tokens file to standard error.

    The token has 256 random bits, as 43 characters. Neither is stored. The line has the SHA-256
    digest of the token and not the token itself. The number of projects is not limited.

    Args:
        options: ``name``, ``projects`` (comma-separated, or ``*`` for all), ``lines`` (whether it
            may read stacks, which one for all projects may) and ``days`` until the token expires (1
            to 3650, not checked here; None: never).

    Returns:
        The exit code, 0.

    Raises:
        ConfigurationError: The name is not one word, or ``projects`` names no project.
    """
    if not re.fullmatch(r"[^\s#]\S*", options.name):
        raise ConfigurationError(f"{options.name!r} is not a name", "use one word: ci, alice")
    token = secrets.token_urlsafe(32)
    projects = "*"
    if options.projects != "*":
        names = [name.strip() for name in options.projects.split(",") if name.strip()]
        if not names:
            raise ConfigurationError("--projects is empty", "use --projects shop,blog or '*'")
        projects = ",".join(quote(name, safe="") for name in names)
    line = f"{options.name} sha256={hashlib.sha256(token.encode()).hexdigest()} projects={projects}"
    if options.lines:
        line += " rights=lines"
    if options.days:
        ends = datetime.now(UTC) + timedelta(days=options.days)
        line += f" expires={ends:%Y-%m-%dT%H:%M:%SZ}"
    print(token)
    print("this token is shown only once; its line for MONITORING_TOKENS_FILE:", file=sys.stderr)
    print(line, file=sys.stderr)
    return 0
