"""``interrupts``: which processes end at once on Ctrl-C, and until when."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator

import pytest

from otel_bridge.commands import interrupts


@pytest.fixture(autouse=True)
def _handler_is_restored() -> Iterator[None]:
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def start_as(monkeypatch: pytest.MonkeyPatch, *command_line: str, argv0: str = "-m") -> None:
    monkeypatch.setattr(sys, "orig_argv", ["python", *command_line])
    monkeypatch.setattr(sys, "argv", [argv0, "tail"])


def has_default_handler() -> bool:
    return signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize(
    "command_line", [("-m", "otel_bridge"), ("-X", "dev", "-m", "otel_bridge", "tail")]
)
def test_the_command_exits_until_it_runs(
    monkeypatch: pytest.MonkeyPatch, command_line: tuple[str, ...]
) -> None:
    """``python -m otel_bridge`` has a handler of its own until ``raise_again``."""
    start_as(monkeypatch, *command_line)
    interrupts.exit_while_importing()
    assert not has_default_handler()
    interrupts.raise_again()
    assert has_default_handler()


@pytest.mark.parametrize(
    ("command_line", "argv0"),
    [
        (("-m", "application", "-m", "otel_bridge"), "-m"),
        (("-m", "application", "otel_bridge"), "-m"),
        (("-m", "otel_bridge"), "/site-packages/otel_bridge/__main__.py"),
        (("-m",), "-m"),
        (("-c", "import otel_bridge"), "-c"),
        (("otel_bridge.py",), "otel_bridge.py"),
    ],
)
def test_another_program_keeps_its_handler(
    monkeypatch: pytest.MonkeyPatch, command_line: tuple[str, ...], argv0: str
) -> None:
    """A program that imports the package is interrupted as it would be without it."""
    start_as(monkeypatch, *command_line, argv0=argv0)
    interrupts.exit_while_importing()
    assert has_default_handler()


def test_a_handler_or_a_thread_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ignored SIGINT stays ignored, and no handler is set from another thread."""
    start_as(monkeypatch, "-m", "otel_bridge")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    interrupts.exit_while_importing()
    interrupts.raise_again()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    signal.signal(signal.SIGINT, signal.default_int_handler)
    thread = threading.Thread(target=interrupts.exit_while_importing)
    thread.start()
    thread.join()
    assert has_default_handler()
