"""
Bearer tokens: kept as SHA-256 only, compared in constant time, each limited to projects.

One line a token, in ``MONITORING_TOKENS_FILE`` or (``;`` between) in ``MONITORING_TOKENS``::

    ci sha256=9f86d0...  projects=shop,blog  expires=2027-01-31T00:00:00Z

``projects=*`` is every project, and what belongs to none. Tokens are long random strings, so one
round of SHA-256 is enough: there is nothing to guess (OWASP asks for slow hashes of passwords).
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from otel_bridge.clock import SYSTEM_CLOCK, Clock
from otel_bridge.errors import ConfigurationError

__all__ = ["ANYONE", "Principal", "TokenTable", "parse_tokens", "token_digest"]

logger = logging.getLogger(__name__)

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_MAX_FILE_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Principal:
    """
    Who asks.

    Attributes:
        name: For logs and connection counts; never the token.
        projects: What it may see and write; None: everything.
        expires_at: Seconds since the Unix epoch; None: never.
        digest: SHA-256 of the token, hexadecimal; empty for ``ANYONE``.
    """

    name: str
    projects: frozenset[str] | None
    expires_at: float | None = None
    digest: str = ""
    key_id: str | None = None
    """Of a JWT: which of its issuer's keys signed it. None: one of our own tokens."""
    subject: str = ""
    """Of a JWT: digest of whom it is about; the same in all that the issuer gives out to it."""

    @property
    def account(self) -> str:
        """What limits and producers' names go by: a JWT made anew is nobody new."""
        return self.subject or self.digest

    def may_use(self, project_id: str | None) -> bool:
        """Whether this project (None: no project) is within its limits."""
        return self.projects is None or project_id in self.projects


ANYONE: Final = Principal("anyone", None)
"""Everybody, where no authentication is set up."""


def token_digest(token: str) -> str:
    """SHA-256 of a token as 64 hexadecimal digits."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def parse_tokens(lines: Iterable[str], source: str) -> list[Principal]:
    """
    Read token lines; empty ones and those that begin with ``#`` are passed by.

    Args:
        lines: As in the module's example.
        source: Named in errors.

    Raises:
        ConfigurationError: Names source and line, never their content.
    """
    found: list[Principal] = []
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        pairs = [word.partition("=") for word in words[1:]]
        fields = {name: value for name, _, value in pairs}
        if len(fields) != len(pairs) or fields.keys() - {"sha256", "projects", "expires"}:
            raise _wrong(source, number, "has an unknown or repeated field")
        if not _DIGEST.fullmatch(fields.get("sha256", "")):
            raise _wrong(source, number, "has no sha256= of 64 lower-case hexadecimal digits")
        if not fields.get("projects"):
            raise _wrong(source, number, "has no projects=")
        projects = None
        if fields["projects"] != "*":
            projects = frozenset(unquote(name) for name in fields["projects"].split(",") if name)
        expires_at = None
        if "expires" in fields:
            try:
                moment = datetime.fromisoformat(fields["expires"])
            except ValueError:
                raise _wrong(source, number, "has an expires= that is no ISO 8601 time") from None
            expires_at = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        found.append(Principal(words[0], projects, expires_at, fields["sha256"]))
    return found


def _wrong(source: str, number: int, problem: str) -> ConfigurationError:
    return ConfigurationError(
        f"{source}, token {number} {problem}",
        "write: NAME sha256=HEX projects=a,b|* [expires=2027-01-31T00:00:00Z]",
    )


class TokenTable:
    """
    The tokens that hold now; the file is read again by ``reload``, so that lines can be taken out.

    Args:
        text: Of ``MONITORING_TOKENS``.
        path: Of ``MONITORING_TOKENS_FILE``.
        clock: Wall clock, for expiry.

    Raises:
        ConfigurationError: A line is wrong, or the file cannot be read.
    """

    def __init__(self, text: str, path: Path | None, clock: Clock = SYSTEM_CLOCK) -> None:
        self._fixed = parse_tokens(text.split(";"), "MONITORING_TOKENS")
        self._path = path
        self._clock = clock
        self._is_failing = False
        self._set(self._read())

    def _set(self, read: list[Principal]) -> None:
        self._principals = [*self._fixed, *read]
        self._holding = frozenset(self._principals)  # asked four times a second a connection

    def _read(self) -> list[Principal]:
        if self._path is None:
            return []
        try:
            with self._path.open("rb") as file:
                raw = file.read(_MAX_FILE_BYTES + 1)
            text = raw.decode("utf-8")
        except (OSError, UnicodeError) as error:
            raise ConfigurationError(
                f"MONITORING_TOKENS_FILE cannot be read: {type(error).__name__}",
                "name a readable file of token lines",
            ) from None
        if len(raw) > _MAX_FILE_BYTES:
            raise ConfigurationError("MONITORING_TOKENS_FILE is over 1 MiB", "split the service")
        return parse_tokens(text.splitlines(), "MONITORING_TOKENS_FILE")

    def reload(self) -> None:
        """Read the file again; one that is wrong or gone leaves nobody in but the fixed tokens."""
        try:
            read = self._read()
        except ConfigurationError as error:
            # Failing open would keep a revoked token alive for as long as the file is broken.
            read = []
            if not self._is_failing:
                logger.error("tokens of the file are refused: %s", error)
            self._is_failing = True
        else:
            self._is_failing = False
        self._set(read)

    def find(self, token: str) -> Principal | None:
        """The principal of a token; None for an unknown or expired one. Constant time."""
        digest = token_digest(token).encode()
        found: Principal | None = None
        for principal in self._principals:  # to the end: where it stopped would tell
            if hmac.compare_digest(principal.digest.encode(), digest):
                found = principal
        return found if found is not None and self.holds(found) else None

    def holds(self, principal: Principal) -> bool:
        """Whether a principal found earlier still is in the table, with its limits, unexpired."""
        is_fresh = (
            principal.expires_at is None or self._clock.time_ns() / 1e9 < principal.expires_at
        )
        return is_fresh and principal in self._holding
