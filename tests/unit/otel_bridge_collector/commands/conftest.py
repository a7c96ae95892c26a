"""The root logger is the same before and after each test of a command."""

from __future__ import annotations

import pytest

from tests.support.command_lines import restored_root_logger

__all__ = ["restored_root_logger"]


@pytest.fixture(autouse=True)
def _restore(restored_root_logger: None) -> None:
    """Each test in this folder gets the fixture."""
