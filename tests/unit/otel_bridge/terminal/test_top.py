"""``otel-bridge top`` before it draws: what is missing is said in one line."""

from __future__ import annotations

import sys

import pytest

from otel_bridge.commands.command_line import main
from otel_bridge.terminal import top
from tests.support.command_lines import error_line


def test_without_textual_the_cure_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One clear line with the extra to install, and exit code 2."""
    for name in [name for name in sys.modules if name.split(".")[0] == "textual"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "otel_bridge.terminal.screen.app", raising=False)
    monkeypatch.delitem(sys.modules, "otel_bridge.terminal.screen.viewer", raising=False)
    monkeypatch.setitem(sys.modules, "textual", None)
    assert main(["top"]) == 2
    line = error_line(capsys)
    assert "textual" in line
    assert "pip install 'otel-bridge[terminal]'" in line


def test_a_pipe_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal there is nothing to draw on; the exit code is 1."""
    assert main(["top", "--project", "p"]) == 1
    assert "needs a terminal" in error_line(capsys)
    assert top.run.__doc__


def test_a_wrong_address_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """The argument is named as it was typed."""
    assert main(["top", "ftp://x"]) == 2
    assert "URL ftp://x is not a collector's address" in error_line(capsys)
