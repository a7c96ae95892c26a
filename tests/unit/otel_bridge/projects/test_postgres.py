"""The knowledge base of the settings: its SQL identifiers, and a database that does not answer."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest

from otel_bridge.errors import ConfigurationError
from otel_bridge.projects.postgres import (
    KnowledgeBaseError,
    PostgresKnowledgeBase,
    knowledge_base_of,
    quoted,
)
from otel_bridge.settings import BridgeSettings
from tests.support.faults import FakeClock

MakeSettings = Callable[..., BridgeSettings]


def refused_url() -> str:
    """A database URL whose port refuses connections."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"postgresql://user:hunter2@127.0.0.1:{free.getsockname()[1]}/research"


@pytest.mark.parametrize(
    ("name", "max_parts", "expected"),
    [
        ("id", 1, '"id"'),
        ("_Private$1", 1, '"_Private$1"'),
        ("kb.runs", 2, '"kb"."runs"'),
        ("a" * 63, 1, f'"{"a" * 63}"'),
    ],
)
def test_identifiers_are_quoted(name: str, max_parts: int, expected: str) -> None:
    """Each part of a name is quoted by itself."""
    assert quoted(name, "SETTING", max_parts=max_parts) == expected


@pytest.mark.parametrize(
    ("name", "max_parts"),
    [
        ('id"; DROP TABLE x; --', 1),
        ("a" * 64, 1),
        ("1st", 1),
        ("", 1),
        ("kb.runs", 1),
        ("a.b.c", 2),
        ("kb.", 2),
        ("café", 1),
        ("id\n", 1),
    ],
)
def test_anything_else_is_no_identifier(name: str, max_parts: int) -> None:
    """A name that could hold SQL is refused; the error has the setting, the value and the fix."""
    with pytest.raises(ConfigurationError, match=r"^SETTING=.* is not an SQL identifier; use"):
        quoted(name, "SETTING", max_parts=max_parts)


def test_without_a_url_there_is_none(make_settings: MakeSettings) -> None:
    """No ``MONITORING_KNOWLEDGE_BASE_URL``, no knowledge base."""
    assert knowledge_base_of(make_settings()) is None


def test_the_settings_name_table_and_columns(make_settings: MakeSettings) -> None:
    """A PostgreSQL URL gives a knowledge base that shows no password and has connected nowhere."""
    base = knowledge_base_of(
        make_settings(knowledge_base_url="postgres://u:hunter2@h/d", knowledge_base_table="kb.runs")
    )
    assert base is not None
    assert repr(base).startswith("<knowledge base postgres://")
    assert "hunter2" not in repr(base)
    assert base.failures == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"knowledge_base_url": "mysql://u:hunter2@h/d"}, "is not a PostgreSQL URL; use postgres"),
        ({"knowledge_base_table": "a b"}, "MONITORING_KNOWLEDGE_BASE_TABLE='a b' is not an SQL"),
        ({"knowledge_base_id_column": "a.b"}, "MONITORING_KNOWLEDGE_BASE_ID_COLUMN='a.b'"),
        ({"knowledge_base_project_column": ""}, "MONITORING_KNOWLEDGE_BASE_PROJECT_COLUMN=''"),
    ],
)
def test_settings_that_cannot_work_are_refused(
    make_settings: MakeSettings, options: dict[str, Any], message: str
) -> None:
    """The error names the setting, and never the password."""
    with pytest.raises(ConfigurationError) as raised:
        knowledge_base_of(make_settings(**{"knowledge_base_url": "postgresql://h/d", **options}))
    assert message in str(raised.value)
    assert "hunter2" not in str(raised.value)


async def test_a_database_that_fails_is_left_alone_for_a_while() -> None:
    """After three failures no connection is tried until the circuit breaker allows the next one."""
    clock = FakeClock()
    base = PostgresKnowledgeBase(refused_url(), timeout_sec=5, clock=clock)
    messages = []
    for advance_sec in (0, 0, 0, 0, 30):
        clock.advance(advance_sec)
        with pytest.raises(KnowledgeBaseError) as raised:
            await base.get_research_task("t1")
        messages.append(str(raised.value))
    assert ["gave no answer: ConnectionRefusedError" in text for text in messages] == [
        *(True, True, True, False, True)
    ]
    assert messages[3].endswith("failed 3 times; waiting")
    assert base.failures == 5
    assert "hunter2" not in "".join(messages)
    await base.close()


async def test_a_database_that_hangs_costs_a_bounded_wait() -> None:
    """A server that accepts and never answers is given up after the timeout."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://127.0.0.1:{silent.getsockname()[1]}/research"
        base = PostgresKnowledgeBase(url, timeout_sec=0.05)
        with pytest.raises(KnowledgeBaseError, match="gave no answer: TimeoutError"):
            await base.get_research_task("t1")
    assert base.failures == 1
