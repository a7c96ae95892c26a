"""What tests of commands share: the one line of an error, and the root logger as it was."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

__all__ = ["error_line", "restored_root_logger"]


@pytest.fixture
def restored_root_logger() -> Iterator[None]:
    """``main`` configures the root logger, which the test run uses too."""
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    logging.root.handlers[:], logging.root.level = handlers, level


def error_line(capsys: pytest.CaptureFixture[str]) -> str:
    """The only line on standard error, without the name of the command before it."""
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("otel-bridge: ")
    return line.removeprefix("otel-bridge: ")
