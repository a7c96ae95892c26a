"""The queue without a Redis; tests/contract/test_task_queue.py proves it on one."""

from __future__ import annotations

from pathlib import Path

import pytest

from otel_bridge.orchestration.queue import task_queue
from otel_bridge.orchestration.queue.lua_scripts import lua_source
from otel_bridge.orchestration.queue.task_queue import TaskQueue, text
from tests.support.queue_clients import embedded


@pytest.mark.parametrize(("value", "expected"), [(b"a\xff", "a\ufffd"), ("a", "a"), (7, "7")])
def test_answers_become_text(value: object, expected: str) -> None:
    """Answers are read alike from clients that decode and from those that do not."""
    assert text(value) == expected


def test_every_script_has_the_prelude() -> None:
    """Each Lua file beside the queue is loaded by its name, with the shared functions before it."""
    names = {path.stem for path in (Path(task_queue.__file__).parent / "lua").glob("*.lua")}
    assert "prelude" in names
    prelude = lua_source("claim").partition("-- Claims")[0]
    assert "local function ownership" in prelude
    assert len(names) == 10
    for name in names - {"prelude"}:
        assert lua_source(name).startswith(prelude)


async def test_nothing_is_asked_for_no_ids() -> None:
    """An empty list of ids is answered without a command, which Redis would refuse."""
    client = embedded()
    queue = TaskQueue(client)
    assert await queue.results([]) == {}
    assert await queue.known([]) == set()
    await client.aclose()
