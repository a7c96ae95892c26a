"""
What the programs do instead of real work: wait at a named step until the test lets them go on.

The test names a folder in ``STEPS``. A program that reaches a step makes a file of its name there,
and waits until the test makes ``<name>.go`` beside it, or ``<name>.cancel``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

__all__ = [
    "ANSWER",
    "PROMPT",
    "SECRET_WORD",
    "ToolError",
    "reach",
    "reach_blocking",
    "run",
    "run_async",
]

SECRET_WORD = "marigold"
"""In each prompt and answer; it must not be in any event."""
PROMPT = f"{SECRET_WORD}: which private schools are there in Atlanta?"
"""What the user asks."""
ANSWER = f"{SECRET_WORD}: there are ninety-one."
"""What models and tools answer."""


class ToolError(RuntimeError):
    """How the step of a tool fails; its text is shown, so it holds no prompt."""

    def __init__(self) -> None:
        super().__init__("the catalogue is closed")


def _file(name: str) -> Path:
    return Path(os.environ["STEPS"], name)


async def reach(name: str) -> None:
    """Say that the step is reached, and wait."""
    _file(name).touch()
    while not _file(f"{name}.go").exists():
        await asyncio.sleep(0.01)


def reach_blocking(name: str) -> None:
    """As ``reach`` for code without asyncio; ``.cancel`` presses Ctrl-C."""
    _file(name).touch()
    while not _file(f"{name}.go").exists():
        if _file(f"{name}.cancel").exists():
            signal.raise_signal(signal.SIGINT)
        time.sleep(0.01)


async def _until_cancelled(task: asyncio.Task[Any], run_name: str) -> None:
    while not task.done():
        if any(Path(os.environ["STEPS"]).glob(f"{run_name}-*.cancel")):
            task.cancel()
            break
        await asyncio.sleep(0.01)
    with contextlib.suppress(asyncio.CancelledError, ToolError):
        await task


def run_async(work: Callable[[str], Coroutine[Any, Any, Any]]) -> None:
    """
    Do the runs that the command line names, one after the other, each in a task of its own.

    Args:
        work: Does one run; its argument is ``done``, ``failed`` or ``cancelled``. The names of its
            steps begin with it: ``done-model``.
    """

    async def runs() -> None:
        for name in sys.argv[1:]:
            try:
                await _until_cancelled(asyncio.create_task(work(name)), name)
            except Exception as error:
                print(f"{name}: {type(error).__name__}", flush=True)
            _file(f"{name}-end").touch()

    asyncio.run(runs())


def run(work: Callable[[str], Any]) -> None:
    """As ``run_async``, for code without asyncio."""
    for name in sys.argv[1:]:
        try:
            work(name)
        except KeyboardInterrupt:
            print(f"{name}: interrupted", flush=True)
        except Exception as error:
            print(f"{name}: {type(error).__name__}", flush=True)
        _file(f"{name}-end").touch()
