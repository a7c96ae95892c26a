"""
``PostgresKnowledgeBase``: reads the project of a research task from the user's own table.

It uses one connection and reads one row for each question; ``resolver.py`` asks in the background.
A database that is slow or unreachable costs one attempt of limited duration, then none until the
circuit breaker allows the next one. The project stays unknown meanwhile.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import re
from types import ModuleType
from typing import Any, Final

from otel_bridge.clock import SYSTEM_CLOCK, Clock
from otel_bridge.errors import ConfigurationError, OtelBridgeError
from otel_bridge.publish.retry import Breaker
from otel_bridge.settings import BridgeSettings
from otel_bridge.urls import ENCODING_CURE, is_readable, redact_url

__all__ = ["KnowledgeBaseError", "PostgresKnowledgeBase", "knowledge_base_of"]

_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_$]{0,62}")
_MAX_BREAKER_DELAY_SEC: Final = 30.0


class KnowledgeBaseError(OtelBridgeError):
    """
    Raised when the database failed, or failed so recently that it is not asked again yet.

    That pause is at most 30 s. The message has the database's URL without the password.
    """


def quoted(name: str, setting: str, *, max_parts: int = 1) -> str:
    """
    Return a name as a quoted SQL identifier, such as ``"public"."research_tasks"``.

    Args:
        name: An identifier, or several joined by dots, such as ``public.research_tasks``.
        setting: The environment variable that holds the name; shown in the error.
        max_parts: How many identifiers ``name`` may have; default 1.

    Raises:
        ConfigurationError: A part is not a letter or underscore followed by at most 62 letters,
            digits, underscores and dollar signs; or there are too many parts.
    """
    parts = name.split(".")
    if len(parts) > max_parts or not all(_IDENTIFIER.fullmatch(part) for part in parts):
        raise ConfigurationError(
            f"{setting}={name!r} is not an SQL identifier",
            "use letters, digits and _, as in research_tasks or public.research_tasks",
        )
    return ".".join(f'"{part}"' for part in parts)


class PostgresKnowledgeBase:
    """
    A ``KnowledgeBase`` (the user's own store of research tasks) in a PostgreSQL table.

    ``knowledge_base_of`` creates it from the settings, ``ProjectIdResolver`` asks it. The first
    question connects; ``close`` ends the connection. Used on one event loop at a time; questions
    asked at the same time are answered one after another. After 3 failures in a row, questions fail
    at once for up to 30 s.

    Args:
        url: A ``postgresql://`` URL, not checked here. Its password appears in no message.
        table: ``table`` or ``schema.table``; default ``research_tasks``.
        id_column: The column with the research task's id: text, uuid or a number; default ``id``.
        project_column: The column with the project's id; default ``project_id``.
        timeout_sec: Limit for connecting, and again for the answer; default 2 seconds. One question
            takes at most twice as long, plus its wait for those before it.
        clock: Gives the monotonic time.

    Attributes:
        failures: Questions that got no answer so far, those that failed at once included; 0 before
            the first. An unknown research task is an answer.

    Raises:
        ConfigurationError: A name is not an SQL identifier, or asyncpg is not installed.
    """

    def __init__(
        self,
        url: str,
        *,
        table: str = "research_tasks",
        id_column: str = "id",
        project_column: str = "project_id",
        timeout_sec: float = 2.0,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        prefix = "MONITORING_KNOWLEDGE_BASE_"
        self._select = (
            f"SELECT {quoted(project_column, prefix + 'PROJECT_COLUMN')}::text AS project_id "  # noqa: S608 - validated above
            f"FROM {quoted(table, prefix + 'TABLE', max_parts=2)} "
            f"WHERE {quoted(id_column, prefix + 'ID_COLUMN')} = "
        )
        self._asyncpg = _asyncpg()
        self._url = url
        self._timeout_sec = timeout_sec
        self._clock = clock
        self._breaker = Breaker(max_sec=_MAX_BREAKER_DELAY_SEC)
        self._owner: tuple[int, asyncio.AbstractEventLoop] | None = None
        self._connection: Any = None
        self._lock: asyncio.Lock | None = None
        self._query = ""
        self.failures = 0

    def __repr__(self) -> str:
        return f"<knowledge base {redact_url(self._url)}>"

    async def get_research_task(self, task_id: str) -> dict[str, str | None] | None:
        """
        Read the project of one research task; async.

        Takes at most twice ``timeout_sec`` (4 s by default), plus the wait for earlier questions.

        Args:
            task_id: The id as text; PostgreSQL converts it to the type of the column.

        Returns:
            ``{"project_id": ...}``, whose value may be None; None if there is no such row, or the
            id does not fit the column's type.

        Raises:
            KnowledgeBaseError: The database failed or was too slow, or failed 3 times in a row so
                recently (up to 30 s ago) that it is not asked.
            ValueError: The URL cannot be parsed, e.g. because its port is no number.
        """
        owner = (os.getpid(), asyncio.get_running_loop())
        if self._owner != owner:
            # A connection that another event loop or the parent process opened cannot be used or
            # closed here.
            self._owner, self._connection, self._lock = owner, None, asyncio.Lock()
        assert self._lock is not None
        async with self._lock:
            now = self._clock.monotonic()
            if self._breaker.is_open and self._breaker.wait_sec(now) > 0:
                self.failures += 1
                raise KnowledgeBaseError(f"{self!r} failed {self._breaker.failures} times; waiting")
            try:
                async with asyncio.timeout(2 * self._timeout_sec):
                    found = await self._ask(task_id)
            except self._asyncpg.DataError:
                # The id does not fit the column's type, so no row can have it.
                self._breaker.succeed(self._clock.monotonic())
                return None
            except (
                OSError,
                TimeoutError,
                self._asyncpg.PostgresError,
                self._asyncpg.InterfaceError,
            ) as error:
                self.failures += 1
                self._breaker.fail(self._clock.monotonic())
                self._drop()
                raise KnowledgeBaseError(
                    f"{self!r} gave no answer: {type(error).__name__}: {error}"
                ) from None
            except BaseException:
                # Cancelled while an answer was being read: the next question would read the rest.
                self._drop()
                raise
            self._breaker.succeed(self._clock.monotonic())
            return found

    async def _ask(self, task_id: str) -> dict[str, str | None] | None:
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._asyncpg.connect(
                self._url, timeout=self._timeout_sec, command_timeout=self._timeout_sec
            )
            # Cast to the column's own type, so that its index is used: ``id::text = $1`` would read
            # the whole table.
            probe = await self._connection.prepare(f"{self._select} $1")
            self._query = f"{self._select} $1::text::{probe.get_parameters()[0].name} LIMIT 1"
        row = await self._connection.fetchrow(self._query, task_id)
        return None if row is None else {"project_id": row["project_id"]}

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    async def close(self) -> None:
        """Close the connection, if this event loop opened it; a later question opens another."""
        if self._owner == (os.getpid(), asyncio.get_running_loop()):
            self._drop()
            # asyncio closes the socket one step later. A loop that stops first leaves it open.
            await asyncio.sleep(0)


def _asyncpg() -> ModuleType:
    try:
        return importlib.import_module("asyncpg")
    except ImportError:
        raise ConfigurationError(
            "MONITORING_KNOWLEDGE_BASE_URL needs asyncpg, which is not installed",
            "pip install 'otel-bridge[postgres]'",
        ) from None


def knowledge_base_of(settings: BridgeSettings) -> PostgresKnowledgeBase | None:
    """
    Create the knowledge base (the user's table of research tasks) that the settings name.

    Connects to nothing yet.

    Args:
        settings: Those with ``knowledge_base_`` in their name: URL, table, columns, and the
            time-out (default 2 s, at most 60 s).

    Returns:
        The knowledge base; None if ``MONITORING_KNOWLEDGE_BASE_URL`` is not set.

    Raises:
        ConfigurationError: The URL is not a PostgreSQL URL, a name is not an SQL identifier, or
            asyncpg is not installed.
    """
    url = settings.knowledge_base_url
    if not url:
        return None
    is_postgres = url.startswith(("postgresql://", "postgres://"))
    if not is_postgres or not is_readable(url, with_first_at=True):
        raise ConfigurationError(
            f"MONITORING_KNOWLEDGE_BASE_URL={redact_url(url)} is not a PostgreSQL URL",
            f"use postgresql://user:password@host:5432/database; {ENCODING_CURE}",
        )
    return PostgresKnowledgeBase(
        url,
        table=settings.knowledge_base_table,
        id_column=settings.knowledge_base_id_column,
        project_column=settings.knowledge_base_project_column,
        timeout_sec=settings.knowledge_base_timeout_sec,
    )
