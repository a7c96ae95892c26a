"""
``PostgresKnowledgeBase``: the project of a research task, from the user's own table.

One connection, one row a question, asked in the background by ``projects.py``. A database that is
slow or gone costs one bounded attempt, then none until the breaker lets the next one through; the
project stays unknown meanwhile.
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
from otel_bridge.settings import BridgeSettings, redact_url

__all__ = ["KnowledgeBaseError", "PostgresKnowledgeBase", "knowledge_base_of"]

_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_$]{0,62}")
_MAX_DELAY_SEC: Final = 30.0


class KnowledgeBaseError(OtelBridgeError):
    """The database did not answer; the message names it without its password."""


def quoted(name: str, setting: str, *, max_parts: int = 1) -> str:
    """
    A name as a quoted SQL identifier; ``schema.table`` with ``max_parts=2``.

    Raises:
        ConfigurationError: It is no plain identifier of at most 63 characters.
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
    Research tasks in a PostgreSQL table; used on one event loop at a time.

    Args:
        url: ``postgresql://`` URL; its password appears in no message.
        table: ``table`` or ``schema.table``.
        id_column: Holds the research task's id: text, uuid or a number.
        project_column: Holds the project's id.
        timeout_sec: For connecting, and again for the answer.
        clock: Gives the monotonic time.

    Raises:
        ConfigurationError: A name is no identifier, or asyncpg is not installed.
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
        self._breaker = Breaker(max_sec=_MAX_DELAY_SEC)
        self._owner: tuple[int, asyncio.AbstractEventLoop] | None = None
        self._connection: Any = None
        self._lock: asyncio.Lock | None = None
        self._query = ""
        self.failures = 0
        """Questions that got no answer."""

    def __repr__(self) -> str:
        return f"<knowledge base {redact_url(self._url)}>"

    async def get_research_task(self, task_id: str) -> dict[str, str | None] | None:
        """
        The row's ``project_id``; None when there is no such row.

        Raises:
            KnowledgeBaseError: The database failed, or has failed so lately that it is left alone.
        """
        owner = (os.getpid(), asyncio.get_running_loop())
        if self._owner != owner:
            # A connection of another loop or of the parent process cannot be used or closed here.
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
                # Not an id of this column's type, so in no row.
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
                # Cancelled in the middle of an answer: the next question must not read its rest.
                self._drop()
                raise
            self._breaker.succeed(self._clock.monotonic())
            return found

    async def _ask(self, task_id: str) -> dict[str, str | None] | None:
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._asyncpg.connect(
                self._url, timeout=self._timeout_sec, command_timeout=self._timeout_sec
            )
            # The column's own type, so that its index is used: id::text = $1 would read all rows.
            probe = await self._connection.prepare(f"{self._select} $1")
            self._query = f"{self._select} $1::text::{probe.get_parameters()[0].name} LIMIT 1"
        row = await self._connection.fetchrow(self._query, task_id)
        return None if row is None else {"project_id": row["project_id"]}

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    async def close(self) -> None:
        """Close the connection, if this loop has one."""
        if self._owner == (os.getpid(), asyncio.get_running_loop()):
            self._drop()


def _asyncpg() -> ModuleType:
    try:
        return importlib.import_module("asyncpg")
    except ImportError:
        raise ConfigurationError(
            "MONITORING_KNOWLEDGE_BASE_URL needs asyncpg, which is not installed",
            "pip install 'otel-bridge[postgres]'",
        ) from None


def knowledge_base_of(settings: BridgeSettings) -> PostgresKnowledgeBase | None:
    """The knowledge base that the settings name; None without ``MONITORING_KNOWLEDGE_BASE_URL``."""
    url = settings.knowledge_base_url
    if not url:
        return None
    if not url.startswith(("postgresql://", "postgres://")):
        raise ConfigurationError(
            f"MONITORING_KNOWLEDGE_BASE_URL={redact_url(url)} is not a PostgreSQL URL",
            "use postgresql://user:password@host:5432/database",
        )
    return PostgresKnowledgeBase(
        url,
        table=settings.knowledge_base_table,
        id_column=settings.knowledge_base_id_column,
        project_column=settings.knowledge_base_project_column,
        timeout_sec=settings.knowledge_base_timeout_sec,
    )
