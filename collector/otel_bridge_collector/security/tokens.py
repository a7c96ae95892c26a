"""
Bearer tokens: stored only as SHA-256, compared in constant time, each limited to projects.

There is one line for each token, in the file ``MONITORING_TOKENS_FILE`` or, separated by ``;``, in
``MONITORING_TOKENS``::

    ci sha256=9f86d0...  projects=shop,blog  rights=lines  expires=2027-01-31T00:00:00Z

``projects=*`` means every project, and events without one. ``rights=lines`` allows the stacks of
failures of these projects, which say more than events; ``projects=*`` has it.

Tokens are long random strings that cannot be guessed, so one round of SHA-256 is enough; OWASP asks
for slow hashes of passwords.
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

__all__ = ["ANONYMOUS", "Principal", "TokenTable", "parse_tokens", "token_digest"]

logger = logging.getLogger(__name__)

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_MAX_FILE_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Principal:
    """
    The client that makes a request, as its credentials identify it.

    An immutable record; it checks nothing and never raises.

    Attributes:
        name: The name in the token's line, or ``jwt:`` and the first 100 characters of the subject;
            never the token.
        projects: The set of ids of projects that it may see and write; None: all, and events
            without a project.
        expires_at: Seconds since the Unix epoch; None, the default: never.
        digest: SHA-256 of the token in hexadecimal; empty for ``ANONYMOUS``, the principal of all
            requests where there is no authentication.
        key_id: Of a JWT: the id of the issuer's key that signed it. None: no JWT, but a token of
            the collector's own or ``ANONYMOUS``.
        subject: Of a JWT: a digest of its subject, the same in all JWTs that the issuer gives it.
            Empty otherwise.
        reads_lines: Whether its line says ``rights=lines``; default False.
    """

    name: str
    projects: frozenset[str] | None
    expires_at: float | None = None
    digest: str = ""
    key_id: str | None = None
    subject: str = ""
    reads_lines: bool = False

    @property
    def may_read_lines(self) -> bool:
        """Whether it may read stacks of the projects that it may see; one that sees all may."""
        return self.projects is None or self.reads_lines

    @property
    def account(self) -> str:
        """Stable id for limits and producer names; a renewed JWT keeps it. Empty if anonymous."""
        return self.subject or self.digest

    def may_use(self, project_id: str | None) -> bool:
        """Return whether it may see and write events of a project; None: those without one."""
        return self.projects is None or project_id in self.projects


ANONYMOUS: Final = Principal("anonymous", None)
"""The principal of every request where there is no authentication."""


def token_digest(token: str) -> str:
    """Return the SHA-256 of any text, as 64 lower-case hexadecimal digits; never raises."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def parse_tokens(lines: Iterable[str], source: str) -> list[Principal]:
    """
    Return a principal for each token line; skip empty lines and those that begin with ``#``.

    Args:
        lines: Each ``NAME sha256=HEX projects=a,b`` or ``projects=*``, with or without
            ``rights=lines`` and ``expires=2027-01-31T00:00:00Z`` (UTC without an offset). Without a
            limit.
        source: The setting or file that errors name.

    Raises:
        ConfigurationError: A line is wrong. The error names its source and number, not its content.
            Expired and repeated tokens are no error.
    """
    found: list[Principal] = []
    for number, line in enumerate(lines, start=1):
        name, *parts = line.split() or ["#"]
        if name.startswith("#"):
            continue
        pairs = [part.partition("=") for part in parts]
        fields = {key: value for key, _, value in pairs}
        if len(fields) != len(pairs) or fields.keys() - {"sha256", "projects", "rights", "expires"}:
            raise _wrong(source, number, "has an unknown or repeated field")
        if not _DIGEST.fullmatch(fields.get("sha256", "")):
            raise _wrong(source, number, "has no sha256= of 64 lower-case hexadecimal digits")
        if not fields.get("projects"):
            raise _wrong(source, number, "has no projects=")
        projects = None
        if fields["projects"] != "*":
            projects = frozenset(
                unquote(project) for project in fields["projects"].split(",") if project
            )
        expires_at = None
        if "expires" in fields:
            try:
                moment = datetime.fromisoformat(fields["expires"])
            except ValueError:
                raise _wrong(
                    source, number, "has an expires= that is not an ISO 8601 time"
                ) from None
            expires_at = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        if fields.get("rights", "lines") != "lines":
            raise _wrong(source, number, "has rights= that are not lines")
        reads_lines = "rights" in fields
        found.append(
            Principal(name, projects, expires_at, fields["sha256"], reads_lines=reads_lines)
        )
    return found


def _wrong(source: str, number: int, problem: str) -> ConfigurationError:
    return ConfigurationError(
        f"{source}, line {number} {problem}",
        "write: NAME sha256=HEX projects=a,b|* [rights=lines] [expires=2027-01-31T00:00:00Z]",
    )


class TokenTable:
    """
    The tokens that are accepted; used by ``Authenticator``.

    Making one reads the file, which blocks. ``Authenticator.watch`` calls ``reload`` every 15 s, so
    removing a line from the file revokes its token. ``reload`` may run in another thread than
    ``find`` and ``is_valid``; none of them raises. The number of tokens is limited by the file's
    size alone.

    Args:
        text: The value of ``MONITORING_TOKENS``, token lines; may be empty.
        path: The value of ``MONITORING_TOKENS_FILE``, a file of token lines of at most 1 MiB; None:
            there is no file.
        clock: Its wall clock decides about expiry.

    Raises:
        ConfigurationError: A line is wrong, the file cannot be read, is not UTF-8 or is over 1 MiB.
    """

    def __init__(self, text: str, path: Path | None, clock: Clock = SYSTEM_CLOCK) -> None:
        self._from_setting = parse_tokens(text.split(";"), "MONITORING_TOKENS")
        self._path = path
        self._clock = clock
        self._is_failing = False
        self._set(self._read())

    def _set(self, from_file: list[Principal]) -> None:
        self._principals = [*self._from_setting, *from_file]
        self._lookup = frozenset(self._principals)  # used 4 times a second for each WebSocket

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
                "name a readable file of token lines in UTF-8",
            ) from None
        if len(raw) > _MAX_FILE_BYTES:
            raise ConfigurationError(
                "MONITORING_TOKENS_FILE is over 1 MiB", "remove expired and unused lines"
            )
        return parse_tokens(text.splitlines(), "MONITORING_TOKENS_FILE")

    def reload(self) -> None:
        """
        Read the file again; blocks, so an event loop calls it in a thread. Never raises.

        While the file is wrong, missing or over 1 MiB, none of its tokens is accepted; the first
        failure of a row is logged as an error. Tokens of ``MONITORING_TOKENS`` stay accepted.
        """
        try:
            read = self._read()
        except ConfigurationError as error:
            # To keep the old tokens would keep a revoked one alive while the file is broken.
            read = []
            if not self._is_failing:
                logger.error("no token of the file is accepted: %s", error)
            self._is_failing = True
        else:
            self._is_failing = False
        self._set(read)

    def find(self, token: str) -> Principal | None:
        """
        Return the principal of a token, in a time that does not depend on which one matches.

        Args:
            token: Any text of any length.

        Returns:
            None for an unknown or expired token; never raises.
        """
        digest = token_digest(token).encode()
        found: Principal | None = None
        for principal in self._principals:  # all of them: the time must not reveal the position
            if hmac.compare_digest(principal.digest.encode(), digest):
                found = principal
        return found if found is not None and self.is_valid(found) else None

    def is_valid(self, principal: Principal) -> bool:
        """Whether a principal found earlier is still in the table, unchanged and not expired."""
        is_fresh = (
            principal.expires_at is None or self._clock.time_ns() / 1e9 < principal.expires_at
        )
        return is_fresh and principal in self._lookup
