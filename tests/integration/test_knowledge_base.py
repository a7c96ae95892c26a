"""Projects from the user's own table: a real PostgreSQL, stopped, silent and gone."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import logging
import os
import shutil
import socket
import tempfile
import uuid
import warnings
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from otel_bridge.bridge import configure
from otel_bridge.errors import ConfigurationError
from otel_bridge.projects.lookup import ProjectLookup
from otel_bridge.projects.postgres import (
    KnowledgeBaseError,
    PostgresKnowledgeBase,
    knowledge_base_of,
)
from otel_bridge.settings import BridgeSettings
from tests.support.coordinator import eventually
from tests.support.queue_clients import connect

TASK = uuid.UUID("6ba529d4-0000-4000-8000-000000000001")


@pytest.fixture(scope="module")
def postgres() -> Iterator[Any]:
    """A PostgreSQL of the dev requirements; without it the tests skip, and fail when CI is set."""
    reason = "NOT PROVED: no PostgreSQL, pgserver has no wheel for this Python and machine"
    pgserver = None
    # PostgreSQL refuses to run as root, so pgserver makes a user for it then.
    if os.geteuid() == 0 and shutil.which("useradd") is None:
        reason = "NOT PROVED: no PostgreSQL, pgserver needs useradd when root runs it"
    else:
        with warnings.catch_warnings(), contextlib.suppress(ImportError):
            warnings.simplefilter("ignore")
            pgserver = importlib.import_module("pgserver")
    if pgserver is None:
        if "CI" in os.environ:
            pytest.fail(reason)
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix="otel-bridge-postgres-") as directory:
        server = pgserver.get_server(directory, cleanup_mode="delete")
        server.psql(
            "CREATE TABLE research_tasks (id uuid PRIMARY KEY, project_id text);"
            "CREATE SCHEMA kb; CREATE TABLE kb.runs (number bigint PRIMARY KEY, owner int);"
            f"INSERT INTO research_tasks VALUES ('{TASK}', 'proj_123');"
            f"INSERT INTO research_tasks VALUES ('{uuid.UUID(int=2)}', NULL);"
            "INSERT INTO kb.runs VALUES (7, 42);"
        )
        yield server
        server.cleanup()


@pytest.fixture
async def base(postgres: Any) -> AsyncIterator[PostgresKnowledgeBase]:
    made = PostgresKnowledgeBase(postgres.get_uri())
    yield made
    await made.close()


async def test_a_row_gives_its_project(base: PostgresKnowledgeBase) -> None:
    """Found, empty, missing, and an id that cannot be one of the column's type."""
    assert await base.get_research_task(str(TASK)) == {"project_id": "proj_123"}
    assert await base.get_research_task(str(uuid.UUID(int=2))) == {"project_id": None}
    assert await base.get_research_task(str(uuid.UUID(int=3))) is None
    assert await base.get_research_task("'; DROP TABLE research_tasks; --") is None
    assert await base.get_research_task(str(TASK)) == {"project_id": "proj_123"}
    assert base.failures == 0


async def test_table_and_columns_are_settings(postgres: Any) -> None:
    """A schema, other names and numbers for ids work as well."""
    settings = BridgeSettings(
        knowledge_base_url=postgres.get_uri(),
        knowledge_base_table="kb.runs",
        knowledge_base_id_column="number",
        knowledge_base_project_column="owner",
    )
    base = knowledge_base_of(settings)
    assert base is not None
    assert await base.get_research_task("7") == {"project_id": "42"}
    await base.close()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("table", 'research_tasks"; DROP TABLE x; --'),
        ("table", "a.b.c"),
        ("id_column", "id = id OR 1"),
        ("project_column", "1st"),
    ],
)
def test_a_name_that_is_no_identifier_is_refused(name: str, value: str) -> None:
    """configure(strict=True) raises at once, naming the setting."""
    with pytest.raises(ConfigurationError, match=f"MONITORING_KNOWLEDGE_BASE_{name.upper()}"):
        configure(
            strict=True,
            bus_url="memory://refused",
            knowledge_base_url="postgresql://u:secret@db/x",
            **{f"knowledge_base_{name}": value},  # type: ignore[arg-type]
        )


def test_another_database_is_refused_without_its_password() -> None:
    """The message shows the host, not the credentials."""
    with pytest.raises(ConfigurationError, match="mysql://db/x") as refused:
        knowledge_base_of(BridgeSettings(knowledge_base_url="mysql://u:secret@db/x"))
    assert "secret" not in str(refused.value)


async def test_a_killed_connection_is_made_again(
    postgres: Any, base: PostgresKnowledgeBase
) -> None:
    """After the server cut the connection one question fails at most, the next is answered."""
    assert await base.get_research_task(str(TASK)) is not None
    postgres.psql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
        "AND backend_type = 'client backend';"
    )

    async def answered() -> bool:
        try:
            return await base.get_research_task(str(TASK)) is not None
        except KnowledgeBaseError:
            return False

    await eventually(answered, "the database is asked over a new connection")
    assert base.failures <= 1


@pytest.mark.postgres
def test_a_loop_that_stops_right_after_close_leaves_no_socket(postgres: Any) -> None:
    """The background lookup stops its loop in the same step as it closes the connection."""
    base = PostgresKnowledgeBase(postgres.get_uri())

    async def close_and_stop() -> None:
        await base.close()
        asyncio.get_running_loop().stop()

    loop = asyncio.new_event_loop()
    assert loop.run_until_complete(base.get_research_task(str(TASK))) is not None
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always", ResourceWarning)
        closing = loop.create_task(close_and_stop())
        loop.run_forever()
        loop.close()
        del closing, loop
        gc.collect()
    assert [str(warning.message) for warning in seen if "unclosed" in str(warning.message)] == []


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that accepts and never answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


async def test_a_silent_database_is_left_alone_after_a_few_attempts(silent_port: int) -> None:
    """Each attempt is bounded; with the breaker open a question costs none, and says so."""
    base = PostgresKnowledgeBase(
        f"postgresql://u:secret@127.0.0.1:{silent_port}/x", timeout_sec=0.05
    )
    seen: list[str] = []

    async def waiting() -> bool:
        with pytest.raises(KnowledgeBaseError) as failed:
            await base.get_research_task("1")
        seen.append(str(failed.value))
        return "waiting" in seen[-1]

    await eventually(waiting, "the breaker opens")
    assert base.failures == len(seen) >= 4
    assert not any("secret" in message for message in seen)


@pytest.mark.redis
async def test_a_submission_never_waits_for_the_database(
    redis_url: str, silent_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A thousand unknown parents cost the caller no await; the failure is logged once."""
    base = PostgresKnowledgeBase(f"postgresql://127.0.0.1:{silent_port}/x", timeout_sec=0.05)
    lookup = ProjectLookup(lambda: connect(redis_url), base)
    with caplog.at_level(logging.WARNING):
        assert [lookup.known(f"parent{number}") for number in range(1000)] == [None] * 1000

        async def failed() -> bool:
            return base.failures > 0

        await eventually(failed, "the database was asked")
    lookup.close()
    assert sum("project ids are unknown" in record.message for record in caplog.records) <= 1


@pytest.mark.redis
@pytest.mark.postgres
async def test_a_lookup_brings_the_project_to_later_callers(postgres: Any, redis_url: str) -> None:
    """Unknown at first, then known, and written where every other process finds it."""
    lookup = ProjectLookup(lambda: connect(redis_url), PostgresKnowledgeBase(postgres.get_uri()))

    async def known() -> bool:
        return lookup.known(str(TASK)) == "proj_123"

    await eventually(known, "the project is found")
    client = connect(redis_url)
    assert await client.hget(f"nexus:task_meta:{TASK}", "project_id") in (b"proj_123", "proj_123")
    await client.aclose()
    lookup.close()


def test_no_question_is_asked_without_the_setting() -> None:
    """Without a URL there is no knowledge base, and asyncpg is not needed."""
    assert knowledge_base_of(BridgeSettings()) is None
